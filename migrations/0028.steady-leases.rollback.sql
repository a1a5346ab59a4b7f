-- Loses nothing but the leases' lengths. The rights of the service's role stay as they are: the previous release has no
-- use for them.

set local lock_timeout = '5s';
set local statement_timeout = '1min';

delete from service_rights
where object = 'live_workers';

update service_rights
set columns = '{id, lease_until}'
where object = 'workers' and privilege = 'insert';

update service_rights
set columns = '{lease_until}'
where object = 'workers' and privilege = 'update';

update service_rights
set
    columns
    = '{id, conversation_id, role, content, token_count, model_tag, inference_time_ms, created_at, finish_reason}'
where object = 'messages' and privilege = 'insert';

update service_rights
set columns = '{id, conversation_id, kind, user_message_id, idempotency_key, worker_id, holder_id}'
where object = 'generations' and privilege = 'insert';

drop view if exists live_workers;

alter table if exists workers
drop column if exists lease,
drop column if exists steady_since;
