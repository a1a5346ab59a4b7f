-- Takes the right away again. Keys that have left don't come back: nobody retries after a day.

set local lock_timeout = '5s';
set local statement_timeout = '1min';

update service_rights
set columns = array_remove(columns, 'idempotency_key')
where object = 'generations' and privilege = 'update';

do $$
begin
    if to_regclass('generations') is not null then
        comment on column generations.idempotency_key is
        'The Idempotency-Key of the request: a retry in the same conversation finds this row instead of starting '
        'again.';
    end if;
end
$$;
