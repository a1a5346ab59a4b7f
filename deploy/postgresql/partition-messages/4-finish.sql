-- Drops the old table and what led here. After this, only a backup leads back: wait until you are satisfied.
--   psql "$DATABASE_URL" -f 4-finish.sql
\set ON_ERROR_STOP on

do $$
begin
    if to_regclass('messages_unpartitioned') is null then
        raise exception 'there is no messages_unpartitioned: run 3-swap.sql first';
    end if;
end
$$;

set client_min_messages = 'warning';

-- Drops the function with its triggers on messages. If this gives up half way, run the script again.
begin;
-- Autovacuum gives way to a lock request that has waited a second, and can't return while this lock is held. The lock
-- blocks nobody else.
set local lock_timeout = '5s';
lock table messages in share update exclusive mode;
set local lock_timeout = '500ms'; -- less than deadlock_timeout, so that the service is never a deadlock's victim
drop function if exists messages_follow() cascade;
commit;

-- Locks in the same order as a deletion.
begin;
set local lock_timeout = '5s';
lock table conversations in share update exclusive mode;
set local lock_timeout = '500ms';
lock table conversations in access exclusive mode;
drop table messages_unpartitioned;
drop table messages_copied;
drop procedure messages_copy(integer, double precision);
commit;

\echo done; have "analyze messages" run once a day: autovacuum analyzes each partition, but never the whole table
