-- The service's role may take the idempotency keys away from records of answers, a day after the answer began
-- (retention.forget_keys).
-- depends: 0074.vacuum-by-count
-- locks: service_rights, row exclusive, a moment
-- locks: generations, share update exclusive, a moment

set local lock_timeout = '5s';
set local statement_timeout = '1min';

update service_rights
set columns = columns || '{idempotency_key}'
where object = 'generations' and privilege = 'update' and not columns @> '{idempotency_key}';

comment on column generations.idempotency_key is
'The Idempotency-Key of the request: a retry in the same conversation finds this row instead of starting again. It '
'leaves a day after the start, and a retry is a new message then.';

do $$
begin
    perform chat_grant(service_role) from chat_service_roles() as service_role;
end
$$;
