-- Autovacuum visits generations and journal after a number of dead rows, not after a share of the table, and the
-- planner's statistics of generations.status need no larger sample any more.
-- depends: 0073.count-unfinished-answers
-- locks: generations, share update exclusive, a moment
-- locks: journal, share update exclusive, a moment

set local lock_timeout = '5s';
set local statement_timeout = '1min';

-- A history only grows. With 5.8 million answers, 2 % were 117,000 dead rows, and as many dead entries in the indexes
-- on running answers, which each look-up passes until vacuum removes them. What is added between two visits depends on
-- how much is answered, not on how much was. A visit reads only the pages that changed. Statistics age by the same
-- measure: after half a million answers there, with PostgreSQL's tenth.
alter table generations set (
    autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 10000,
    autovacuum_analyze_scale_factor = 0, autovacuum_analyze_threshold = 100000
);

-- This table shrinks: a share of what it held in the rush, millions, is more than a quiet night ever deletes.
alter table journal set (
    autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 20000,
    autovacuum_analyze_scale_factor = 0, autovacuum_analyze_threshold = 200000
);

-- The sample of 300,000 rows (0015) found the running answers in a long history, but not at night, when there are none.
-- Now no statement depends on them (0072), and each analyze reads a tenth of the pages. In a block, because sqlfluff
-- can't parse -1 here, and PostgreSQL 14 to 16 don't accept the word default.
do $$
begin
    alter table generations alter column status set statistics -1;
end
$$;
