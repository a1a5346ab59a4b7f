-- Deletes at once what remains of deleted conversations; no other row goes.

set local lock_timeout = '5s';
set local statement_timeout = '1h';
-- As in 0041's.
set local row_security = off;

delete from conversations
where user_id is null;

drop function if exists chat_delete(uuid);
drop function if exists chat_set_aside(uuid);

alter table conversations
alter column user_id set not null;

comment on column conversations.user_id is
'The owner''s id in the auth service. A foreign key only where that service keeps users in this database.';

delete from service_rights
where object in ('chat_set_aside(uuid)', 'chat_delete(uuid)');
