-- Disables what row-security.sql enabled: the service sees every row again, filtered by its own conditions. Run it as
-- the tables' owner. It may be run again; nothing needs a restart.
--
--   psql "$DATABASE_URL_OF_THE_OWNER" -f deploy/postgresql/row-security-off.sql

\set ON_ERROR_STOP on
set lock_timeout = '5s';
set client_min_messages = 'warning';

-- With row-level security but without its policy, a table would look empty. So each table changes both in one
-- transaction.
-- This one is missing after a rollback below 0047.
begin;
alter table if exists usage disable row level security;
drop policy if exists of_user on usage;
commit;

begin;
alter table journal disable row level security;
drop policy if exists of_user on journal;
commit;

begin;
alter table generations disable row level security;
drop policy if exists of_user on generations;
commit;

-- These two are missing after a rollback below 0045, and below 0041.
begin;
alter table if exists queued_messages disable row level security;
drop policy if exists of_user on queued_messages;
commit;

begin;
alter table if exists inactive_messages disable row level security;
drop policy if exists of_user on inactive_messages;
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
where
    relname in (
        'conversations', 'messages', 'inactive_messages', 'queued_messages', 'generations', 'journal', 'usage'
    )
    and relkind = 'r'
    and pg_table_is_visible(oid)
order by relname;
