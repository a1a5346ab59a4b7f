-- Builds the index by which the previous release reads a conversation, then drops the new one. Mirrors 0026; see 0007.

set lock_timeout = '10min';
set statement_timeout = '2h';

do $$
begin
    perform set_config('lock_timeout', '5s', true);
    if exists (
        select from pg_index where indexrelid = to_regclass('idx_messages_conversation_created') and not indisvalid
    ) then
        drop index idx_messages_conversation_created;
    end if;
    if (select relkind from pg_class where oid = 'messages'::regclass) = 'p' then
        create index if not exists idx_messages_conversation_created on messages (conversation_id, created_at, id);
        drop index if exists idx_messages_conversation_position;
        create temporary table messages (conversation_id uuid, created_at timestamptz, id uuid, position bigint);
    end if;
end
$$;

create index concurrently if not exists idx_messages_conversation_created
on messages (conversation_id, created_at, id);

drop index concurrently if exists idx_messages_conversation_position;

drop table if exists pg_temp.messages;
