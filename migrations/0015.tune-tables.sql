-- When autovacuum visits each table, and how full its pages are, by what the service does to the table. The
-- measurements are in docs/operations/retention.md. All tables in one file, because these locks block neither reading
-- nor writing.
-- depends: 0014.create-retention
-- locks: workers, share update exclusive, a moment
-- locks: journal, share update exclusive, a moment
-- locks: generations, share update exclusive, a moment
-- locks: conversations, share update exclusive, a moment
-- locks: messages, share update exclusive, a moment

set local lock_timeout = '5s';
set local statement_timeout = '1min';

-- One row per worker, renewed once a second and counted with every tick. Half of each page stays free for new versions,
-- and a visit to the page cleans it up (HOT: lease_until is in no index). Versions that a long transaction kept alive
-- are removed soon after it ends.
alter table workers set (
    fillfactor = 50,
    autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000,
    autovacuum_analyze_scale_factor = 0, autovacuum_analyze_threshold = 10000
);

-- Thousands of rows a second are inserted, and deleted ten minutes later. With the defaults, a fifth of them would be
-- dead before autovacuum starts, and it would sleep more than it works. Inserts alone don't trigger it: every row is
-- deleted soon.
alter table journal set (
    autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 10000, autovacuum_vacuum_cost_delay = 0,
    autovacuum_vacuum_insert_threshold = -1,
    autovacuum_analyze_scale_factor = 0.5
);

-- Each row is written twice. status is in the condition of two indexes, so the second version is never HOT, and free
-- space in the page (fillfactor) would save nothing. It leaves a dead entry in uq_generations_running and in
-- idx_generations_worker, which every tick and every start walk.
alter table generations set (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 1000);

-- In a long history so few rows are running that the default sample (30,000 rows) misses them. Each look-up of a
-- conversation's running answer could then scan all running answers. With this setting 300,000 rows are sampled,
-- however many there are.
alter table generations alter column status set statistics 1000;

-- Two new versions per answer, never HOT (updated_at is in idx_conversations_user_updated), right at the end of that
-- index where each list is read.
alter table conversations set (autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_threshold = 1000);

-- Rows are inserted, rarely deleted and never changed. Each page is marked all-visible and frozen in one visit, soon
-- after it is full, instead of all pages at once when transaction ids run short. A partitioned table has no such
-- settings, but each of its partitions has.
do $$
declare
    piece regclass;
begin
    for piece in
        select oid from pg_class where oid = 'messages'::regclass and relkind = 'r'
        union all
        select relid from pg_partition_tree('messages') where isleaf
    loop
        execute format(
            'alter table %s set (
                autovacuum_vacuum_insert_scale_factor = 0.02, autovacuum_vacuum_insert_threshold = 10000,
                autovacuum_freeze_min_age = 0,
                autovacuum_vacuum_scale_factor = 0.05,
                autovacuum_analyze_scale_factor = 0.02
            )',
            piece
        );
    end loop;
end
$$;
