-- Keeps the table and its rows, whether this migration created or adopted them: a rollback must not cost a
-- conversation. Keeps is_favorited too: it has a default, so it doesn't disturb a service that doesn't know it. Applied
-- again, the migration adopts the table again.

set local lock_timeout = '5s';
set local statement_timeout = '1min';

alter table if exists conversations
alter column id set default gen_random_uuid(),
alter column title drop default,
drop constraint if exists ck_conversations_created_at,
drop constraint if exists ck_conversations_updated_at;

drop function if exists chat_uuid7();
