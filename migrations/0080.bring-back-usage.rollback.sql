-- Loses nothing: an import leaves usage out then.

set local lock_timeout = '5s';
set local statement_timeout = '1min';

delete from service_rights
where object = 'chat_use_again(uuid, json)';

drop function if exists chat_use_again(uuid, json);
