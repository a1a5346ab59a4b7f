-- What a run of the model used, kept with the run too: an answer of which nothing was stored used something as well.
-- depends: 0030.add-message-parts
-- locks: generations, access exclusive, a moment
-- locks: service_rights, row exclusive, a moment

set local lock_timeout = '5s';
set local statement_timeout = '1min';

alter table generations
add column if not exists usage json,
add column if not exists options json,
drop constraint if exists ck_generations_finish_reason,
add constraint ck_generations_finish_reason
check (
    finish_reason in ('stop', 'length', 'tool_calls', 'content_filter', 'stopped', 'interrupted', 'error')
) not valid;

comment on column generations.usage is 'As in messages.usage; also where no message was stored.';
comment on column generations.options is
'What the question was asked with, for a regeneration to repeat; null: nothing but the service''s settings.';

insert into service_rights (object, privilege, columns) values
(
    'generations',
    'insert',
    '{id, conversation_id, kind, user_message_id, idempotency_key, worker_id, holder_id, message_id, status,
    finish_reason, error_code, token_count, inference_time_ms, last_seq, finished_at, position, usage, options}'
),
(
    'generations',
    'update',
    '{message_id, status, worker_id, stop_requested_at, finish_reason, error_code, token_count, inference_time_ms,
    last_seq, finished_at, usage}'
)
on conflict (object, privilege) do update set columns = excluded.columns;

do $$
begin
    perform chat_grant(service_role) from chat_service_roles() as service_role;
end
$$;
