-- Loses the list of live workers, so stop the workers first. No conversation or message is lost.

set local lock_timeout = '5s';
set local statement_timeout = '1min';

drop table if exists workers;
