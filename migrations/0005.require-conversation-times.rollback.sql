-- Restores the checks of 0001, which 0004 and 0005 expect when they are applied again.

set local lock_timeout = '5s';
set local statement_timeout = '1min';

alter table conversations
alter column created_at drop not null,
alter column updated_at drop not null,
drop constraint if exists ck_conversations_created_at,
add constraint ck_conversations_created_at check (created_at is not null) not valid,
drop constraint if exists ck_conversations_updated_at,
add constraint ck_conversations_updated_at check (updated_at is not null) not valid;
