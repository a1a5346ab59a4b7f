-- Loses the instructions and options of conversations; every conversation and every message stays.
-- going back: loses the instructions and options of conversations

set local lock_timeout = '5s';
set local statement_timeout = '1min';

update service_rights
set columns = '{user_id, title, model_tag}'
where object = 'conversations' and privilege = 'insert';

update service_rights
set columns = '{title, is_favorited, updated_at}'
where object = 'conversations' and privilege = 'update';

alter table if exists conversations
drop constraint if exists ck_conversations_version,
drop column if exists instructions,
drop column if exists options,
drop column if exists version;
