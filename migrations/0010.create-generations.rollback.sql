-- Loses the history of runs, which no earlier version reads, and the answers that are being written right now, so stop
-- the workers first. Messages stay.

set local lock_timeout = '5s';
set local statement_timeout = '1min';

drop table if exists generations;
