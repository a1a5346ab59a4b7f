-- Loses which model servers were asked; every conversation and every message stays.
-- going back: loses which model servers were asked for each answer

set local lock_timeout = '5s';
set local statement_timeout = '1min';

update service_rights
set columns = array_remove(columns, 'tries')
where object = 'generations' and privilege in ('insert', 'update');

alter table if exists generations
drop column if exists tries;
