-- What `chat-api sql health` looks at. Each query returns at least one row: status (ok, note, wrong, or unseen: this role
-- or server can't tell), subject (a table, index, session …; null: none in particular), finding, and remedy (what to do).
-- They read catalogs and counters, take no lock that blocks anyone, and run on PostgreSQL 15 to 18 and on a standby. Before
-- it runs one, the command names the tables and indexes of the service, from schema.tsv, and their owner; with psql:
--
--   set chat.tables = 'conversations messages generations journal workers'; set chat.indexes = '';
--   set chat.owner = 'chat_owner';

-- name: unused_indexes()
-- Indexes that nothing has read since the counters began, except those that enforce uniqueness. Those of the service are
-- needed in situations that may not have come yet, so only others are wrong, and only after a week.
with since as (
    select coalesce(stats_reset, pg_postmaster_start_time()) as at
    from pg_stat_database
    where datname = current_database()
),

unused as (
    select
        c.oid,
        t.relname as table_name,
        c.relname as index_name,
        c.relname = any(string_to_array(current_setting('chat.indexes'), ' ')) as is_ours
    from pg_index as i
    inner join pg_class as c on i.indexrelid = c.oid
    inner join pg_class as t on i.indrelid = t.oid
    inner join pg_stat_all_indexes as s on i.indexrelid = s.indexrelid
    left join pg_inherits as p on t.oid = p.inhrelid
    left join pg_class as whole on p.inhparent = whole.oid
    where
        coalesce(whole.relname, t.relname) = any(string_to_array(current_setting('chat.tables'), ' '))
        and s.schemaname !~ '^pg_'
        and s.idx_scan = 0
        and not i.indisunique
        and not i.indisexclusion
        and i.indisvalid
        and not c.relispartition
)

select
    case when s.at < now() - interval '7 days' and not pg_is_in_recovery() then 'wrong' else 'note' end as status,
    u.oid::regclass::text as subject,
    format(
        'takes %s and nothing has read it since %s%s',
        pg_size_pretty(pg_relation_size(u.oid)),
        to_char(s.at, 'YYYY-MM-DD HH24:MI'),
        case
            when pg_is_in_recovery() then ' on this standby; the primary counts for itself'
            when s.at >= now() - interval '7 days' then ': too early to tell'
            else ''
        end
    ) as finding,
    case
        when s.at < now() - interval '7 days' and not pg_is_in_recovery()
            then format('drop index concurrently %s', u.oid::regclass)
    end as remedy
from unused as u
cross join since as s
where not u.is_ours
union all
select
    'ok' as status,
    null as subject,
    format(
        'none but the service''s own since %s%s',
        to_char(s.at, 'YYYY-MM-DD HH24:MI'),
        coalesce(
            (
                select ' (which it needs at times: ' || string_agg(u.index_name, ', ' order by u.index_name) || ')'
                from unused as u
            ),
            ''
        )
    ) as finding,
    null as remedy
from since as s
where
    not exists (
        select from unused as u
        where not u.is_ours
    )
order by subject;

-- name: duplicate_indexes()
-- Indexes with the same columns, order, condition and method as another one of their table: each costs a write for each
-- row, and helps no query. One that enforces uniqueness is never the surplus one of an index that doesn't.
with indexes as (
    select
        i.indexrelid,
        i.indrelid,
        i.indisunique,
        c.relname,
        concat_ws(
            '/', c.relam, i.indnkeyatts, i.indkey, i.indclass, i.indcollation, i.indoption,
            pg_get_expr(i.indexprs, i.indrelid), 'where', pg_get_expr(i.indpred, i.indrelid)
        ) as form,
        (
            select k.conname
            from pg_constraint as k
            where k.conindid = i.indexrelid and k.contype in ('p', 'u', 'x')
        ) as owning,
        row_number() over (
            order by
                c.relname <> all(string_to_array(current_setting('chat.indexes'), ' ')),
                not i.indisprimary,
                not i.indisunique,
                i.indexrelid
        ) as place
    from pg_index as i
    inner join pg_class as c on i.indexrelid = c.oid
    inner join pg_class as t on i.indrelid = t.oid
    left join pg_inherits as p on t.oid = p.inhrelid
    left join pg_class as whole on p.inhparent = whole.oid
    where
        coalesce(whole.relname, t.relname) = any(string_to_array(current_setting('chat.tables'), ' '))
        and t.relpersistence <> 't'
        and not c.relispartition
        and i.indisvalid
),

surplus as (
    select
        b.indexrelid,
        b.indrelid,
        b.owning,
        min(a.indexrelid::regclass::text) as twin
    from indexes as a
    inner join indexes as b on a.indrelid = b.indrelid and a.form = b.form and a.place < b.place
    where not b.indisunique or a.indisunique
    group by b.indexrelid, b.indrelid, b.owning
)

select
    'wrong' as status,
    s.indexrelid::regclass::text as subject,
    format('does the same as %s', s.twin) as finding,
    case
        when s.owning is null then format('drop index concurrently %s', s.indexrelid::regclass)
        else format('alter table %s drop constraint %I', s.indrelid::regclass, s.owning)
    end as remedy
from surplus as s
union all
select
    'ok' as status,
    null as subject,
    'none' as finding,
    null as remedy
where not exists (select from surplus)
order by subject;

-- name: half_built_indexes()
-- Indexes whose build was aborted, and what an aborted `reindex concurrently` left (_ccnew, _ccold): each is written for
-- every row, and read by nobody.
with found as (
    select
        c.oid,
        c.relname,
        c.relkind,
        b.phase
    from pg_index as i
    inner join pg_class as c on i.indexrelid = c.oid
    inner join pg_class as t on i.indrelid = t.oid
    left join pg_inherits as p on t.oid = p.inhrelid
    left join pg_class as whole on p.inhparent = whole.oid
    left join pg_stat_progress_create_index as b on c.oid = b.index_relid
    where
        coalesce(whole.relname, t.relname) = any(string_to_array(current_setting('chat.tables'), ' '))
        and t.relpersistence <> 't'
        and (not i.indisvalid or not i.indisready or c.relname ~ '_cc(new|old)\d*$')
)

select
    case when f.phase is null then 'wrong' else 'note' end as status,
    f.oid::regclass::text as subject,
    case
        when f.phase is not null then format('is being built at this moment (%s)', f.phase)
        when f.relkind = 'I' then 'is invalid: it is not attached to an index of each partition'
        when f.relname ~ '_cc(new|old)\d*$' then 'is what an aborted reindex left'
        else 'is invalid: its build was aborted'
    end as finding,
    case
        when f.phase is not null then null
        when f.relkind = 'I' then format('alter index %s attach partition …, for each partition', f.oid::regclass)
        when f.relname ~ '_cc(new|old)\d*$' then format('drop index concurrently %s', f.oid::regclass)
        else format('reindex index concurrently %s', f.oid::regclass)
    end as remedy
from found as f
union all
select
    'ok' as status,
    null as subject,
    'none' as finding,
    null as remedy
where not exists (select from found)
order by subject;

-- name: dead_rows()
-- Tables with more than twice the dead rows at which autovacuum comes, so that it is late; and tables that it may not
-- visit. A standby doesn't count them.
with settings as (
    select
        t.oid,
        t.reltuples,
        s.n_dead_tup,
        s.last_autovacuum,
        coalesce((
            select o.option_value::boolean
            from pg_options_to_table(t.reloptions) as o
            where o.option_name = 'autovacuum_enabled'
        ), true) and current_setting('autovacuum')::boolean as is_visited,
        coalesce((
            select o.option_value
            from pg_options_to_table(t.reloptions) as o
            where o.option_name = 'autovacuum_vacuum_threshold'
        ), current_setting('autovacuum_vacuum_threshold'))::numeric as base,
        coalesce((
            select o.option_value
            from pg_options_to_table(t.reloptions) as o
            where o.option_name = 'autovacuum_vacuum_scale_factor'
        ), current_setting('autovacuum_vacuum_scale_factor'))::numeric as scale,
        coalesce((
            select o.option_value
            from pg_options_to_table(t.reloptions) as o
            where o.option_name = 'autovacuum_vacuum_max_threshold'
        ), current_setting('autovacuum_vacuum_max_threshold', true), '-1')::numeric as highest -- from PostgreSQL 18 on
    from pg_class as t
    inner join pg_stat_all_tables as s on t.oid = s.relid
    left join pg_inherits as p on t.oid = p.inhrelid
    left join pg_class as whole on p.inhparent = whole.oid
    where
        t.relkind = 'r'
        and coalesce(whole.relname, t.relname) = any(string_to_array(current_setting('chat.tables'), ' '))
        and t.relpersistence <> 't'
        and not pg_is_in_recovery()
),

tables as (
    select
        s.oid,
        s.n_dead_tup,
        s.last_autovacuum,
        s.is_visited,
        ceil(least(
            s.base + s.scale * greatest(s.reltuples, 0)::numeric,
            case when s.highest >= 0 then s.highest end
        )) as due
    from settings as s
),

found as (
    select *
    from tables
    where not is_visited or n_dead_tup > 2 * due
)

select
    'wrong' as status,
    f.oid::regclass::text as subject,
    case
        when not f.is_visited and f.n_dead_tup = 1 then 'has 1 dead row, and autovacuum is switched off'
        when not f.is_visited then format('has %s dead rows, and autovacuum is switched off', f.n_dead_tup)
        else format(
            'has %s dead rows, and autovacuum comes at %s; its last visit: %s',
            f.n_dead_tup, f.due, coalesce(to_char(f.last_autovacuum, 'YYYY-MM-DD HH24:MI'), 'none yet')
        )
    end as finding,
    case
        when current_setting('autovacuum')::boolean = false
            then 'alter system set autovacuum = on; select pg_reload_conf()'
        when not f.is_visited then format('alter table %s reset (autovacuum_enabled)', f.oid::regclass)
        else format(
            'vacuum (verbose, analyze) %s; if rows stay, see the lines about transactions and slots', f.oid::regclass
        )
    end as remedy
from found as f
union all
select
    'ok' as status,
    null as subject,
    format('at most %s%% of what autovacuum waits for', max(round(100 * t.n_dead_tup / greatest(t.due, 1)))) as finding,
    null as remedy
from tables as t
where not exists (select from found)
having count(*) > 0
union all
select
    'unseen' as status,
    null as subject,
    'a standby doesn''t count dead rows' as finding,
    'ask the primary' as remedy
where pg_is_in_recovery()
order by subject;

-- name: oldest_transaction()
-- Sessions whose transaction has lasted longer than a quarter of an hour: until it ends, no dead row that it may still see
-- is removed. A role that isn't a member of pg_read_all_stats sees its own sessions alone.
with sessions as (
    select
        pid,
        usename,
        application_name,
        client_addr,
        state,
        backend_type,
        now() - xact_start as age
    from pg_stat_activity
    where
        (datname = current_database() or backend_type = 'walsender')
        and backend_type <> 'autovacuum worker' -- which holds nothing back
        and pid <> pg_backend_pid()
        and xact_start is not null
)

select
    'wrong' as status,
    format('pid %s', s.pid) as subject,
    format(
        'of %s (%s, %s) has a transaction of %s (%s)',
        s.usename,
        coalesce(nullif(s.application_name, ''), 'unnamed'),
        coalesce(host(s.client_addr), 'local'),
        date_trunc('second', s.age),
        s.state
    ) as finding,
    format('end it, or select pg_terminate_backend(%s)', s.pid) as remedy
from sessions as s
where s.age > interval '15 minutes'
union all
select
    'ok' as status,
    null as subject,
    coalesce(
        'the oldest has lasted ' || date_trunc('second', greatest(max(s.age), interval '0')), 'none is open'
    ) as finding,
    null as remedy
from sessions as s
where pg_has_role('pg_read_all_stats', 'usage')
having coalesce(max(s.age), interval '0') <= interval '15 minutes' and pg_has_role('pg_read_all_stats', 'usage')
union all
select
    'unseen' as status,
    null as subject,
    format('%s sees its own sessions alone', current_user) as finding,
    format('ask as the owner of the tables, %s, with pg_read_all_stats', current_setting('chat.owner')) as remedy
where not pg_has_role('pg_read_all_stats', 'usage')
order by subject;

-- name: prepared_transactions()
-- Transactions that were prepared for a two-phase commit and forgotten: they outlive sessions and restarts, keep their
-- locks, and hold dead rows back. The service prepares none.
with found as (
    select
        gid,
        owner,
        now() - prepared as age
    from pg_prepared_xacts
    where database = current_database() and prepared < now() - interval '15 minutes'
)

select
    'wrong' as status,
    f.gid as subject,
    format('was prepared by %s, %s ago', f.owner, date_trunc('second', f.age)) as finding,
    format('rollback prepared %L, or commit prepared %L', f.gid, f.gid) as remedy
from found as f
union all
select
    'ok' as status,
    null as subject,
    'none is older than a quarter of an hour' as finding,
    null as remedy
where not exists (select from found)
order by subject;

-- name: replication_slots()
-- Slots that nobody reads: they keep WAL until the disk is full, and with an xmin, dead rows too.
with slots as (
    select
        slot_name,
        active,
        wal_status,
        xmin,
        pg_wal_lsn_diff(
            case when pg_is_in_recovery() then pg_last_wal_replay_lsn() else pg_current_wal_lsn() end, restart_lsn
        ) as kept
    from pg_replication_slots
),

found as (
    select *
    from slots
    where wal_status in ('unreserved', 'lost') or kept > 1024 ^ 3 or (not active and xmin is not null)
)

select
    'wrong' as status,
    f.slot_name as subject,
    format(
        'keeps %s of WAL%s, is %s, and its WAL is %s',
        pg_size_pretty(coalesce(f.kept, 0)),
        case when not f.active and f.xmin is not null then ' and dead rows' else '' end,
        case when f.active then 'read' else 'read by nobody' end,
        coalesce(f.wal_status, 'not reserved')
    ) as finding,
    case
        when f.active then 'see why its reader is slow'
        else format('start its reader, or select pg_drop_replication_slot(%L)', f.slot_name)
    end as remedy
from found as f
union all
select
    'ok' as status,
    null as subject,
    case
        when count(*) = 0 then 'there is none'
        else format('%s, keeping at most %s of WAL', count(*), pg_size_pretty(coalesce(max(s.kept), 0)))
    end as finding,
    null as remedy
from slots as s
having not exists (select from found)
order by subject;

-- name: index_density()
-- An estimate of how full the pages of large b-trees are, from the number of rows and the width of their columns: what
-- full pages would take, in proportion to what this index takes (a freshly built one: 90 %). Columns of varying width need the
-- planner's statistics, which only a role that may read the table sees. Less than half: the index is rebuilt with profit.
-- The journal's index is of yesterday's busiest hour, and fills again.
with indexes as (
    select
        c.oid,
        t.oid as table_id,
        t.relname as table_name,
        n.nspname,
        i.indkey,
        c.reltuples,
        pg_relation_size(c.oid) as bytes
    from pg_index as i
    inner join pg_class as c on i.indexrelid = c.oid
    inner join pg_class as t on i.indrelid = t.oid
    inner join pg_namespace as n on t.relnamespace = n.oid
    inner join pg_am as m on c.relam = m.oid
    left join pg_inherits as p on t.oid = p.inhrelid
    left join pg_class as whole on p.inhparent = whole.oid
    where
        coalesce(whole.relname, t.relname) = any(string_to_array(current_setting('chat.tables'), ' '))
        and c.relkind = 'i'
        and (t.relpersistence = 'p' or (t.relpersistence = 'u' and not pg_is_in_recovery()))
        and m.amname = 'btree'
        and i.indisvalid
        and pg_relation_size(c.oid) >= 16 * 1024 * 1024
),

widths as (
    select
        i.oid,
        case when a.attlen > 0 then a.attlen else st.avg_width end as width
    from indexes as i
    inner join pg_attribute as a on i.oid = a.attrelid and a.attnum > 0
    left join pg_attribute as ta on i.table_id = ta.attrelid and ta.attnum = i.indkey[a.attnum - 1]
    left join pg_stats as st
        on i.nspname = st.schemaname and i.table_name = st.tablename and ta.attname = st.attname and not st.inherited
),

-- An entry is aligned to eight bytes, and has eight as header and four as line pointer.
entries as (
    select
        w.oid,
        case when bool_and(w.width is not null) then 12 + 8 * ceil(sum(w.width) / 8.0) end as bytes
    from widths as w
    group by w.oid
),

-- Of each page, forty bytes are header and trailer. Entries with equal keys may share one: then it is more than full.
densities as (
    select
        i.oid,
        i.table_name,
        i.bytes,
        case
            when e.bytes is not null
                then least(round((100 * i.reltuples * e.bytes * 8192 / 8152 / i.bytes)::numeric), 100)
        end as percent
    from indexes as i
    inner join entries as e on i.oid = e.oid
    where i.reltuples >= 0
)

select
    case when d.percent is null then 'unseen' when d.table_name = 'journal' then 'note' else 'wrong' end as status,
    d.oid::regclass::text as subject,
    case
        when d.percent is null then format('takes %s; how full it is can''t be estimated', pg_size_pretty(d.bytes))
        else format('takes %s, of which about %s%% is in use (an estimate)', pg_size_pretty(d.bytes), d.percent)
    end as finding,
    case
        when d.percent is null then 'as a superuser: create extension pgstattuple, which measures it'
        when d.table_name <> 'journal' then format('reindex index concurrently %s', d.oid::regclass)
    end as remedy
from densities as d
where d.percent is null or d.percent < 50
union all
select
    'ok' as status,
    null as subject,
    case
        when count(*) = 0 then 'no index takes 16 MB yet'
        else format('of 16 MB or more: %s, at least %s%% full (an estimate)', count(*), min(d.percent))
    end as finding,
    null as remedy
from densities as d
having coalesce(min(coalesce(d.percent, 0)), 100) >= 50
order by subject;

-- name: index_density_exact()
-- How full the leaf pages of large b-trees are, empty and deleted ones included, as pgstattuple measures it: it reads each
-- index from the first page to the last. Less than half: the index is rebuilt with profit.
with densities as (
    select
        c.oid,
        t.relname as table_name,
        pg_relation_size(c.oid) as bytes,
        round((
            d.avg_leaf_density * d.leaf_pages / greatest(d.leaf_pages + d.empty_pages + d.deleted_pages, 1)
        )::numeric) as percent
    from pg_index as i
    inner join pg_class as c on i.indexrelid = c.oid
    inner join pg_class as t on i.indrelid = t.oid
    inner join pg_am as m on c.relam = m.oid
    left join pg_inherits as p on t.oid = p.inhrelid
    left join pg_class as whole on p.inhparent = whole.oid
    cross join lateral pgstatindex(c.oid::regclass) as d
    where
        coalesce(whole.relname, t.relname) = any(string_to_array(current_setting('chat.tables'), ' '))
        and c.relkind = 'i'
        and (t.relpersistence = 'p' or (t.relpersistence = 'u' and not pg_is_in_recovery()))
        and m.amname = 'btree'
        and i.indisvalid
        and pg_relation_size(c.oid) >= 16 * 1024 * 1024
)

select
    case when d.table_name = 'journal' then 'note' else 'wrong' end as status,
    d.oid::regclass::text as subject,
    format('takes %s, of which %s%% is in use', pg_size_pretty(d.bytes), d.percent) as finding,
    case when d.table_name <> 'journal' then format('reindex index concurrently %s', d.oid::regclass) end as remedy
from densities as d
where d.percent < 50
union all
select
    'ok' as status,
    null as subject,
    case
        when count(*) = 0 then 'no index takes 16 MB yet'
        else format('of 16 MB or more: %s, at least %s%% full', count(*), min(d.percent))
    end as finding,
    null as remedy
from densities as d
having coalesce(min(d.percent), 100) >= 50
order by subject;

-- name: wal_per_answer()
-- What the service's statements write to the WAL, for each answer that ended. A standby writes none. Full pages are what
-- the first change of a page after a checkpoint costs.
with written as (
    select
        coalesce(sum(s.wal_bytes), 0) as bytes,
        coalesce(sum(s.wal_fpi), 0) * current_setting('block_size')::numeric as of_pages,
        coalesce(sum(s.calls) filter (where s.query ~ '-- generations\.finish\M'), 0) as answers
    from pg_stat_statements as s
    inner join pg_database as d on s.dbid = d.oid
    where d.datname = current_database() and s.query ~ '-- \w+\.\w+'
)

select
    case
        when pg_is_in_recovery() then 'unseen'
        when not pg_has_role('pg_read_all_stats', 'usage') then 'unseen'
        when w.answers > 0 and w.of_pages > w.bytes / 2 and current_setting('wal_compression') = 'off' then 'note'
        else 'ok'
    end as status,
    null as subject,
    case
        when pg_is_in_recovery() then 'a standby writes no WAL'
        when not pg_has_role('pg_read_all_stats', 'usage') then format('%s sees its own statements alone', current_user)
        when w.answers = 0 then 'no answer has ended since the counters began'
        else format(
            '%s an answer (answers since %s: %s); full pages are up to %s%% of it',
            pg_size_pretty(round(w.bytes / w.answers)),
            (select to_char(n.stats_reset, 'YYYY-MM-DD HH24:MI') from pg_stat_statements_info as n),
            w.answers,
            least(round(100 * w.of_pages / greatest(w.bytes, 1)), 100)
        )
    end as finding,
    case
        when pg_is_in_recovery() then 'ask the primary'
        when not pg_has_role('pg_read_all_stats', 'usage')
            then format('ask as the owner of the tables, %s, with pg_read_all_stats', current_setting('chat.owner'))
        when w.answers > 0 and w.of_pages > w.bytes / 2 and current_setting('wal_compression') = 'off'
            then 'alter system set wal_compression = on; select pg_reload_conf(); and a larger max_wal_size'
    end as remedy
from written as w;

-- name: standby_lag()
-- On a primary: how far each standby is behind, and whether one that commits wait for is missing. On a standby: whether it
-- follows its primary, and how far it is behind.
with standbys as (
    select
        coalesce(nullif(application_name, ''), format('pid %s', pid)) as name,
        state,
        sync_state,
        replay_lag,
        case when not pg_is_in_recovery() then pg_wal_lsn_diff(pg_current_wal_lsn(), replay_lsn) end as behind
    from pg_stat_replication
),

own as (
    select
        case
            when pg_last_wal_receive_lsn() = pg_last_wal_replay_lsn() then interval '0'
            else now() - pg_last_xact_replay_timestamp()
        end as lag,
        case when pg_is_in_recovery() then pg_is_wal_replay_paused() end as is_paused,
        (select count(*) > 0 from pg_stat_wal_receiver) as is_connected
    where pg_is_in_recovery()
)

select
    case when o.is_paused or not o.is_connected or o.lag > interval '1 minute' then 'wrong' else 'ok' end as status,
    'this standby' as subject,
    concat_ws(
        ', ',
        case when not o.is_connected then 'receives nothing from its primary' end,
        case when o.is_paused then 'has paused' end,
        coalesce(
            'is ' || to_char(extract(epoch from greatest(o.lag, interval '0')), 'FM999999990.0') || ' s behind',
            'has replayed no transaction yet'
        )
    ) as finding,
    case
        when o.is_paused then 'select pg_wal_replay_resume()'
        when not o.is_connected then 'look at its log and at primary_conninfo'
        when o.lag > interval '1 minute' then 'see whether a query on it, its disk or the network holds it up'
    end as remedy
from own as o
union all
select
    case
        when s.state is null then 'unseen'
        when s.replay_lag > interval '1 minute' or s.behind > 256 * 1024 * 1024 then 'wrong'
        else 'ok'
    end as status,
    s.name as subject,
    case
        when s.state is null then format('is connected; %s may not see more', current_user)
        else format(
            'is %s and %s s behind (%s, %s)',
            coalesce(pg_size_pretty(s.behind), '?'),
            to_char(coalesce(extract(epoch from s.replay_lag), 0), 'FM999999990.0'),
            s.state,
            s.sync_state
        )
    end as finding,
    case
        when s.state is null
            then format('ask as the owner of the tables, %s, with pg_read_all_stats', current_setting('chat.owner'))
        when s.replay_lag > interval '1 minute' or s.behind > 256 * 1024 * 1024
            then 'see whether a query on it, its disk or the network holds it up'
    end as remedy
from standbys as s
union all
select
    'wrong' as status,
    'synchronous_standby_names' as subject,
    'names a standby that isn''t here: commits wait for it' as finding,
    'start it; or alter system reset synchronous_standby_names; select pg_reload_conf()' as remedy
where
    not pg_is_in_recovery()
    and current_setting('synchronous_standby_names') <> ''
    and not exists (
        select from standbys as s
        where s.sync_state in ('sync', 'quorum') or s.state is null
    )
union all
select
    'ok' as status,
    null as subject,
    'no standby follows this server' as finding,
    null as remedy
where
    not pg_is_in_recovery()
    and current_setting('synchronous_standby_names') = ''
    and not exists (select from standbys)
order by subject;
