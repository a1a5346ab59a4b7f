-- What this role may do in the schema of the service's tables, and the statements that would allow it. No row: there are no
-- such tables. Reads only catalogs, which are open to everyone. To a role without rights on a schema, it looks empty.
select
    current_user as role,
    n.nspname as schema,
    pg_get_userbyid(c.relowner) as owner,
    has_schema_privilege(n.oid, 'usage') as is_open,
    format('grant usage on schema %I to %I', n.nspname, current_user) as opening,
    coalesce(has_table_privilege(y.oid, 'select'), true) as sees_migrations,
    case when p.oid is not null then format('select chat_grant(%L)', current_user) end as granting
from pg_class as c
inner join pg_namespace as n on c.relnamespace = n.oid
left join pg_class as y on n.oid = y.relnamespace and y.relname = '_yoyo_migration'
left join pg_proc as p on n.oid = p.pronamespace and p.proname = 'chat_grant'
where
    c.relname = 'conversations'
    and c.relkind in ('r', 'p')
    and (pg_table_is_visible(c.oid) or not has_schema_privilege(n.oid, 'usage'))
order by is_open desc
limit 1;
