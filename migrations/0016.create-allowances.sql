-- Limits, counted for all workers together: what was lately used of the rates, and whose the running answers are.
-- depends: 0015.tune-tables
-- locks: generations, access exclusive, a moment
-- locks: service_rights, row exclusive, a moment

set local lock_timeout = '5s';
set local statement_timeout = '1min';

-- Unlogged: a crash empties it, which lets a few more through, and saves each message sent its part of the log.
-- Its rows are updated in place all the time and no index but the key's knows what changes in them, so with room on
-- each page every update is a HOT one, and pages are cleaned as they are read.
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
'One row for each rate limit and whoever has lately used some of it; who has no row has used nothing. May be emptied '
'at any time: everybody begins anew. Replicas and backups needn''t have it. Old rows leave by limits.prune.';
comment on column allowances.name is 'The setting in lower case: sends_per_user or sends_per_address.';
comment on column allowances.subject is
'A user''s id, or an address: IPv4 as it is, IPv6 by its network of 64 bits, which one customer has to himself.';
comment on column allowances.every is 'After so long one more is free: the period divided by how many it lets through.';
comment on column allowances.period is 'In this time the whole allowance comes back.';
comment on column allowances.full_at is
'When the whole allowance is free again, if nothing is sent before; from then on the row means nothing. '
'Each one let through moves it on by `every`, and none may move it further than `period` from now (GCRA).';

-- No default, so no rewrite. Empty while the number of answers isn't limited.
alter table generations
add column if not exists holder_id uuid;

comment on column generations.holder_id is
'The user, where the number of his answers at once is limited (MAX_ANSWERS_PER_USER) when this one begins; else null.';

-- Temporary tables are looked for first unless they are named, and then last: else one of the caller's, called like one
-- of these, would have its triggers run with the owner's rights.
do $$
begin
    perform set_config(
        'search_path', concat_ws(', ', nullif(current_setting('search_path'), ''), 'pg_temp'), true
    );
end
$$;

-- A function, because each statement in it sees what was committed before, and so what others did until the locks were
-- had: within one statement, a look is as old as its beginning. And where nothing is limited, it isn't called and costs
-- nothing. Whoever waits for a lock waits for one statement of another's, a millisecond or two. It works with its owner's
-- rights: the service's role needs none to write here, and where row-level security shows that role one conversation at a
-- time, the user's answers in all of them are counted still.
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
        -- The first look is there for the common refusal, which then waits for nobody and writes nothing.
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

        -- Looked for after that, so that whoever took what is missing there is seen here.
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

        -- The lock that the start's foreign key takes later on: were a deletion waited for then, with the locks below held
        -- already, one large conversation that goes would keep a whole network waiting. No stronger one, or starts that
        -- aren't limited, which write to the conversation last, would wait for this one in a circle.
        perform from conversations where id = conversation for key share;
        -- Then addresses, and then the user: in one order, none waits for one who waits for him.
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
'Takes what a new answer costs of the limits, exactly, whoever else asks at the same moment; generations.start calls '
'it. limited_by: null, it was taken; else nothing was, and it names the limit, or is crowded: another answer has just '
'begun in this conversation, or with this key. seconds_to_wait: until that limit lets one through; null: nobody knows.';

-- Not for public: whoever may call it could use up somebody's allowance.
revoke execute on function chat_admit(uuid, uuid, varchar, integer, json) from public;

insert into service_rights (object, privilege, columns) values
('allowances', 'select', '{}'),
-- To lock rows before they are deleted, PostgreSQL wants the right to update one column.
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
