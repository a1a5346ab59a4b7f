-- From here on, no message is without a position; 0023 validates that for the rows that are there.
-- depends: 0020.number-rows
-- locks: messages, access exclusive, a moment

set local lock_timeout = '5s';
set local statement_timeout = '1min';

alter table messages drop constraint if exists ck_messages_position,
add constraint ck_messages_position check (position is not null) not valid;
