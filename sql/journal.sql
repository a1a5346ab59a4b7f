-- name: tick(worker_id, seconds, live, live_in, ids, first_seqs, next_seqs, slices, notifications)^
-- Writes what a worker's generations said since the last tick, all of them at once, and renews its lease for `seconds`
-- seconds. Runs five times a second while something is running, otherwise a few times a minute. The lease is renewed at
-- most once a second, because each renewal leaves a dead row; steady_since starts anew after a gap of half a lease, and
-- after a jump of the clock. Writes only generations that are still this worker's.
-- `notifications`: what the other workers are told, in pieces of less than 8,000 bytes; none: nothing. No other statement
-- notifies, because PostgreSQL lets only one transaction at a time commit that does.
-- `asked_to_stop`: those of the `live` ones that users asked to stop. `read_elsewhere`: those that other workers have
-- readers of. `deleted`: those whose conversation is gone (`live_in`: the conversation of each). `lost`: the others that
-- are no longer this worker's.
-- `unknown`: running generations of this worker that aren't among the `live` ones; their start may not have returned
-- yet. `other_workers`: how many other workers are alive. idx_generations_unfinished_worker, journal_pkey, workers_pkey.
with lease as ( -- journal.tick
    insert into workers as w (id, lease_until, lease, steady_since)
    select
        :worker_id,
        l.now + l.lease,
        l.lease,
        l.now
    from (
        select
            clock_timestamp() as now, -- not now(): this statement may have waited for a lock
            make_interval(secs => :seconds) as lease
    ) as l
    on conflict (id) do update set
        lease_until = excluded.lease_until,
        lease = excluded.lease,
        steady_since = case
            when
                w.lease_until - w.lease between excluded.steady_since - excluded.lease / 2 and excluded.steady_since
                then w.steady_since
            else excluded.steady_since
        end
    where
    w.lease <> excluded.lease
    or not (
        w.lease_until - w.lease between
        excluded.steady_since - least(interval '1 second', excluded.lease / 15)
        and clock_timestamp() -- a later tick may have overtaken this one
    )
),

mine as materialized (
    select
        id,
        stop_requested_at,
        read_at
    from generations
    where worker_id = :worker_id and finished_at is null
),

-- Hardly ever any.
strayed as materialized (
    select
        l.id,
        not exists (
            select from conversations as c
            where c.id = l.conversation_id
            offset 0 -- noqa: AM09
        ) as is_deleted
    from unnest(cast(:live as uuid[]), cast(:live_in as uuid[])) as l (id, conversation_id)
    where l.id not in (select m.id from mine as m)
),

written as (
    insert into journal (generation_id, first_seq, next_seq, events)
    select
        s.id,
        s.first_seq,
        s.next_seq,
        s.events
    from
        unnest(
            cast(:ids as uuid[]), cast(:first_seqs as integer[]), cast(:next_seqs as integer[]),
            cast(:slices as json[])
        ) as s (id, first_seq, next_seq, events)
    inner join mine on s.id = mine.id
    on conflict (generation_id, next_seq) do nothing
)

select
    array(
        select id from mine
        where stop_requested_at is not null
    ) as asked_to_stop,
    array(
        select id from mine
        where read_at between now() - interval '5 s' and now() + interval '5 s'
    ) as read_elsewhere,
    array(
        select id from strayed
        where is_deleted
    ) as deleted,
    array(
        select id from strayed
        where not is_deleted
    ) as lost,
    array(
        select id from mine
        where id <> all(cast(:live as uuid[]))
    ) as unknown,
    (
        select count(*)
        from live_workers
        where id <> :worker_id
    ) as other_workers,
    (
        select count(pg_notify('chat_journal', n.payload))
        from unnest(cast(:notifications as text[])) as n (payload)
    ) as notified
where (select chat_for_everyone());

-- name: disown(worker_id, ids)!
-- Gives up generations that this worker started without getting the confirmation, because the connection broke first.
-- They become orphans, and are interrupted like any other orphan. Runs only after such a failure. Primary key.
update generations -- journal.disown
set worker_id = chat_uuid7()
where
    id = any(cast(:ids as uuid[]))
    and worker_id is not distinct from :worker_id
    and finished_at is null
    and (select chat_for_everyone());

-- name: read(ids, next_seqs)
-- What the given generations said from the given numbers on, and how they ended. A worker runs this for all generations
-- of other workers that it has readers for, at each notification, otherwise five times a second. journal_pkey, one
-- range per generation. A null `status`: the conversation is gone.
with wanted as ( -- journal.read
    select
        w.id,
        w.next_seq
    from unnest(cast(:ids as uuid[]), cast(:next_seqs as integer[])) as w (id, next_seq)
),

-- All at once: running generations started recently, so they lie side by side in the index, and one descent finds them.
asked as (
    select
        id,
        conversation_id,
        user_message_id,
        message_id,
        status,
        finish_reason,
        error_code,
        token_count,
        inference_time_ms,
        usage,
        last_seq
    from generations
    where id = any(cast(:ids as uuid[]))
)

select
    w.id as generation_id,
    g.conversation_id,
    g.user_message_id,
    g.status,
    coalesce(m.finish_reason, g.finish_reason) as finish_reason, -- that of a newer answer, after a regeneration
    case -- null for a newer answer, which ended well; one that was cut before its text has this very error
        when
            m.finish_reason not in ('interrupted', 'error')
            and not (m.finish_reason = 'length' and m.content = '' and m.tool_calls is null)
            then null
        else g.error_code
    end as error_code,
    coalesce(m.token_count, g.token_count) as token_count,
    coalesce(m.inference_time_ms, g.inference_time_ms) as inference_time_ms,
    coalesce(m.usage, g.usage) as usage,
    g.last_seq,
    m.id as message_id,
    m.content,
    m.reasoning,
    m.tool_calls,
    s.first_seqs,
    s.slices
from wanted as w
left join asked as g on w.id = g.id
left join lateral (
    select
        id,
        finish_reason,
        content,
        reasoning,
        tool_calls,
        token_count,
        inference_time_ms,
        usage
    from messages
    where id = g.message_id and conversation_id = g.conversation_id
    union all
    select
        id,
        finish_reason,
        content,
        reasoning,
        tool_calls,
        token_count,
        inference_time_ms,
        usage
    from inactive_messages
    where id = g.message_id and conversation_id = g.conversation_id
) as m on true
cross join
    lateral (
        select
            array_agg(j.first_seq order by j.next_seq) as first_seqs,
            array_agg(cast(j.events as text) order by j.next_seq) as slices
        from journal as j
        where j.generation_id = w.id and j.next_seq > w.next_seq
    ) as s
where (select chat_for_everyone());

-- name: prune(after, seconds, max_rows)^
-- Deletes the slices of generations that ended more than `seconds` seconds ago, or are gone, oldest first, in small
-- batches. One worker runs it every few seconds, batch after batch until one isn't full. Walks journal_pkey from the
-- generation `after` on (the nil UUID: from the start of the index); the locked rows are deleted by their ctid. Returns
-- how many rows were deleted, and the generation of the last one: from there, the next batch doesn't pass this batch's
-- dead rows again.
with pruned as ( -- journal.prune
    delete from journal
    where
        ctid = any(array(
            select j.ctid
            from journal as j
            left join generations as g on j.generation_id = g.id
            where
                j.generation_id >= :after
                and j.generation_id < chat_uuid7_at(now() - make_interval(secs => :seconds))
                and (g.id is null or g.finished_at < now() - make_interval(secs => :seconds))
            order by j.generation_id, j.next_seq
            limit :max_rows
            for update of j skip locked
        ))
    returning generation_id
)

select
    count(*) as gone,
    (array_agg(generation_id order by generation_id desc))[1] as last_id -- PostgreSQL 17 has no max(uuid)
from pruned
where (select chat_for_everyone());
