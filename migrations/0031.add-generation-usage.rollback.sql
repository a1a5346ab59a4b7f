-- Loses what each run used and was asked with. The wider check stays, as in 0030.

set local lock_timeout = '5s';
set local statement_timeout = '1min';

update service_rights
set
    columns
    = '{id, conversation_id, kind, user_message_id, idempotency_key, worker_id, holder_id, message_id, status,
    finish_reason, error_code, token_count, inference_time_ms, last_seq, finished_at, position}'
where object = 'generations' and privilege = 'insert';

update service_rights
set
    columns
    = '{message_id, status, worker_id, stop_requested_at, finish_reason, error_code, token_count, inference_time_ms,
    last_seq, finished_at}'
where object = 'generations' and privilege = 'update';

alter table if exists generations
drop column if exists usage,
drop column if exists options;
