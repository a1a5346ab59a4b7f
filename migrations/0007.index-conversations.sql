-- A user's list is paged by keyset on (updated_at, id), newest first; the id breaks ties between equal times.
-- depends: 0006.require-message-times
-- locks: conversations, share update exclusive, builds an index
-- transactional: false
-- squawk-disable-assume-in-transaction

-- If a statement fails, the runner undoes: from the end of the rollback file, it runs as many statements as succeeded
-- here. So the two files mirror each other, statement by statement.

-- Generous, because these locks block neither reading nor writing: the build waits for every older transaction.
set lock_timeout = '10min';
set statement_timeout = '2h';

-- An interrupted build leaves an invalid index behind, and "if not exists" would take it for the real one.
do $$
begin
    -- Unlike the build, this one needs an ACCESS EXCLUSIVE lock for a moment.
    perform set_config('lock_timeout', '5s', true);
    if exists (
        select from pg_index where indexrelid = to_regclass('idx_conversations_user_updated') and not indisvalid
    ) then
        drop index idx_conversations_user_updated;
    end if;
end
$$;

create index concurrently if not exists idx_conversations_user_updated
on conversations (user_id, updated_at desc, id desc);

drop index concurrently if exists idx_conversations_user;
