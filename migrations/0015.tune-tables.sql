-- When autovacuum comes to each table, and how full its pages are made: by what the service does to it. What was measured
-- stands in docs/operations/retention.md. All tables at once, because these locks hinder no reading and no writing.
-- depends: 0014.create-retention
-- locks: workers, share update exclusive, a moment
-- locks: journal, share update exclusive, a moment
-- locks: generations, share update exclusive, a moment
-- locks: conversations, share update exclusive, a moment
-- locks: messages, share update exclusive, a moment

set local lock_timeout = '5s';
set local statement_timeout = '1min';

-- A row a worker, renewed once a second, and counted with every tick. Half a page stays free for the next versions, and
-- is cleared at a page's visit (HOT: lease_until is in no index). What a long transaction kept back goes soon after it.
alter table workers set (
    fillfactor = 50,
    autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000,
    autovacuum_analyze_scale_factor = 0, autovacuum_analyze_threshold = 10000
);

-- Thousands of rows come in a second and leave ten minutes later: by the default, a fifth of them would be dead before
-- autovacuum begins, and it would rest more than it works. Its inserts alone are no reason to come: they all leave.
alter table journal set (
    autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 10000, autovacuum_vacuum_cost_delay = 0,
    autovacuum_vacuum_insert_threshold = -1,
    autovacuum_analyze_scale_factor = 0.5
);

-- Written twice: status is in the condition of two indexes, so the second version is never HOT, and room in the page
-- (fillfactor) would save nothing. It leaves a dead entry in uq_generations_running and in idx_generations_worker, which
-- each tick and each start walk.
alter table generations set (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 1000);

-- Of a long history's rows so few are running that the default sample (30,000) misses them. Each look for a conversation's
-- running answer may then go through all that run. 300,000 rows are read instead, however many there are.
alter table generations alter column status set statistics 1000;

-- Two new versions an answer, never HOT (updated_at is in idx_conversations_user_updated), at the very end of that index
-- where each list is read.
alter table conversations set (autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_threshold = 1000);

-- Only added to, seldom deleted, never changed: each page is marked as visible and as frozen in one visit, soon after it
-- is full, instead of all of them at once when transaction ids run short.
-- Where its owner has partitioned it, these are settings of the partitions: the table itself holds no row, and takes none.
do $$
declare
    part regclass;
begin
    for part in
        select oid from pg_class
        where relkind = 'r'
            and (oid = 'messages'::regclass or oid in (select relid from pg_partition_tree('messages')))
    loop
        execute format(
            'alter table %s set (
                autovacuum_vacuum_insert_scale_factor = 0.02, autovacuum_vacuum_insert_threshold = 10000,
                autovacuum_freeze_min_age = 0,
                autovacuum_vacuum_scale_factor = 0.05,
                autovacuum_analyze_scale_factor = 0.02
            )',
            part
        );
    end loop;
end
$$;
