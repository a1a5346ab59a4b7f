-- Answers that were cut can go on, and any answer can be done again. No row is rewritten.
-- depends: 0041.create-inactive-messages
-- locks: generations, access exclusive, a moment
-- locks: service_rights, row exclusive, a moment

set local lock_timeout = '5s';
set local statement_timeout = '1min';

-- The wider check applies to new rows from here on; 0044 validates it.
alter table generations
add column if not exists parent_position bigint,
add column if not exists own_message_id uuid,
drop constraint if exists ck_generations_kind,
add constraint ck_generations_kind check (kind in ('send', 'regenerate', 'results', 'continue')) not valid;

comment on column generations.kind is
'send: answers a new message. regenerate: does an answer again. results: goes on from the results of tool calls. '
'continue: goes on with an answer that was cut.';
comment on column generations.message_id is
'The stored answer; null while running, and when no text was kept. Where a regeneration took the answer''s place, this '
'is the regeneration''s answer, for retries. No foreign key: messages can be deleted.';
comment on column generations.own_message_id is
'The answer that this run stored, where message_id is another one. Join coalesce(own_message_id, message_id).';
comment on column generations.parent_position is
'Where a certain answer is done again or goes on: the position of the message that this one comes after.';
comment on column generations.options is
'What the question was asked with, for a regeneration to repeat, and what was set for the conversation at that time '
'("conversation"); null: nothing but the service''s settings.';

insert into service_rights (object, privilege, columns) values
(
    'generations',
    'insert',
    '{id, conversation_id, kind, user_message_id, idempotency_key, worker_id, holder_id, message_id, status,
    finish_reason, error_code, token_count, inference_time_ms, last_seq, finished_at, position, usage, options,
    call_message_id, parent_position}'
),
(
    'generations',
    'update',
    '{id, position, message_id, status, worker_id, holder_id, options, stop_requested_at, finish_reason, error_code,
    token_count, inference_time_ms, last_seq, started_at, finished_at, usage, left_at, read_at, own_message_id}'
)
on conflict (object, privilege) do update set columns = excluded.columns;

do $$
begin
    perform chat_grant(service_role) from chat_service_roles() as service_role;
end
$$;
