-- Validates the checks of 0039 and 0042, as 0004 does, under locks that block neither reading nor writing.
-- depends: 0043.change-paths
-- locks: conversations, share update exclusive, reads every row
-- locks: generations, share update exclusive, reads every row

set local lock_timeout = '5s';
set local statement_timeout = '30min';

alter table conversations validate constraint ck_conversations_version;
alter table generations validate constraint ck_generations_kind;
