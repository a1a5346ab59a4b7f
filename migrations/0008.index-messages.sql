-- A conversation is read by (created_at, id), oldest first; the id breaks ties between equal times. Deleting a
-- conversation finds its messages through this index too.
-- depends: 0007.index-conversations
-- locks: messages, share update exclusive, builds an index
-- transactional: false
-- squawk-disable-assume-in-transaction

-- Mirrors its rollback file; see 0007.

-- Generous, because these locks block neither reading nor writing: the build waits for every older transaction.
set lock_timeout = '10min';
set statement_timeout = '2h';

-- An interrupted build leaves an invalid index behind, and "if not exists" would take it for the real one.
do $$
begin
    -- Unlike the build, this one needs an ACCESS EXCLUSIVE lock for a moment.
    perform set_config('lock_timeout', '5s', true);
    if exists (
        select from pg_index where indexrelid = to_regclass('idx_messages_conversation_created') and not indisvalid
    ) then
        drop index idx_messages_conversation_created;
    end if;
end
$$;

create index concurrently if not exists idx_messages_conversation_created
on messages (conversation_id, created_at, id);

drop index concurrently if exists idx_messages_conversation;
