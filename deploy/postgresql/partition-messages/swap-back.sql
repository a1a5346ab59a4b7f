-- Reverts 3-swap.sql: the old table is messages again, with everything that was said meanwhile, and the partitioned one
-- follows. Then run undo.sql, or 3-swap.sql again. Like 3-swap.sql, it may have to be run again.
--   psql "$DATABASE_URL" -f swap-back.sql
\set ON_ERROR_STOP on

begin;
-- Autovacuum gives way to a lock request that has waited a second, and can't return while this lock is held. The lock
-- blocks nobody else.
set local lock_timeout = '5s';
lock table messages, messages_unpartitioned in share update exclusive mode;
set local lock_timeout = '500ms'; -- less than deadlock_timeout, so that the service is never a deadlock's victim

lock table messages, messages_unpartitioned in access exclusive mode;

drop trigger messages_follow_insert on messages;
drop trigger messages_follow_update on messages;
drop trigger messages_follow_delete on messages;

alter table messages rename to messages_partitioned;
alter index messages_pkey rename to messages_partitioned_pkey;
alter index idx_messages_conversation_position rename to idx_messages_partitioned_conversation_position;

alter table messages_unpartitioned rename to messages;
alter index messages_unpartitioned_pkey rename to messages_pkey;
alter index idx_messages_unpartitioned_conversation_position rename to idx_messages_conversation_position;

create trigger messages_follow_insert after insert on messages
referencing new table as come
for each statement execute function messages_follow('messages_partitioned');

create trigger messages_follow_update after update on messages
referencing old table as gone new table as come
for each statement execute function messages_follow('messages_partitioned');

create trigger messages_follow_delete after delete on messages
referencing old table as gone
for each statement execute function messages_follow('messages_partitioned');

commit;

\echo messages is one table again, and messages_partitioned follows it
