-- Restores the check of 0022, which 0023 and 0025 expect when they are applied again.

set local lock_timeout = '5s';
set local statement_timeout = '1min';

alter table generations
alter column position drop not null,
drop constraint if exists ck_generations_position,
add constraint ck_generations_position check (position is not null) not valid;
