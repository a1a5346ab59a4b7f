-- A user's running answers, counted where their number is limited.
-- depends: 0016.create-allowances
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
        select from pg_index where indexrelid = to_regclass('idx_generations_holder') and not indisvalid
    ) then
        drop index idx_generations_holder;
    end if;
end
$$;

-- Holds only running answers, and none while their number isn't limited.
create index concurrently if not exists idx_generations_holder
on generations (holder_id) where status = 'running' and holder_id is not null;
