-- The running answers of a worker, and those to a user, each by an index that no other statement can be given. While
-- nothing runs, an analyze leaves statistics by which no row is running. All indexes on running rows then cost the same,
-- and the planner takes any of them: each tick and each start read all running answers. An index serves only statements
-- whose conditions imply its own: these two have finished_at (null as long as status is running, ck_generations_finished)
-- and the column itself in theirs. Replaces the indexes of 0010 and 0017. The previous release finds the same rows in
-- uq_generations_running.
-- depends: 0071.legal-hold
-- locks: generations, share update exclusive, builds an index
-- transactional: false
-- squawk-disable-assume-in-transaction

-- Mirrors its rollback file, statement by statement; for the reasons, see 0007.

set lock_timeout = '10min';
set statement_timeout = '2h';

do $$
begin
    perform set_config('lock_timeout', '5s', true);
    if exists (
        select from pg_index where indexrelid = to_regclass('idx_generations_unfinished_worker') and not indisvalid
    ) then
        drop index idx_generations_unfinished_worker;
    end if;
    if exists (
        select from pg_index where indexrelid = to_regclass('idx_generations_unfinished_holder') and not indisvalid
    ) then
        drop index idx_generations_unfinished_holder;
    end if;
end
$$;

create index concurrently if not exists idx_generations_unfinished_worker
on generations (worker_id) where finished_at is null and worker_id is not null;

create index concurrently if not exists idx_generations_unfinished_holder
on generations (holder_id) where finished_at is null and holder_id is not null;

drop index concurrently if exists idx_generations_worker;

drop index concurrently if exists idx_generations_holder;
