-- Keeps the table and its rows, whether this migration created or adopted them: a rollback must not cost a message.
-- Loses the finish reasons, which no earlier version reads.

set local lock_timeout = '5s';
set local statement_timeout = '1min';

alter table if exists messages
alter column id set default gen_random_uuid(),
drop constraint if exists ck_messages_created_at,
drop constraint if exists ck_messages_finish_reason,
drop column if exists finish_reason;
