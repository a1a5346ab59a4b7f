-- Loses the models' thinking, their tool calls and what they used, and which call a result answers; every text stays. So
-- do the wider checks, which do the previous release no harm, and rows that need them. The rights of the service's role
-- stay as they are: the previous release has no use for them.

set local lock_timeout = '5s';
set local statement_timeout = '1min';

delete from service_rights
where object = 'messages' and privilege = 'update';

update service_rights
set
    columns
    = '{id, conversation_id, role, content, token_count, model_tag, inference_time_ms, created_at, finish_reason,
    position}'
where object = 'messages' and privilege = 'insert';

alter table if exists messages
drop column if exists reasoning,
drop column if exists tool_calls,
drop column if exists tool_call_id,
drop column if exists usage,
drop column if exists is_refused;
alter table if exists messages_partitioned
drop column if exists reasoning,
drop column if exists tool_calls,
drop column if exists tool_call_id,
drop column if exists usage,
drop column if exists is_refused;
alter table if exists messages_unpartitioned
drop column if exists reasoning,
drop column if exists tool_calls,
drop column if exists tool_call_id,
drop column if exists usage,
drop column if exists is_refused;
