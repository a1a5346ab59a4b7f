-- Loses nothing: administrators no longer see the platform's users.

set local lock_timeout = '5s';
set local statement_timeout = '1min';

delete from service_rights
where object in ('chat_platform_users(integer, timestamptz, uuid)', 'chat_sees_platform_users()');

drop function if exists chat_platform_users(integer, timestamptz, uuid);
drop function if exists chat_sees_platform_users();
