-- Loses nothing: the tables get their settings of 0015 again.

set local lock_timeout = '5s';
set local statement_timeout = '1min';

do $$
begin
    alter table if exists generations alter column status set statistics 1000;
end
$$;

alter table if exists journal reset (autovacuum_analyze_threshold);

alter table if exists journal set (
    autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 10000,
    autovacuum_analyze_scale_factor = 0.5
);

alter table if exists generations reset (autovacuum_analyze_scale_factor, autovacuum_analyze_threshold);

alter table if exists generations set (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 1000);
