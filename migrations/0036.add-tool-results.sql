-- Results of tool calls begin answers of their own. Which message's calls an answer is to is kept with it, so that each
-- message's calls are answered once. No row is rewritten.
-- depends: 0035.say-who-reads
-- locks: generations, access exclusive, a moment
-- locks: service_rights, row exclusive, a moment

set local lock_timeout = '5s';
set local statement_timeout = '1min';

-- The wider check applies to new rows from here on; 0037 validates it.
alter table generations
add column if not exists call_message_id uuid,
drop constraint if exists ck_generations_kind,
add constraint ck_generations_kind check (kind in ('send', 'regenerate', 'results')) not valid;

comment on column generations.kind is
'send: answers a new message. regenerate: replaces the last answer. results: goes on from the results of tool calls.';
comment on column generations.call_message_id is
'For results: the message whose calls they are of. No foreign key, as for message_id.';

insert into service_rights (object, privilege, columns) values
(
    'messages',
    'insert',
    '{id, conversation_id, role, content, token_count, model_tag, inference_time_ms, created_at, finish_reason,
    position, reasoning, tool_calls, usage, is_refused, tool_call_id}'
),
(
    'generations',
    'insert',
    '{id, conversation_id, kind, user_message_id, idempotency_key, worker_id, holder_id, message_id, status,
    finish_reason, error_code, token_count, inference_time_ms, last_seq, finished_at, position, usage, options,
    call_message_id}'
)
on conflict (object, privilege) do update set columns = excluded.columns;

do $$
begin
    perform chat_grant(service_role) from chat_service_roles() as service_role;
end
$$;
