-- Loses nothing but the check.

set local lock_timeout = '5s';
set local statement_timeout = '1min';

alter table if exists generations drop constraint if exists ck_generations_position;
