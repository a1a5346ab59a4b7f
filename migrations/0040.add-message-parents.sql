-- Where a message has other versions of itself, the table says what they come after. No row is rewritten.
-- depends: 0039.add-conversation-settings
-- locks: messages, access exclusive, a moment
-- locks: service_rights, row exclusive, a moment

set local lock_timeout = '5s';
set local statement_timeout = '1min';

-- The tables that follow or precede messages while it is being partitioned get it too, as in 0030.
alter table messages
add column if not exists parent_position bigint;
alter table if exists messages_partitioned
add column if not exists parent_position bigint;
alter table if exists messages_unpartitioned
add column if not exists parent_position bigint;

comment on column messages.parent_position is
'Null: it comes after the message before it, as nothing else does. Otherwise it has other versions in '
'inactive_messages, and this is the position of the message that all of them come after; 0: they begin the '
'conversation.';

insert into service_rights (object, privilege, columns) values
(
    'messages',
    'insert',
    '{id, conversation_id, role, content, token_count, model_tag, inference_time_ms, created_at, finish_reason,
    position, reasoning, tool_calls, usage, is_refused, tool_call_id, parent_position}'
),
('messages', 'update', '{is_refused, parent_position}')
on conflict (object, privilege) do update set columns = excluded.columns;

do $$
begin
    perform chat_grant(service_role) from chat_service_roles() as service_role;
end
$$;
