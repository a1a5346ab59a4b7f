-- Loses the tickets that nobody has used yet: browsers ask for new ones.

set local lock_timeout = '5s';
set local statement_timeout = '1min';

delete from service_rights
where object = 'tickets';

drop table if exists tickets;
