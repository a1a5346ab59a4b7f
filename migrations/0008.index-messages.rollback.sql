-- Builds the index by which the earlier service reads a conversation, then drops the new one. Mirrors 0008; see 0007.

set lock_timeout = '10min';
set statement_timeout = '2h';

do $$
begin
    perform set_config('lock_timeout', '5s', true);
    if exists (
        select from pg_index where indexrelid = to_regclass('idx_messages_conversation') and not indisvalid
    ) then
        drop index idx_messages_conversation;
    end if;
end
$$;

create index concurrently if not exists idx_messages_conversation
on messages (conversation_id, created_at);

drop index concurrently if exists idx_messages_conversation_created;
