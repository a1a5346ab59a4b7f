-- The schema chat_report: views for those who watch the service and may not read what was said. Their columns are a
-- promise; each view's comment begins with its version, which counts up when a column goes or changes its meaning.
-- depends: 0060.comment-columns
-- locks: nothing

set local lock_timeout = '5s';
set local statement_timeout = '1min';

-- `create schema if not exists` would need the right to create one also where it is there.
do $$
begin
    if to_regnamespace('chat_report') is not null then
        return;
    end if;
    if not has_database_privilege(current_database(), 'create') then
        raise insufficient_privilege using message = format(
            '%s may create no schema in the database %s, and reports need the schema chat_report: as the database''s owner, '
            'run `create schema chat_report authorization %I`, then migrate again',
            current_user, current_database(), current_user
        );
    end if;
    create schema chat_report;
end
$$;

comment on schema chat_report is
'Views for reports, with promised columns and without any text of conversations. chat_grant_reader(role) lets a role '
'read them.';

-- These views read with their owner's rights, also behind row-level security: a reader needs no right on any table, and
-- sees the rows of all users. So nobody may read them by default, least of all the role that runs the service. They have
-- no column with text of users, and call none but PostgreSQL's own functions, which need no right.

create or replace view chat_report.running_answers as
-- Once for all rows. The transaction may be older than leases that were renewed meanwhile.
with t as (
    select clock_timestamp() as now
)

select
    g.id as generation_id,
    g.conversation_id,
    c.user_id as owner_id,
    cast(coalesce(g.model_tag, c.model_tag, 'default') as text) as model,
    cast(g.kind as text) as kind,
    g.started_at,
    cast(extract(epoch from t.now - g.started_at) as integer) as seconds_running,
    g.worker_id,
    cast(extract(epoch from w.lease_until - t.now) as integer) as lease_seconds_left,
    cast(extract(epoch from t.now - (w.lease_until - w.lease)) as integer) as seconds_since_tick,
    coalesce((
        select j.next_seq
        from journal as j
        where j.generation_id = g.id
        order by j.next_seq desc
        limit 1
    ), 0) as events_written,
    g.stop_requested_at,
    coalesce(w.lease_until not between t.now and t.now + w.lease, true) as is_stuck
from generations as g
inner join conversations as c on g.conversation_id = c.id
left join workers as w on g.worker_id = w.id
cross join t
where g.status = 'running';

comment on view chat_report.running_answers is
'v1: The answers that are being written, and those that are stuck because their worker is gone. Costs a few pages for '
'each (uq_generations_running or idx_generations_worker), whatever the size of the tables.';
comment on column chat_report.running_answers.generation_id is
'The answer, as in generations.id.';
comment on column chat_report.running_answers.conversation_id is
'The conversation in which it is written.';
comment on column chat_report.running_answers.owner_id is
'The user to whom the conversation belongs.';
comment on column chat_report.running_answers.model is
'The model that was asked; of answers of older releases, the one that is set for the conversation now.';
comment on column chat_report.running_answers.kind is
'As in generations.kind: send, regenerate, results or continue.';
comment on column chat_report.running_answers.started_at is
'When the question was stored.';
comment on column chat_report.running_answers.seconds_running is
'Seconds since started_at.';
comment on column chat_report.running_answers.worker_id is
'The worker that holds the stream of the model.';
comment on column chat_report.running_answers.lease_seconds_left is
'Seconds until the lease of the worker runs out; negative: it has run out; null: the worker has left.';
comment on column chat_report.running_answers.seconds_since_tick is
'Seconds since the worker last renewed its lease, which it does together with writing to the journal, at most once a '
'second; null: the worker has left. The journal itself has no times.';
comment on column chat_report.running_answers.events_written is
'Events in the journal so far; if this stays the same, the model says nothing.';
comment on column chat_report.running_answers.stop_requested_at is
'When a stop was asked for; null: not yet.';
comment on column chat_report.running_answers.is_stuck is
'True if its worker has no lease that holds. As soon as another worker is steady, it ends such an answer; if it stays, '
'no worker is.';

-- The ids hold the time of the start. For each day, the smallest id of that day bounds the walk of the primary key, so a
-- condition on day leaves the other days unread. No index on a time would cost less.
create or replace view chat_report.failures as
with days as (
    select cast(moment as date) as day
    from generate_series(
        (
            select
                date_trunc('day', to_timestamp(
                    cast(cast('x' || left(replace(cast(g.id as text), '-', ''), 12) as bit(48)) as bigint) / 1000.0
                ) at time zone 'utc')
            from generations as g
            order by g.id
            limit 1
        ),
        now() at time zone 'utc',
        interval '1 day'
    ) as moment
)

select
    d.day,
    f.model,
    f.error_code,
    f.answers
from days as d
cross join lateral (
    select
        cast(coalesce(g.model_tag, c.model_tag, 'default') as text) as model,
        cast(g.error_code as text) as error_code,
        count(*) as answers
    from generations as g
    inner join conversations as c on g.conversation_id = c.id
    where
        g.id >= cast(
            rpad(lpad(to_hex(cast(extract(epoch from d.day) * 1000 as bigint)), 12, '0'), 32, '0') as uuid
        )
        and g.id < cast(
            rpad(lpad(to_hex(cast(extract(epoch from d.day + 1) * 1000 as bigint)), 12, '0'), 32, '0') as uuid
        )
        and g.error_code is not null
    group by coalesce(g.model_tag, c.model_tag, 'default'), g.error_code
) as f;

comment on view chat_report.failures is
'v1: How many answers failed or were interrupted, by day, model and error code; as far back as generations go '
'(GENERATION_DAYS). Name the days that you want: each costs the pages of its answers (generations_pkey), and without a '
'condition on day all of them are read.';
comment on column chat_report.failures.day is
'The day in UTC on which the answers began.';
comment on column chat_report.failures.model is
'The model that was asked; of answers of older releases, the one that is set for the conversation now.';
comment on column chat_report.failures.error_code is
'The code that readers received, such as inference_unavailable; worker_lost: the worker died.';
comment on column chat_report.failures.answers is
'The number of answers that ended with this code; a retry that succeeded takes its failure away.';

-- The tables of the service are those that service_rights names, in its schema: a new one comes by itself.
create or replace view chat_report.table_health as
select
    cast(t.relname as text) as table_name,
    cast(p.relname as text) as partition_of,
    s.n_live_tup as live_rows,
    s.n_dead_tup as dead_rows,
    pg_table_size(t.oid) as table_bytes,
    pg_indexes_size(t.oid) as index_bytes,
    s.last_vacuum,
    s.last_autovacuum,
    s.last_autoanalyze,
    s.autovacuum_count as autovacuums
from pg_class as t
left join pg_inherits as i on t.oid = i.inhrelid
left join pg_class as p on i.inhparent = p.oid
inner join pg_stat_all_tables as s on t.oid = s.relid
where
    t.relkind = 'r'
    and t.relnamespace = (
        select r.relnamespace
        from pg_class as r
        where r.oid = cast('service_rights' as regclass)
    )
    and (
        coalesce(p.relname, t.relname) in (
            select r.object
            from service_rights as r
        ) or t.oid = cast('service_rights' as regclass)
    )
    and t.relname not like '%yoyo%';

comment on view chat_report.table_health is
'v1: Rows, sizes and vacuums of each table of the service, and of each partition. Reads counters and sizes, no rows: '
'milliseconds, whatever the size of the tables. The counters of a standby are its own, and mostly 0.';
comment on column chat_report.table_health.table_name is
'The table, or the partition.';
comment on column chat_report.table_health.partition_of is
'The partitioned table to which it belongs; null: it is no partition.';
comment on column chat_report.table_health.live_rows is
'Rows, as estimated by the statistics.';
comment on column chat_report.table_health.dead_rows is
'Dead row versions that vacuum has yet to remove, as estimated by the statistics.';
comment on column chat_report.table_health.table_bytes is
'Bytes on disk without indexes, with long values (TOAST).';
comment on column chat_report.table_health.index_bytes is
'Bytes on disk of all of its indexes.';
comment on column chat_report.table_health.last_vacuum is
'When somebody last vacuumed it by hand; null: never since the statistics began.';
comment on column chat_report.table_health.last_autovacuum is
'When autovacuum last ended a visit; null: never since the statistics began.';
comment on column chat_report.table_health.last_autoanalyze is
'When autovacuum last analyzed it; null: never since the statistics began.';
comment on column chat_report.table_health.autovacuums is
'Visits of autovacuum since the statistics began.';

create or replace view chat_report.conversation_sizes as
with said as (
    select
        m.conversation_id,
        true as is_active,
        pg_column_size(m.content) as text_bytes,
        pg_column_size(m.reasoning) as reasoning_bytes,
        pg_column_size(m.tool_calls) as call_bytes
    from messages as m
    union all
    select
        m.conversation_id,
        false as is_active,
        pg_column_size(m.content) as text_bytes,
        pg_column_size(m.reasoning) as reasoning_bytes,
        pg_column_size(m.tool_calls) as call_bytes
    from inactive_messages as m
)

select
    c.id as conversation_id,
    c.user_id as owner_id,
    c.updated_at,
    s.messages,
    s.inactive_messages,
    s.bytes
from conversations as c
cross join lateral (
    select
        count(*) filter (where e.is_active) as messages,
        count(*) filter (where not e.is_active) as inactive_messages,
        coalesce(sum(e.text_bytes + coalesce(e.reasoning_bytes, 0) + coalesce(e.call_bytes, 0)), 0) as bytes
    from said as e
    where e.conversation_id = c.id
) as s;

comment on view chat_report.conversation_sizes is
'v1: How many messages each conversation has, and their bytes. With a condition on conversation_id or owner_id it '
'costs the pages of their messages (idx_messages_conversation_position). To find the largest of all, PostgreSQL reads '
'every message, because no index knows their sizes: for a quiet hour, or a standby.';
comment on column chat_report.conversation_sizes.conversation_id is
'The conversation, as in conversations.id.';
comment on column chat_report.conversation_sizes.owner_id is
'The user to whom the conversation belongs.';
comment on column chat_report.conversation_sizes.updated_at is
'When the last message was stored or the title changed.';
comment on column chat_report.conversation_sizes.messages is
'Messages on the active path, which is what its user sees.';
comment on column chat_report.conversation_sizes.inactive_messages is
'Messages off the active path: other versions, and what came after those.';
comment on column chat_report.conversation_sizes.bytes is
'Bytes of text, thinking and tool calls of all of its messages, as stored (compressed), without row headers.';

create or replace view chat_report.limits as
select
    cast(a.name as text) as limit_name,
    cast(a.subject as text) as subject,
    cast(round(extract(epoch from a.period) / extract(epoch from a.every)) as integer) as allowed,
    a.period,
    cast(greatest(
        floor(
            extract(epoch from a.period - greatest(a.full_at - now(), interval '0')) / extract(epoch from a.every)
        ),
        0
    ) as integer) as left_now,
    a.full_at
from allowances as a;

comment on view chat_report.limits is
'v1: What users and addresses have used lately of the rate limits (SENDS_PER_USER, SENDS_PER_ADDRESS); no row: '
'nothing. Reads all of the table allowances, which is small: a row for each subject that was active lately.';
comment on column chat_report.limits.limit_name is
'The setting in lower case, such as sends_per_user.';
comment on column chat_report.limits.subject is
'The limit subject: a user id, an IPv4 address, or a 64-bit IPv6 network.';
comment on column chat_report.limits.allowed is
'How many the limit allows in its period.';
comment on column chat_report.limits.period is
'The time in which the whole allowance is restored.';
comment on column chat_report.limits.left_now is
'How many of them are allowed at this moment; 0: the next one is refused.';
comment on column chat_report.limits.full_at is
'When the whole allowance is free again.';

create or replace function chat_readers() returns setof name
language sql stable
set search_path = pg_catalog, pg_temp
as $$
    select r.rolname
    from pg_namespace as n
    cross join lateral aclexplode(n.nspacl) as acl
    inner join pg_roles as r on r.oid = acl.grantee
    where n.nspname = 'chat_report' and acl.privilege_type = 'USAGE' and acl.grantee <> n.nspowner
    order by r.rolname
$$;

comment on function chat_readers() is
'The roles that may read the reports: those to which chat_grant_reader has opened the schema chat_report.';

create or replace function chat_grant_reader(reader name) returns setof text
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
    missing text;
begin
    -- Otherwise PostgreSQL would warn, and grant nothing.
    if not (select pg_has_role(nspowner, 'usage') from pg_namespace where nspname = 'chat_report') then
        raise insufficient_privilege using message = format(
            'this is for the owner of the schema chat_report, %I, and you are %I',
            (select pg_get_userbyid(nspowner) from pg_namespace where nspname = 'chat_report'), current_user
        );
    end if;
    if not exists (select from pg_roles where rolname = reader) then
        raise undefined_object using
            message = format(
                'there is no role %I: create it first, for example by `create role %I login`', reader, reader
            );
    end if;
    for missing in
        select format('grant usage on schema chat_report to %I', reader)
        where not has_schema_privilege(reader, 'chat_report', 'usage')
        union all
        -- Of the views that a DBA added, those of another owner are that owner's to grant.
        select format('grant select on %s to %I', v.oid::regclass, reader)
        from pg_class as v
        where
            v.relnamespace = 'chat_report'::regnamespace
            and v.relkind = 'v'
            and pg_has_role(v.relowner, 'usage')
            and not has_table_privilege(reader, v.oid, 'select')
        order by 1
    loop
        execute missing;
        return next missing;
    end loop;
end
$$;

comment on function chat_grant_reader(name) is
'Lets a role read the views of chat_report, and no table; returns the statements that did so. For the owner of the '
'tables. Views that come with later releases are granted by their migrations.';

create or replace function chat_revoke_reader(reader name) returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
    granted text;
begin
    if not (select pg_has_role(nspowner, 'usage') from pg_namespace where nspname = 'chat_report') then
        raise insufficient_privilege using message = format(
            'this is for the owner of the schema chat_report, %I, and you are %I',
            (select pg_get_userbyid(nspowner) from pg_namespace where nspname = 'chat_report'), current_user
        );
    end if;
    if not exists (select from pg_roles where rolname = reader) then
        raise undefined_object using message = format('there is no role %I', reader);
    end if;
    for granted in
        select format('revoke select on %s from %I', v.oid::regclass, reader)
        from pg_class as v
        where v.relnamespace = 'chat_report'::regnamespace and v.relkind = 'v' and pg_has_role(v.relowner, 'usage')
    loop
        execute granted;
    end loop;
    execute format('revoke usage on schema chat_report from %I', reader);
end
$$;

comment on function chat_revoke_reader(name) is
'Takes from a role what chat_grant_reader gave it. For the owner of the tables.';

-- Every migration that adds or replaces a view ends with this block.
do $$
begin
    perform chat_grant_reader(reader) from chat_readers() as reader;
end
$$;
