-- Loses nothing: what was imported stays.

set local lock_timeout = '5s';
set local statement_timeout = '1min';

drop function if exists chat_bring(uuid, uuid, json);

delete from service_rights
where object = 'chat_bring(uuid, uuid, json)';
