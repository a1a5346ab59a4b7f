-- Loses the functions alone. The release before changes no path.

set local lock_timeout = '5s';
set local statement_timeout = '1min';

delete from service_rights
where object in ('chat_activate(uuid, uuid)', 'chat_copy(uuid, uuid, uuid, uuid[])', 'chat_take_back(uuid, uuid)');

drop function if exists chat_take_back(uuid, uuid);
drop function if exists chat_copy(uuid, uuid, uuid, uuid[]);
drop function if exists chat_activate(uuid, uuid);
