-- What the schema consists of, one row each: the columns, indexes and constraints of all tables on the search path.
-- Reads only catalogs; needs no right on the tables. A table that a DBA partitioned reads as if it weren't: its indexes
-- without ONLY, its primary key without the partition key. The partitions are the DBA's own.
with tables as (
    select
        oid,
        relname,
        substring(pg_get_partkeydef(oid) from '\((.+)\)') as partition_key
    from pg_class
    where
        relkind in ('r', 'p')
        and pg_table_is_visible(oid)
        and relnamespace not in ('pg_catalog'::regnamespace, 'information_schema'::regnamespace)
        and relname not like '%yoyo%'
)

select
    'column' as kind,
    t.relname || '.' || a.attname as name,
    format_type(a.atttypid, a.atttypmod)
    || case when a.attnotnull then ' not null' else '' end
    || coalesce(' default ' || pg_get_expr(d.adbin, d.adrelid), '') as definition,
    true as is_valid
from tables as t
inner join pg_attribute as a on t.oid = a.attrelid and a.attnum > 0 and not a.attisdropped
left join pg_attrdef as d on a.attrelid = d.adrelid and a.attnum = d.adnum
union all
select
    'index' as kind,
    c.relname as name,
    case
        when t.partition_key is null then pg_get_indexdef(i.indexrelid, 0, true)
        else replace(
            replace(pg_get_indexdef(i.indexrelid, 0, true), ' ON ONLY ', ' ON '),
            case when i.indisprimary then ', ' || t.partition_key || ')' else '' end,
            ')'
        )
    end as definition,
    i.indisvalid and i.indisready as is_valid
from tables as t
inner join pg_index as i on t.oid = i.indrelid
inner join pg_class as c on i.indexrelid = c.oid
union all
select
    'constraint' as kind,
    t.relname || '.' || k.conname as name,
    pg_get_constraintdef(k.oid, true) as definition,
    true as is_valid -- the definition says "NOT VALID"
from tables as t
inner join pg_constraint as k on t.oid = k.conrelid and k.contype in ('c', 'f')
order by kind, name;
