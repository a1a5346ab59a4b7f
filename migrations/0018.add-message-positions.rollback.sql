-- Loses the order: messages are read by (created_at, id) again.

set local lock_timeout = '5s';
set local statement_timeout = '1min';

delete from service_rights
where object = 'chat_position';

alter table if exists messages drop column if exists position;
alter table if exists messages_partitioned drop column if exists position;
alter table if exists messages_unpartitioned drop column if exists position;
drop sequence if exists chat_position;

comment on table messages is
'What was said. Read oldest first by (created_at, id). Messages are added and deleted; their text never changes.';
