-- Loses nothing but the index. Mirrors 0038; see 0007.

set lock_timeout = '10min';
set statement_timeout = '2h';

do $$
begin
    perform set_config('lock_timeout', '5s', true);
end
$$;

drop index concurrently if exists uq_generations_call_message;
