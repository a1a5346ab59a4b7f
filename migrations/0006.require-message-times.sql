-- messages.created_at becomes not null, as in 0005.
-- depends: 0005.require-conversation-times
-- locks: messages, access exclusive, a moment

set local lock_timeout = '5s';
set local statement_timeout = '1min';

-- squawk-ignore adding-not-nullable-field
alter table messages alter column created_at set not null;

alter table messages drop constraint if exists ck_messages_created_at;
