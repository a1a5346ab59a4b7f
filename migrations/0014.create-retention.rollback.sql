set local lock_timeout = '5s';
set local statement_timeout = '1min';

do $$
begin
    execute (
        select string_agg(format('revoke delete on generations from %I', service_role), ';')
        from chat_service_roles() as service_role
    );
end
$$;

delete from service_rights
where (object, privilege) in (('chat_uuid7_at(timestamptz)', 'execute'), ('generations', 'delete'));

drop function if exists chat_uuid7_at(timestamptz);
