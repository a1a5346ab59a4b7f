-- conversations.created_at and updated_at become not null. 0004 has validated every row, so SET NOT NULL doesn't scan
-- the table again, and its lock is short. It must run before the checks are dropped, in a statement of its own.
-- depends: 0004.validate-checks
-- locks: conversations, access exclusive, a moment

set local lock_timeout = '5s';
set local statement_timeout = '1min';

alter table conversations
-- squawk-ignore adding-not-nullable-field
alter column created_at set not null,
-- squawk-ignore adding-not-nullable-field
alter column updated_at set not null;

alter table conversations
drop constraint if exists ck_conversations_created_at,
drop constraint if exists ck_conversations_updated_at;
