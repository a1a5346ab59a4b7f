-- Loses nothing. The previous version's statements don't say for whom they work, so they would see no row under
-- row-level security.

set local lock_timeout = '5s';
set local statement_timeout = '1min';

do $$
begin
    if exists (
        select relrowsecurity
        from pg_class
        where oid in (
            to_regclass('conversations'), to_regclass('messages'), to_regclass('generations'), to_regclass('journal')
        ) and relrowsecurity
    ) then
        raise exception 'row-level security is enabled: run deploy/postgresql/row-security-off.sql first';
    end if;
end
$$;

delete from service_rights
where object in ('chat_for_user(uuid, uuid)', 'chat_for_everyone()');

drop function if exists chat_for_user(uuid, uuid);
drop function if exists chat_for_everyone();
