-- Validates the checks of 0030 and 0031, as 0004 does, under locks that block neither reading nor writing.
-- depends: 0031.add-generation-usage
-- locks: messages, share update exclusive, reads every row
-- locks: generations, share update exclusive, reads every row

set local lock_timeout = '5s';
set local statement_timeout = '30min';

alter table messages validate constraint ck_messages_role;
alter table messages validate constraint ck_messages_finish_reason;
alter table generations validate constraint ck_generations_finish_reason;

alter table if exists messages_partitioned validate constraint ck_messages_role;
alter table if exists messages_partitioned validate constraint ck_messages_finish_reason;
alter table if exists messages_unpartitioned validate constraint ck_messages_role;
alter table if exists messages_unpartitioned validate constraint ck_messages_finish_reason;
