-- Restores the check of 0002, which 0004 and 0006 expect when they are applied again.

set local lock_timeout = '5s';
set local statement_timeout = '1min';

alter table messages
alter column created_at drop not null,
drop constraint if exists ck_messages_created_at,
add constraint ck_messages_created_at check (created_at is not null) not valid;
