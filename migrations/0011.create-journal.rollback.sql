-- Loses the events of running and recently finished answers; the texts of finished ones are in messages.

set local lock_timeout = '5s';

drop table if exists journal;
