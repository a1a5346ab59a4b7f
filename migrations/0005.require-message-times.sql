-- messages.created_at becomes not null, in the same steps as in 0004.
-- depends: 0004.require-conversation-times

set local lock_timeout = '5s';
set local statement_timeout = '30min';

alter table messages validate constraint ck_messages_created_at;

alter table messages alter column created_at set not null;

alter table messages drop constraint ck_messages_created_at;
