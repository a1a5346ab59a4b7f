-- Validates the checks: a long scan of every row, under locks that block neither reading nor writing. In a transaction
-- of its own, because adding a check or making a column not null takes an ACCESS EXCLUSIVE lock, which should be held
-- only for a moment.
-- depends: 0003.backfill-times
-- locks: conversations, share update exclusive, reads every row
-- locks: messages, share update exclusive, reads every row

set local lock_timeout = '5s';
set local statement_timeout = '30min';

alter table conversations validate constraint ck_conversations_created_at;
alter table conversations validate constraint ck_conversations_updated_at;
alter table messages validate constraint ck_messages_created_at;
alter table messages validate constraint ck_messages_finish_reason;
