-- Loses what was used of the rate limits, so everyone's allowance is full again; and holder_id, so running answers are
-- no longer counted per user.

set local lock_timeout = '5s';
set local statement_timeout = '1min';

delete from service_rights
where object in ('allowances', 'chat_admit(uuid,uuid,varchar,integer,json)');

update service_rights set columns = array_remove(columns, 'holder_id')
where object = 'generations' and privilege = 'insert';

drop function if exists chat_admit(uuid, uuid, varchar, integer, json);

alter table generations
drop column if exists holder_id;

drop table if exists allowances;
