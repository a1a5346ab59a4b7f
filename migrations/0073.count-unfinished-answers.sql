-- chat_admit counts the running answers to a user by the index of 0072. Nothing else of it is new.
-- depends: 0072.index-unfinished-answers
-- locks: nothing

set local lock_timeout = '5s';
set local statement_timeout = '1min';

-- PostgreSQL searches temporary tables first unless pg_temp is named, so it is named last. Otherwise a caller's
-- temporary table of the same name as one of these would have its triggers run with the owner's rights.
do $$
begin
    perform set_config(
        'search_path', concat_ws(', ', nullif(current_setting('search_path'), ''), 'pg_temp'), true
    );
end
$$;

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
    moment timestamptz;
begin
    loop
        moment := clock_timestamp();
        -- The first check serves the common refusal, which then waits for nothing and writes nothing.
        select r.name, r.seconds into limited_by, seconds_to_wait
        from (
            select l.name, extract(epoch from a.full_at + l.every - l.period - moment) as seconds
            from json_to_recordset(limits) as l (name varchar, subject varchar, every interval, period interval)
            cross join lateral (
                select full_at from allowances
                where name = l.name and subject = l.subject and full_at <= moment + allowances.period
                limit 1
            ) as a
            where a.full_at + l.every > moment + l.period
            union all
            select 'max_answers_per_user', null
            where max_running > 0 and max_running <= (
                select count(*) from generations where holder_id = whose and finished_at is null
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
        select l.name, l.subject, l.every, l.period, moment + l.every
        from json_to_recordset(limits) as l (name varchar, subject varchar, every interval, period interval)
        on conflict (name, subject) do update
        set
            every = excluded.every,
            period = excluded.period,
            full_at = excluded.every
            + case when a.full_at between moment and moment + a.period then a.full_at else moment end;
    end if;
end
$$;

comment on view chat_report.running_answers is
'v1: The answers that are being written, and those that are stuck because their worker is gone. Costs a few pages for '
'each (uq_generations_running), whatever the size of the tables.';
