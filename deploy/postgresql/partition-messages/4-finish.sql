-- Drops the old table and what led here. After this there is no way back but a backup: wait until you are content.
--   psql "$DATABASE_URL" -f 4-finish.sql
\set ON_ERROR_STOP on

do $$
begin
    if to_regclass('messages_unpartitioned') is null then
        raise exception 'there is no messages_unpartitioned: 3-swap.sql goes before this';
    end if;
end
$$;

set client_min_messages = 'warning';

-- With its triggers on messages. Where this gave up half way, it may be run again.
begin;
-- Autovacuum gives way to who waits for a second, and as long as this is held it doesn't come back. Hinders nobody else.
set local lock_timeout = '5s';
lock table messages in share update exclusive mode;
set local lock_timeout = '500ms'; -- less than deadlock_timeout: the service shall not be the one that is sent away
drop function if exists messages_follow() cascade;
commit;

-- In the order in which a deletion takes them.
begin;
set local lock_timeout = '5s';
lock table conversations in share update exclusive mode;
set local lock_timeout = '500ms';
lock table conversations in access exclusive mode;
drop table messages_unpartitioned;
drop table messages_copied;
drop procedure messages_copy(integer, double precision);
commit;

\echo done; have "analyze messages" run once a day: autovacuum analyzes each partition, and never the whole
