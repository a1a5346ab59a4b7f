-- The long look at every row, under locks that hinder neither reading nor writing. In a transaction of its own: what
-- adds a check or makes a column not null wants an ACCESS EXCLUSIVE lock, and is to hold it for a moment only.
-- depends: 0003.backfill-times
-- locks: conversations, share update exclusive, reads every row
-- locks: messages, share update exclusive, reads every row

set local lock_timeout = '5s';
set local statement_timeout = '30min';

alter table conversations validate constraint ck_conversations_created_at;
alter table conversations validate constraint ck_conversations_updated_at;
alter table messages validate constraint ck_messages_created_at;
alter table messages validate constraint ck_messages_finish_reason;
