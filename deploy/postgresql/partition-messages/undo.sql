-- Reverts 1-prepare.sql and 2-copy.sql, before 3-swap.sql or after swap-back.sql.
--   psql "$DATABASE_URL" -f undo.sql
\set ON_ERROR_STOP on

do $$
begin
    if to_regclass('messages_partitioned') is null then
        raise exception 'there is no messages_partitioned: run swap-back.sql first';
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
drop table messages_partitioned;
drop table messages_copied;
drop procedure if exists messages_copy(integer, double precision);
commit;

\echo messages is as it was before
