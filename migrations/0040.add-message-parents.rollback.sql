-- Loses nothing but the column: 0041's rollback has put all messages into one table.

set local lock_timeout = '5s';
set local statement_timeout = '1min';

update service_rights
set
    columns
    = '{id, conversation_id, role, content, token_count, model_tag, inference_time_ms, created_at, finish_reason,
    position, reasoning, tool_calls, usage, is_refused, tool_call_id}'
where object = 'messages' and privilege = 'insert';

update service_rights
set columns = '{is_refused}'
where object = 'messages' and privilege = 'update';

alter table if exists messages
drop column if exists parent_position;
alter table if exists messages_partitioned
drop column if exists parent_position;
alter table if exists messages_unpartitioned
drop column if exists parent_position;
