-- Restores the check of 0021, which 0023 and 0024 expect when they are applied again.

set local lock_timeout = '5s';
set local statement_timeout = '1min';

alter table messages
alter column position drop not null,
drop constraint if exists ck_messages_position,
add constraint ck_messages_position check (position is not null) not valid;
