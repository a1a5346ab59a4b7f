-- generations.position becomes not null, as in 0024.
-- depends: 0024.require-message-positions
-- locks: generations, access exclusive, a moment

set local lock_timeout = '5s';
set local statement_timeout = '1min';

-- squawk-ignore adding-not-nullable-field
alter table generations alter column position set not null;

alter table generations drop constraint if exists ck_generations_position;
