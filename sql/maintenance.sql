-- name: release_lease(worker_id)!
-- A worker that ends in order takes itself off the list; those that died an hour ago go with it.
delete from workers -- maintenance.release_lease
where id = :worker_id or lease_until < now() - interval '1 hour';

-- name: interrupt_orphans()
-- Ends the generations whose worker is dead (it let its lease run out), with the text that the journal has of them, so
-- that their conversations take new messages; at a worker's start and every few seconds; idx_generations_worker.
-- Exactly once, however many workers ask: each row is taken by one of them. last_seq counts an error and done.
with orphans as ( -- maintenance.interrupt_orphans
    -- The conversation is locked too, else its deletion and this would wait for each other.
    select
        g.id,
        g.conversation_id
    from generations as g
    inner join conversations as c on g.conversation_id = c.id
    where
        g.status = 'running'
        and not exists (
            select from workers as w
            where w.id = g.worker_id and w.lease_until > now()
        )
    for no key update of g, c skip locked
),

-- A \u0000 that a model server sent along, which no text can hold, would be in the way of every orphan (one after an odd
-- number of backslashes is none).
written as (
    select
        o.id,
        j.first_seq,
        cast(
            regexp_replace(
                cast(j.events as text), '(?<!\\)((?:\\\\)*)\\u0000', '\1\\ufffd', 'g'
            ) as json
        ) as events
    from orphans as o
    inner join journal as j on o.id = j.generation_id
),

spoken as (
    select
        e.id,
        string_agg(e.token, '' order by e.seq) as content,
        count(e.token) as tokens,
        max(e.seq) as last_seq
    from (
        select distinct on (w.id, w.first_seq + s.place)
            w.id,
            w.first_seq + s.place - 1 as seq,
            s.event ->> 'token' as token
        from written as w
        cross join lateral json_array_elements(w.events) with ordinality as s (event, place)
        order by w.id, w.first_seq + s.place
    ) as e
    group by e.id
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
    where g.id = o.id
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
    pg_notify('chat_journal', cast(id as text)) as told
from ended;

-- name: applied_migrations()
-- The migrations that this database has seen, for the readiness check; every few seconds a load balancer.
select migration_id -- maintenance.applied_migrations
from _yoyo_migration;
