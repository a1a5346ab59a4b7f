-- What models say beside text: their thinking and their tool calls, what an answer used, and the results of calls, which
-- are messages of the role tool. No row is rewritten.
-- depends: 0029.ignore-stretched-allowances
-- locks: messages, access exclusive, a moment
-- locks: service_rights, row exclusive, a moment

set local lock_timeout = '5s';
set local statement_timeout = '1min';

-- The tables that follow or precede messages while it is being partitioned (deploy/postgresql/partition-messages) get
-- the same columns in the same order. The wider checks apply to new rows from here on; 0032 validates them.
alter table messages
add column if not exists reasoning text,
add column if not exists tool_calls json,
add column if not exists tool_call_id text,
add column if not exists usage json,
add column if not exists is_refused boolean,
drop constraint if exists ck_messages_role,
add constraint ck_messages_role check (role in ('user', 'assistant', 'system', 'tool')) not valid,
drop constraint if exists ck_messages_finish_reason,
add constraint ck_messages_finish_reason
check (
    finish_reason in ('stop', 'length', 'tool_calls', 'content_filter', 'stopped', 'interrupted', 'error')
) not valid;

alter table if exists messages_partitioned
add column if not exists reasoning text,
add column if not exists tool_calls json,
add column if not exists tool_call_id text,
add column if not exists usage json,
add column if not exists is_refused boolean,
drop constraint if exists ck_messages_role,
add constraint ck_messages_role check (role in ('user', 'assistant', 'system', 'tool')) not valid,
drop constraint if exists ck_messages_finish_reason,
add constraint ck_messages_finish_reason
check (
    finish_reason in ('stop', 'length', 'tool_calls', 'content_filter', 'stopped', 'interrupted', 'error')
) not valid;

alter table if exists messages_unpartitioned
add column if not exists reasoning text,
add column if not exists tool_calls json,
add column if not exists tool_call_id text,
add column if not exists usage json,
add column if not exists is_refused boolean,
drop constraint if exists ck_messages_role,
add constraint ck_messages_role check (role in ('user', 'assistant', 'system', 'tool')) not valid,
drop constraint if exists ck_messages_finish_reason,
add constraint ck_messages_finish_reason
check (
    finish_reason in ('stop', 'length', 'tool_calls', 'content_filter', 'stopped', 'interrupted', 'error')
) not valid;

comment on column messages.reasoning is
'What the model thought before and while it answered; null if it didn''t say. Never sent to a model again.';
comment on column messages.tool_calls is
'The calls of the caller''s tools that the model asked for: [{"id","name","arguments"}], arguments being JSON text, '
'perhaps cut off. Null if there are none.';
comment on column messages.tool_call_id is
'For a message of the role tool: the id of the call that it answers.';
comment on column messages.usage is
'What the model server counted, in tokens: {"prompt_tokens","completion_tokens","reasoning_tokens","cached_tokens"}, '
'each null where it doesn''t say. Null for a question, and where it says nothing.';
comment on column messages.is_refused is
'True for a question, or a tool''s result, that the model server refused: no later question takes it along. Null for '
'all others.';
comment on column messages.finish_reason is
'Null for a user''s message and for answers older than this column. Otherwise: stop (the model ended), length (its '
'limit was reached), tool_calls (it waits for the results of its calls), content_filter (the model server withheld the '
'rest), stopped (the user stopped it), interrupted (the worker or the stream broke off), error.';

insert into service_rights (object, privilege, columns) values
(
    'messages',
    'insert',
    '{id, conversation_id, role, content, token_count, model_tag, inference_time_ms, created_at, finish_reason,
    position, reasoning, tool_calls, usage, is_refused}'
),
-- Of a message, only this mark ever changes.
('messages', 'update', '{is_refused}')
on conflict (object, privilege) do update set columns = excluded.columns;

do $$
begin
    perform chat_grant(service_role) from chat_service_roles() as service_role;
end
$$;
