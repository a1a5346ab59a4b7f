-- A conversation is read by position. Replaces the index on (created_at, id), which the previous release read by: until
-- it is gone, it sorts.
-- depends: 0025.require-generation-positions
-- locks: messages, share update exclusive, builds an index
-- transactional: false
-- squawk-disable-assume-in-transaction

-- Mirrors its rollback file, statement by statement; for the reasons, see 0007.

set lock_timeout = '10min';
set statement_timeout = '2h';

-- PostgreSQL builds no index concurrently on a partitioned table. There, this block makes it, and takes over what the
-- DBA built on each partition before (docs/operations/retention.md); the statements below then find a temporary table
-- by that name.
do $$
begin
    perform set_config('lock_timeout', '5s', true);
    if exists (
        select from pg_index where indexrelid = to_regclass('idx_messages_conversation_position') and not indisvalid
    ) then
        drop index idx_messages_conversation_position;
    end if;
    if (select relkind from pg_class where oid = 'messages'::regclass) = 'p' then
        create index if not exists idx_messages_conversation_position on messages (conversation_id, position);
        drop index if exists idx_messages_conversation_created;
        create temporary table messages (conversation_id uuid, created_at timestamptz, id uuid, position bigint);
    end if;
end
$$;

create index concurrently if not exists idx_messages_conversation_position
on messages (conversation_id, position);

drop index concurrently if exists idx_messages_conversation_created;

-- squawk-ignore ban-drop-table
drop table if exists pg_temp.messages;
