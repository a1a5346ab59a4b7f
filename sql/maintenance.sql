-- name: release_lease(worker_id)!
-- Removes a worker that shuts down in order, and those that died more than an hour ago. Runs once per worker.
delete from workers -- maintenance.release_lease
where id = :worker_id or lease_until < now() - interval '1 hour';

-- name: eldest()^
-- The worker that has been alive longest: it cleans up for all workers, so that no two do the same. Each worker runs
-- this every third of a lease; `live_workers` is small.
select id -- maintenance.eldest
from live_workers
order by started_at, id
limit 1;

-- name: interrupt_orphans()
-- Ends the generations whose worker is dead, with what the journal has of their text, thinking and tool calls, so that
-- their conversations accept new messages. Dead is who has no lease while a steady worker has one (see live_workers): after the database
-- hung, was locked or away, or its clock jumped, all leases may have expired, so this statement ends nothing until
-- every living worker has had a whole lease's time to renew. A worker that was cut off meanwhile brings in what it still
-- holds (generations.bring_in). Runs at a worker's start and every few seconds; uq_generations_running. Each generation
-- is ended exactly once, however many workers run this. last_seq counts an error event and `done`.
with live as materialized ( -- maintenance.interrupt_orphans
    -- Read once: that somebody is steady, and that others have no lease, must be true at the same moment.
    select
        id,
        is_steady
    from live_workers
),

dead as materialized (
    select
        g.id,
        g.conversation_id
    from generations as g
    where
        g.status = 'running'
        and not exists (
            select from live as w
            where w.id = g.worker_id
        )
        and exists (
            select from live as w
            where w.is_steady
        )
),

-- The conversation is locked first: otherwise its deletion and this statement could deadlock.
orphans as (
    select
        d.id,
        c.id as conversation_id
    from dead as d
    cross join lateral (
        select id
        from conversations
        where id = d.conversation_id
        for no key update skip locked
    ) as c
),

-- A \u0000 that a model server sent, which no text can hold, would block every orphan. (In \\u0000 it is the
-- backslash that is escaped.)
slices as (
    select
        o.id,
        s.first_seq,
        s.events
    from orphans as o
    cross join lateral (
        select
            first_seq,
            cast(regexp_replace(cast(events as text), '(?<!\\)((?:\\\\)*)\\u0000', '\1\\ufffd', 'g') as json) as events
        from journal
        where generation_id = o.id
        order by next_seq -- walks journal_pkey
    ) as s
),

events as (
    select distinct on (s.id, s.first_seq + e.place)
        s.id,
        s.first_seq + e.place - 1 as seq,
        e.event ->> 'token' as token,
        case when e.event ->> 'token' is null then e.event ->> 'reasoning' end as reasoning,
        case when json_typeof(e.event -> 'tool_call') = 'object' then e.event -> 'tool_call' end as call
    from slices as s
    cross join lateral json_array_elements(s.events) with ordinality as e (event, place)
    order by s.id, s.first_seq + e.place
),

-- The pieces of a call have its index in common. Its id and name come with the first piece.
calls as (
    select
        id,
        min(seq) as first_seq,
        json_build_object(
            'id', coalesce((array_agg(call ->> 'id' order by seq) filter (where call ->> 'id' <> ''))[1], ''),
            'name', coalesce((array_agg(call ->> 'name' order by seq) filter (where call ->> 'name' <> ''))[1], ''),
            'arguments', coalesce(string_agg(call ->> 'arguments', '' order by seq), '')
        ) as call
    from events
    where call is not null
    group by id, call ->> 'index'
),

spoken as (
    select
        e.id,
        string_agg(e.token, '' order by e.seq) as content,
        string_agg(e.reasoning, '' order by e.seq) as reasoning,
        (
            select json_agg(c.call order by c.first_seq)
            from calls as c
            where c.id = e.id
        ) as tool_calls,
        count(coalesce(e.token, e.reasoning, cast(e.call as text))) as tokens,
        max(e.seq) as last_seq
    from events as e
    group by e.id
),

ended as (
    update generations as g
    set
        status = 'interrupted',
        finish_reason = 'interrupted',
        error_code = 'worker_lost',
        message_id = case
            when
                (s.content <> '' or s.reasoning <> '' or s.tool_calls is not null)
                -- An answer that goes on begins with what was said before. That alone is no other version of it.
                and not coalesce(
                    g.kind = 'continue'
                    and s.tool_calls is null
                    and (coalesce(s.content, ''), coalesce(s.reasoning, '')) = (
                        select
                            old.content,
                            coalesce(old.reasoning, '')
                        from messages as old
                        where old.conversation_id = g.conversation_id and old.position > g.parent_position
                        order by old.position
                        limit 1
                    ), false
                )
                then chat_uuid7()
        end,
        token_count = coalesce(s.tokens, 0),
        last_seq = coalesce(s.last_seq, 0) + 2,
        finished_at = now()
    from orphans as o
    left join spoken as s on o.id = s.id
    where g.id = o.id and g.finished_at is null
    returning
        g.id,
        g.conversation_id,
        g.message_id,
        g.token_count,
        s.content,
        s.reasoning,
        s.tool_calls,
        g.parent_position,
        g.parent_position is not null
        and exists (
            select from messages as other
            where other.conversation_id = g.conversation_id and other.position > g.parent_position
        ) as is_beside
),

answered as (
    insert into messages (
        id, conversation_id, role, content, reasoning, tool_calls, token_count, model_tag, finish_reason
    )
    select
        e.message_id,
        e.conversation_id,
        'assistant',
        coalesce(e.content, ''),
        nullif(e.reasoning, ''),
        e.tool_calls,
        e.token_count,
        c.model_tag,
        'interrupted'
    from ended as e
    inner join conversations as c on e.conversation_id = c.id
    where e.message_id is not null and not e.is_beside
),

-- As in generations.finish: what is left of doing a certain answer again, or of going on with it, is another version.
beside as (
    insert into inactive_messages (
        id,
        conversation_id,
        role,
        content,
        reasoning,
        tool_calls,
        token_count,
        model_tag,
        finish_reason,
        created_at,
        position,
        parent_position
    )
    select
        e.message_id,
        e.conversation_id,
        'assistant',
        coalesce(e.content, ''),
        nullif(e.reasoning, ''),
        e.tool_calls,
        e.token_count,
        c.model_tag,
        'interrupted',
        now(),
        nextval('chat_position'),
        e.parent_position
    from ended as e
    inner join conversations as c on e.conversation_id = c.id
    where e.message_id is not null and e.is_beside
),

other as materialized (
    select
        first.id,
        e.conversation_id,
        e.parent_position
    from ended as e
    cross join
        lateral (
            select id
            from messages
            where conversation_id = e.conversation_id and position > e.parent_position
            order by position
            limit 1
        ) as first
    where e.is_beside and e.message_id is not null
),

versioned as (
    update messages as m
    set parent_position = o.parent_position
    from other as o
    where m.id = o.id and m.conversation_id = o.conversation_id
),

touched as (
    update conversations as c
    set updated_at = now()
    from ended as e
    where c.id = e.conversation_id
)

select id
from ended
where (select chat_for_everyone());

-- name: applied_migrations()
-- The migrations that were applied to this database, for the server's start. Runs once per start.
select migration_id -- maintenance.applied_migrations
from _yoyo_migration;

-- name: limit_statements(seconds)!
-- Makes the server cancel a session's statements by itself, a little later than their worker would: a worker that was
-- killed or cut off can't. Runs once per connection. A limit that the role, the database or the URL sets stays.
select set_config('statement_timeout', cast(1000 * cast(:seconds as float) as text), false) -- maintenance.limit_statements
where current_setting('statement_timeout') = '0';

-- name: readiness()
-- The migrations that were applied to this database, for the readiness check. It also asks for a lock on a row of
-- workers, and takes none: a hot standby and a read-only session refuse even that (SQLSTATE 25006), so an answer means
-- that a write would succeed. Runs every few seconds per load balancer; `workers` is small.
with writable as materialized ( -- maintenance.readiness
    select id
    from workers
    where false
    for update
)

select migration_id
from _yoyo_migration
where not exists (select from writable);
