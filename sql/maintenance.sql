-- name: release_lease(worker_id)!
-- Removes a worker that shuts down in order, and those that died more than an hour ago. Runs once per worker.
delete from workers -- maintenance.release_lease
where id = :worker_id or lease_until < now() - interval '1 hour';

-- name: eldest()^
-- The worker that has been alive longest: it cleans up for all workers, so that no two do the same. Each worker runs
-- this every third of a lease; `workers` is small.
select id -- maintenance.eldest
from workers
where lease_until > now()
order by started_at, id
limit 1;

-- name: interrupt_orphans()
-- Ends the generations whose worker is dead (its lease ran out), with the text that the journal has of them, so that
-- their conversations accept new messages. Runs at a worker's start and every few seconds; idx_generations_worker.
-- Each generation is ended exactly once, however many workers run this. last_seq counts an error event and `done`.
with dead as materialized ( -- maintenance.interrupt_orphans
    select
        g.id,
        g.conversation_id
    from generations as g
    where
        g.status = 'running'
        and not exists (
            select from workers as w
            where w.id = g.worker_id and w.lease_until > now()
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
        e.event ->> 'token' as token
    from slices as s
    cross join lateral json_array_elements(s.events) with ordinality as e (event, place)
    order by s.id, s.first_seq + e.place
),

spoken as (
    select
        id,
        string_agg(token, '' order by seq) as content,
        count(token) as tokens,
        max(seq) as last_seq
    from events
    group by id
),

ended as (
    update generations as g
    set
        status = 'interrupted',
        finish_reason = 'interrupted',
        error_code = 'worker_lost',
        message_id = case when s.content <> '' then chat_uuid7() end,
        token_count = coalesce(s.tokens, 0),
        last_seq = coalesce(s.last_seq, 0) + 2,
        finished_at = now()
    from orphans as o
    left join spoken as s on o.id = s.id
    where g.id = o.id and g.status = 'running'
    returning g.id, g.conversation_id, g.message_id, g.token_count, s.content
),

answered as (
    insert into messages (id, conversation_id, role, content, token_count, model_tag, finish_reason)
    select
        e.message_id,
        e.conversation_id,
        'assistant',
        e.content,
        e.token_count,
        c.model_tag,
        'interrupted'
    from ended as e
    inner join conversations as c on e.conversation_id = c.id
    where e.message_id is not null
),

touched as (
    update conversations as c
    set updated_at = now()
    from ended as e
    where c.id = e.conversation_id
)

select
    id,
    pg_notify('chat_journal', cast(id as text)) as notified
from ended
where (select chat_for_everyone());

-- name: applied_migrations()
-- The migrations that were applied to this database, for the readiness check and the server's start. Runs every few
-- seconds per load balancer.
select migration_id -- maintenance.applied_migrations
from _yoyo_migration;

-- name: limit_statements(seconds)!
-- Makes the server cancel a session's statements by itself, a little later than their worker would: a worker that was
-- killed or cut off can't. Runs once per connection. A limit that the role, the database or the URL sets stays.
select set_config('statement_timeout', cast(1000 * cast(:seconds as float) as text), false) -- maintenance.limit_statements
where current_setting('statement_timeout') = '0';
