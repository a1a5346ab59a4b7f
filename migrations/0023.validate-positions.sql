-- Validates the checks of 0021 and 0022, as 0004 does, under locks that block neither reading nor writing.
-- depends: 0022.check-generation-positions
-- locks: messages, share update exclusive, reads every row
-- locks: generations, share update exclusive, reads every row

set local lock_timeout = '5s';
set local statement_timeout = '30min';

alter table messages validate constraint ck_messages_position;
alter table generations validate constraint ck_generations_position;
