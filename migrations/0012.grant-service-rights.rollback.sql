-- Revokes the rights from every role that runs the service, so stop the workers first, or let them run as the owner.
-- Loses no row. Applied again, the migration grants the rights to the role that SERVICE_ROLE names.

set local lock_timeout = '5s';
set local statement_timeout = '1min';

do $$
begin
    if to_regprocedure('chat_revoke(name)') is not null then
        perform chat_revoke(service_role) from chat_service_roles() as service_role;
    end if;
end
$$;

drop function if exists chat_service_roles();
drop function if exists chat_revoke(name);
drop function if exists chat_grant(name);
drop function if exists chat_missing_rights(name);
drop table if exists service_rights;
