-- Limits, counted across all workers: what was used lately of the rates, and which users the running answers belong to.
-- depends: 0015.tune-tables
-- locks: generations, access exclusive, a moment
-- locks: service_rights, row exclusive, a moment

set local lock_timeout = '5s';
set local statement_timeout = '1min';

-- Unlogged: a crash empties it, which lets a few more messages through, and saves WAL for each message sent.
-- Its rows are updated in place all the time, and no index but the primary key covers what changes. So with free space
-- on each page every update is HOT, and pages are pruned as they are read.
create unlogged table if not exists allowances (
    name varchar(40) not null,
    subject varchar(64) not null,
    every interval not null,
    period interval not null,
    full_at timestamptz not null,
    constraint allowances_pkey primary key (name, subject),
    constraint ck_allowances_every check (every > interval '0' and every <= period)
) with (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_threshold = 500);

comment on table allowances is
'One row for each rate limit and each limit subject that has used some of it lately; no row: nothing was used. May be '
'emptied at any time: everyone then starts with a full allowance. Replicas and backups don''t need it. limits.prune '
'deletes old rows.';
comment on column allowances.name is 'The setting in lower case: sends_per_user or sends_per_address.';
comment on column allowances.subject is
'The limit subject: a user''s id, an IPv4 address, or a 64-bit IPv6 network, the least that one subscriber has.';
comment on column allowances.every is 'How long until one more is allowed: the period divided by the number it allows.';
comment on column allowances.period is 'The time in which the whole allowance is restored.';
comment on column allowances.full_at is
'When the whole allowance is free again if nothing more is sent; after that, the row means nothing. Each message that '
'is let through moves it on by `every`, and none may move it further than `period` from now (GCRA).';

-- No default, so no rewrite. Null while the number of answers isn't limited.
alter table generations
add column if not exists holder_id uuid;

comment on column generations.holder_id is
'The user, where the number of answers at once was limited (MAX_ANSWERS_PER_USER) when this one started; else null.';

-- PostgreSQL searches temporary tables first unless pg_temp is named, so it is named last. Otherwise a caller's
-- temporary table of the same name as one of these would have its triggers run with the owner's rights.
do $$
begin
    perform set_config(
        'search_path', concat_ws(', ', nullif(current_setting('search_path'), ''), 'pg_temp'), true
    );
end
$$;

-- A function, because each statement in it sees what was committed before it, and so what others did until this one got
-- the locks; a single statement sees only what was committed before it started. Where nothing is limited, the function
-- isn't called and costs nothing. A call that waits for a lock waits for one statement of another session, a
-- millisecond or two. The function runs with its owner's rights: the service's role needs no right to write here, and
-- where row-level security shows that role one conversation at a time, the user's answers in all conversations are
-- still counted.
create or replace function chat_admit(
    in whose uuid, in conversation uuid, in key varchar, in max_running integer, in limits json,
    out limited_by varchar, out seconds_to_wait double precision
)
language plpgsql volatile
security definer
set search_path from current
as $$
declare
    is_alone boolean := false;
begin
    loop
        -- The first check serves the common refusal, which then waits for nothing and writes nothing.
        select r.name, r.seconds into limited_by, seconds_to_wait
        from (
            select l.name, extract(epoch from a.full_at + l.every - l.period - now()) as seconds
            from json_to_recordset(limits) as l (name varchar, subject varchar, every interval, period interval)
            cross join lateral (
                select full_at from allowances where name = l.name and subject = l.subject limit 1
            ) as a
            where a.full_at + l.every > now() + l.period
            union all
            select 'max_answers_per_user', null
            where max_running > 0 and max_running <= (
                select count(*) from generations where holder_id = whose and status = 'running'
            )
        ) as r
        order by r.seconds desc nulls first
        limit 1;

        -- Checked after the limits, so that an answer that took the missing allowance is seen here.
        if (limited_by is not null or is_alone) and exists (
            select from generations
            where conversation_id = conversation and (status = 'running' or idempotency_key = key)
        ) then
            limited_by := 'crowded';
            seconds_to_wait := null;
        end if;

        if limited_by is not null or is_alone then
            exit;
        end if;

        -- The lock that the start's foreign key takes later. If a deletion were waited for only then, with the locks
        -- below already held, deleting one large conversation would block a whole network. A stronger lock could
        -- deadlock with starts that aren't limited, which write to the conversation last.
        perform from conversations where id = conversation for key share;
        -- Then addresses, then the user: always in this order, so that two calls never wait for each other.
        perform pg_advisory_xact_lock(hashtext('chat sends_per_address'), hashtext(l.subject))
        from json_to_recordset(limits) as l (name varchar, subject varchar)
        where l.name = 'sends_per_address';
        perform pg_advisory_xact_lock(hashtext('chat sends_per_user'), hashtext(cast(whose as text)));
        is_alone := true;
    end loop;

    if limited_by is null then
        insert into allowances as a (name, subject, every, period, full_at)
        select l.name, l.subject, l.every, l.period, now() + l.every
        from json_to_recordset(limits) as l (name varchar, subject varchar, every interval, period interval)
        on conflict (name, subject) do update
        set every = excluded.every, period = excluded.period, full_at = greatest(a.full_at, now()) + excluded.every;
    end if;
end
$$;

comment on function chat_admit(uuid, uuid, varchar, integer, json) is
'Takes what a new answer costs from the limits, exactly, whatever runs at the same moment; called by '
'generations.start. limited_by: null: it was taken. Otherwise nothing was taken: it names the limit, or is crowded: '
'another answer has just started in this conversation, or with this key. seconds_to_wait: until that limit lets one '
'through; null: unknown.';

-- Not for public: any caller could use up somebody else's allowance.
revoke execute on function chat_admit(uuid, uuid, varchar, integer, json) from public;

insert into service_rights (object, privilege, columns) values
('allowances', 'select', '{}'),
-- To lock rows before deleting them, PostgreSQL requires the right to update one column.
('allowances', 'update', '{full_at}'),
('allowances', 'delete', '{}'),
(
    'generations',
    'insert',
    '{id, conversation_id, kind, user_message_id, idempotency_key, worker_id, holder_id}'
),
('chat_admit(uuid,uuid,varchar,integer,json)', 'execute', '{}')
on conflict (object, privilege) do update set columns = excluded.columns;

do $$
begin
    perform chat_grant(service_role) from chat_service_roles() as service_role;
end
$$;
