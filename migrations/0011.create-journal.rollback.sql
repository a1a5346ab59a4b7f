-- Costs the events of running and just finished answers; their texts are in messages.

set local lock_timeout = '5s';

drop table if exists journal;
