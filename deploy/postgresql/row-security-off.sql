-- Takes down what row-security.sql put up: the service sees every row again, by its own conditions. As the tables'
-- owner; it may run again; nothing to restart.
--
--   psql "$DATABASE_URL_OF_THE_OWNER" -f deploy/postgresql/row-security-off.sql

\set ON_ERROR_STOP on
set lock_timeout = '5s';
set client_min_messages = 'warning';

-- Each table without its policy and with row-level security would be an empty one: in one transaction, both or none.
begin;
alter table journal disable row level security;
drop policy if exists of_user on journal;
commit;

begin;
alter table generations disable row level security;
drop policy if exists of_user on generations;
commit;

begin;
alter table messages disable row level security;
drop policy if exists of_user on messages;
commit;

begin;
alter table conversations disable row level security;
drop policy if exists of_user on conversations;
commit;

drop function if exists chat_conversation();
drop operator if exists === (uuid, uuid);

select relname as table, relrowsecurity as wall
from pg_class
where relname in ('conversations', 'messages', 'generations', 'journal') and relkind = 'r' and pg_table_is_visible(oid)
order by relname;
