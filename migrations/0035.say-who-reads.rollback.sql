-- Loses whether anybody reads the answers that are being written right now, which no earlier version asks.

set local lock_timeout = '5s';
set local statement_timeout = '1min';

update service_rights
set
    columns
    = '{message_id, status, worker_id, stop_requested_at, finish_reason, error_code, token_count, inference_time_ms,
    last_seq, finished_at, usage}'
where object = 'generations' and privilege = 'update';

alter table if exists generations
drop column if exists left_at,
drop column if exists read_at;
