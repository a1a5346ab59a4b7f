-- The rights that `chat-api user import` needs: it stores what an export has, with its ids and times.
-- depends: 0062.report-usage
-- locks: service_rights, row exclusive, a moment

set local lock_timeout = '5s';
set local statement_timeout = '1min';

update service_rights as r
set columns = r.columns || n.columns
from (
    values
    ('conversations', cast('{id, is_favorited, created_at, updated_at, version}' as text[])),
    ('queued_messages', '{id, created_at}'),
    ('generations', '{own_message_id, started_at}')
) as n (object, columns)
where r.object = n.object and r.privilege = 'insert' and not r.columns @> n.columns;

do $$
begin
    perform chat_grant(service_role) from chat_service_roles() as service_role;
end
$$;
