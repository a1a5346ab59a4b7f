-- Loses no row. The service's role loses the right to delete records of answers, which no earlier version does.

set local lock_timeout = '5s';
set local statement_timeout = '1min';

do $$
declare
    service_role name;
begin
    for service_role in select chat_service_roles() loop
        execute format('revoke delete on generations from %I', service_role);
    end loop;
end
$$;

delete from service_rights
where (object, privilege) in (('chat_uuid7_at(timestamptz)', 'execute'), ('generations', 'delete'));

drop function if exists chat_uuid7_at(timestamptz);
