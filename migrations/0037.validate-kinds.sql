-- Validates the check of 0036, as 0004 does, under a lock that blocks neither reading nor writing.
-- depends: 0036.add-tool-results
-- locks: generations, share update exclusive, reads every row

set local lock_timeout = '5s';
set local statement_timeout = '30min';

alter table generations validate constraint ck_generations_kind;
