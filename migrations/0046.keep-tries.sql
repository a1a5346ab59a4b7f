-- Which model servers were asked for an answer, and what became of each try. No row is rewritten.
-- depends: 0045.queue-messages
-- locks: generations, access exclusive, a moment
-- locks: service_rights, row exclusive, a moment

set local lock_timeout = '5s';
set local statement_timeout = '1min';

alter table generations
add column if not exists tries json;

comment on column generations.tries is
'The model servers that were asked, in order, as JSON: [{"server","outcome","milliseconds"}]. outcome: answered, busy '
'(all of its slots were taken), stopped (by the caller or the service) or an error code. Null: none was asked, or the '
'worker died before it stored them.';

update service_rights
set columns = columns || '{tries}'
where
    object = 'generations'
    and privilege in ('insert', 'update')
    and not columns @> '{tries}';

do $$
begin
    perform chat_grant(service_role) from chat_service_roles() as service_role;
end
$$;
