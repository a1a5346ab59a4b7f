-- Loses which runs continued an answer: they become regenerations. Answers stay. The wider check stays too, as in 0030.
-- going back: loses which runs went on with an answer

set local lock_timeout = '5s';
set local statement_timeout = '10min';

update generations
set kind = 'regenerate'
where kind = 'continue';

update service_rights
set
    columns
    = '{id, conversation_id, kind, user_message_id, idempotency_key, worker_id, holder_id, message_id, status,
    finish_reason, error_code, token_count, inference_time_ms, last_seq, finished_at, position, usage, options,
    call_message_id}'
where object = 'generations' and privilege = 'insert';

update service_rights
set
    columns
    = '{id, position, message_id, status, worker_id, holder_id, options, stop_requested_at, finish_reason, error_code,
    token_count, inference_time_ms, last_seq, started_at, finished_at, usage, left_at, read_at}'
where object = 'generations' and privilege = 'update';

alter table if exists generations
drop column if exists parent_position,
drop column if exists own_message_id;
