-- What the tables and views of the service consist of, with their comments: a row for each column, in order. Its schema is
-- the one of the table conversations, and chat_report. Reads only catalogs, which are open to everyone: needs no right on
-- the tables. The command leaves out tables that the migrations don't make, partitions among them.
with home as (
    select c.relnamespace
    from pg_class as c
    where c.relname = 'conversations' and c.relkind in ('r', 'p')
    order by pg_table_is_visible(c.oid) desc, c.oid
    limit 1
),

relations as (
    select
        c.oid,
        n.nspname,
        c.relname,
        c.relkind
    from pg_class as c
    inner join pg_namespace as n on c.relnamespace = n.oid
    where
        c.relkind in ('r', 'p', 'v')
        and (n.oid in (select h.relnamespace from home as h) or n.nspname = 'chat_report')
)

select
    r.nspname as schema,
    r.relname as relation,
    r.relkind = 'v' as is_view,
    obj_description(r.oid, 'pg_class') as about,
    a.attname as name,
    format_type(a.atttypid, a.atttypmod) as type,
    a.attnotnull as is_required,
    pg_get_expr(d.adbin, d.adrelid) as default_value,
    coalesce((
        select a.attnum = any(k.conkey)
        from pg_constraint as k
        where k.conrelid = r.oid and k.contype = 'p'
    ), false) as is_key,
    (
        select f.relname
        from pg_constraint as k
        inner join pg_class as f on k.confrelid = f.oid
        where k.conrelid = r.oid and k.contype = 'f' and k.conparentid = 0 and a.attnum = any(k.conkey)
        order by f.relname
        limit 1
    ) as referenced,
    col_description(r.oid, a.attnum) as comment
from relations as r
inner join pg_attribute as a on r.oid = a.attrelid and a.attnum > 0 and not a.attisdropped
left join pg_attrdef as d on a.attrelid = d.adrelid and a.attnum = d.adnum
order by r.nspname = 'chat_report', r.relkind = 'v', r.oid, a.attnum;
