-- Builds the indexes of 0010 and 0017 again, then drops the new ones. Mirrors 0072; see 0007.

set lock_timeout = '10min';
set statement_timeout = '2h';

do $$
begin
    perform set_config('lock_timeout', '5s', true);
    if exists (
        select from pg_index where indexrelid = to_regclass('idx_generations_worker') and not indisvalid
    ) then
        drop index idx_generations_worker;
    end if;
    if exists (
        select from pg_index where indexrelid = to_regclass('idx_generations_holder') and not indisvalid
    ) then
        drop index idx_generations_holder;
    end if;
end
$$;

create index concurrently if not exists idx_generations_worker
on generations (worker_id) where status = 'running';

create index concurrently if not exists idx_generations_holder
on generations (holder_id) where status = 'running' and holder_id is not null;

drop index concurrently if exists idx_generations_unfinished_worker;

drop index concurrently if exists idx_generations_unfinished_holder;
