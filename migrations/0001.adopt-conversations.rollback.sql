-- The table and its rows stay, whoever made it: going back must not cost a conversation. So does is_favorited, which
-- has its default and disturbs no service that doesn't know it. Applying again adopts the table once more.

set local lock_timeout = '5s';
set local statement_timeout = '1min';

alter table if exists conversations
alter column id set default gen_random_uuid(),
alter column title drop default,
drop constraint if exists ck_conversations_created_at,
drop constraint if exists ck_conversations_updated_at;

drop function if exists chat_uuid7();
