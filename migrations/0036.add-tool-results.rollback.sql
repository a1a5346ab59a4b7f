-- Loses which calls an answer is to; calls, results and answers stay. The wider check stays too, as in 0030.

set local lock_timeout = '5s';
set local statement_timeout = '1min';

update service_rights
set
    columns
    = '{id, conversation_id, role, content, token_count, model_tag, inference_time_ms, created_at, finish_reason,
    position, reasoning, tool_calls, usage, is_refused}'
where object = 'messages' and privilege = 'insert';

update service_rights
set
    columns
    = '{id, conversation_id, kind, user_message_id, idempotency_key, worker_id, holder_id, message_id, status,
    finish_reason, error_code, token_count, inference_time_ms, last_seq, finished_at, position, usage, options}'
where object = 'generations' and privilege = 'insert';

alter table if exists generations
drop column if exists call_message_id;
