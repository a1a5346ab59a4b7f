-- conversations.created_at and updated_at become not null.
-- depends: 0003.backfill-times

set local lock_timeout = '5s';
set local statement_timeout = '30min';

-- The long look at every row happens here, under a lock that hinders neither reading nor writing. What is validated,
-- SET NOT NULL doesn't look at again, so that its ACCESS EXCLUSIVE lock is a short one.
alter table conversations validate constraint ck_conversations_created_at;
alter table conversations validate constraint ck_conversations_updated_at;

alter table conversations
alter column created_at set not null,
alter column updated_at set not null;

alter table conversations
drop constraint ck_conversations_created_at,
drop constraint ck_conversations_updated_at;
