-- The table and its rows stay, whoever made it: going back must not cost a message.

set local lock_timeout = '5s';
set local statement_timeout = '1min';

alter table if exists messages
alter column id set default gen_random_uuid(),
drop constraint if exists ck_messages_created_at;
