-- Loses nothing: the tables go back to PostgreSQL's default settings.

set local lock_timeout = '5s';
set local statement_timeout = '1min';

do $$
declare
    piece regclass;
begin
    for piece in
        select oid from pg_class where oid = to_regclass('messages') and relkind = 'r'
        union all
        select relid from pg_partition_tree(to_regclass('messages')) where isleaf
    loop
        execute format(
            'alter table %s reset (
                autovacuum_vacuum_insert_scale_factor, autovacuum_vacuum_insert_threshold, autovacuum_freeze_min_age,
                autovacuum_vacuum_scale_factor, autovacuum_analyze_scale_factor
            )',
            piece
        );
    end loop;
end
$$;

alter table if exists conversations reset (autovacuum_vacuum_scale_factor, autovacuum_vacuum_threshold);

-- In a block, because sqlfluff can't parse -1 here, and PostgreSQL 14 to 16 don't accept the word default.
do $$
begin
    alter table if exists generations alter column status set statistics -1;
end
$$;

alter table if exists generations reset (autovacuum_vacuum_scale_factor, autovacuum_vacuum_threshold);

alter table if exists journal reset (
    autovacuum_vacuum_scale_factor, autovacuum_vacuum_threshold, autovacuum_vacuum_cost_delay,
    autovacuum_vacuum_insert_threshold, autovacuum_analyze_scale_factor
);

alter table if exists workers reset (
    fillfactor, autovacuum_vacuum_scale_factor, autovacuum_vacuum_threshold, autovacuum_analyze_scale_factor,
    autovacuum_analyze_threshold
);
