-- As 0021, for generations. Not before 0020: the check would refuse the end of an answer that was running when 0019 was
-- applied.
-- depends: 0021.check-message-positions
-- locks: generations, access exclusive, a moment

set local lock_timeout = '5s';
set local statement_timeout = '1min';

alter table generations drop constraint if exists ck_generations_position,
add constraint ck_generations_position check (position is not null) not valid;
