-- name: sweep(first_block, blocks, days, favourites, max_rows)^
-- Deletes conversations in which nothing was said for `days` days, with everything that belongs to them. One worker
-- runs it, one part of the table at a time, where RETENTION_DAYS is set. Favourites are deleted only where `favourites`
-- is true; a conversation with a running answer, or on legal hold, or one that is
-- locked at this moment, stays. Large ones are set aside
-- for retention.clear: see chat_delete in sql/schema.sql. No index: the pages from first_block on are read in physical
-- order, because an index on updated_at would cost each answer two entries. Returns how many were deleted, and where to
-- continue: at the same page when it may hold more, null after the last page.
with due as materialized ( -- retention.sweep
    select c.id
    from conversations as c
    where
        c.ctid >= cast(format('(%s,0)', cast(:first_block as bigint)) as tid)
        and c.ctid < cast(format('(%s,0)', least(:first_block + cast(:blocks as bigint), 4294967295)) as tid)
        and c.updated_at < now() - make_interval(days => greatest(cast(:days as integer), 1))
        and c.user_id is not null
        and (cast(:favourites as boolean) or not c.is_favorited)
        and not exists (
            select from generations as g
            where g.conversation_id = c.id and g.status = 'running'
            offset 0 -- noqa: AM09
        )
        and not exists (
            select from legal_hold as h
            where h.conversation_id = c.id
        )
        and not exists (
            select from legal_hold as h
            where h.user_id = c.user_id
        )
    limit :max_rows -- noqa: AM09
    -- Storing a message takes this lock. If one was stored since this statement started, the row's new version is
    -- checked again, and its recent updated_at keeps it.
    for update of c skip locked
),

swept as materialized (
    select chat_delete(id) as outcome
    from due
)

select
    s.gone,
    case
        when s.gone >= :max_rows then cast(:first_block as bigint)
        when s.behind * cast(current_setting('block_size') as bigint) < pg_relation_size('conversations') then s.behind
    end as next_block
from (
    select
        count(case when outcome <> 'held' then 1 end) as gone,
        :first_block + cast(:blocks as bigint) as behind
    from swept
) as s
where (select chat_for_everyone());

-- name: forget(after, days, max_rows)^
-- Deletes the records of answers that ended more than `days` days ago, with their idempotency keys, oldest first, in
-- small batches; those of conversations on legal hold stay. One worker runs it, once an hour, where GENERATION_DAYS is set. What was said stays in messages. Walks
-- generations_pkey from `after` on (the nil UUID: from the start of the index). Returns how many were deleted, and the
-- id of the last one.
with forgotten as ( -- retention.forget
    delete from generations
    where
        id in (
            select g.id
            from generations as g
            where
                g.id >= :after
                and g.id < chat_uuid7_at(now() - make_interval(days => greatest(cast(:days as integer), 1)))
                and g.finished_at < now() - make_interval(days => greatest(cast(:days as integer), 1))
                and case when exists (select from legal_hold) then not chat_is_held(g.conversation_id) else true end
            order by g.id
            limit :max_rows
            for update of g skip locked
        )
    returning id
)

select
    count(*) as gone,
    (array_agg(id order by id desc))[1] as last_id
from forgotten
where (select chat_for_everyone());

-- name: forget_keys(after, seconds, max_rows)^
-- Takes the idempotency keys away from the records of answers that began more than `seconds` seconds ago, oldest first:
-- nobody retries after so long, and uq_generations_idempotency_key holds only what somebody may retry. One worker runs it,
-- once an hour, batch after batch until one isn't full. Reads up to `max_rows` records of generations_pkey that come after
-- `after` (the nil UUID: from the start of the index), and writes only those with a key. Running answers keep theirs, and
-- rows that somebody has locked at this moment, until the next walk from the start. Returns how many records were read,
-- how many keys left, and the id of the last record: the next batch, and the next hour's walk, continue after it.
with passed as materialized ( -- retention.forget_keys
    select
        id,
        idempotency_key is not null and finished_at is not null as goes
    from generations
    where id > :after and id < chat_uuid7_at(now() - make_interval(secs => :seconds))
    order by id
    limit :max_rows
),

mine as materialized (
    select id
    from generations
    where
        id = any(array(
            select p.id from passed as p
            where p.goes
        ))
    for no key update skip locked
),

forgotten as (
    update generations
    set idempotency_key = null
    where id = any(array(select m.id from mine as m))
    returning id
)

select
    (select count(*) from passed) as passed,
    (select count(*) from forgotten) as gone,
    (
        select id from passed
        order by id desc
        limit 1
    ) as last_id
where (select chat_for_everyone());

-- name: clear(max_rows)^
-- Removes up to `max_rows` rows of one conversation that was deleted, of each kind: what chat_delete set aside because it
-- was too much for one statement. The conversation itself goes with the last of them. One worker runs it, every third of
-- WORKER_LEASE, and again while there is more; by hand, `chat-api user delete`. Safe at any time, by several at once.
-- One whose answer is still being written waits until that has ended; its worker is asked for it, and sees that at its
-- next tick. No row: nothing is left to do now. idx_conversations_user_updated, uq_generations_running, then the indexes of each table by conversation.
with stopped as ( -- retention.clear
    update generations as g
    set stop_requested_at = now()
    where
        g.id = any(
            array(
                select r.id
                from conversations as c
                cross join
                    lateral (
                        select id
                        from generations
                        where conversation_id = c.id and status = 'running'
                        offset 0 -- noqa: AM09
                    ) as r
                where c.user_id is null
            )
        )
        and g.finished_at is null
        and g.stop_requested_at is null
    returning g.id
),

doomed as materialized (
    select c.id
    from conversations as c
    where
        c.user_id is null
        and not exists (
            select from generations as g
            where g.conversation_id = c.id and g.status = 'running'
            offset 0 -- noqa: AM09
        )
    limit 1 -- noqa: AM09
    for update of c skip locked
),

-- By arrays, so that the rows are looked up by their ids. A join may read the whole conversation, for each piece.
answers as (
    delete from generations
    where
        conversation_id = (select d.id from doomed as d)
        and id = any(
            array(
                select r.id
                from doomed as d
                cross join lateral (
                    select id
                    from generations
                    where conversation_id = d.id
                    order by position desc
                    limit :max_rows
                ) as r
            )
        )
    returning id
),

said as (
    delete from messages
    where
        conversation_id = (select d.id from doomed as d)
        and id = any(
            array(
                select r.id
                from doomed as d
                cross join lateral (
                    select id
                    from messages
                    where conversation_id = d.id
                    order by position desc
                    limit :max_rows
                ) as r
            )
        )
    returning id
),

versions as (
    delete from inactive_messages
    where
        conversation_id = (select d.id from doomed as d)
        and id = any(
            array(
                select r.id
                from doomed as d
                cross join lateral (
                    select id
                    from inactive_messages
                    where conversation_id = d.id
                    order by position desc
                    limit :max_rows
                ) as r
            )
        )
    returning id
),

counted as materialized (
    select
        (select count(*) from answers) as generations,
        (select count(*) from said) + (select count(*) from versions) as messages,
        greatest(
            (select count(*) from answers),
            (select count(*) from said),
            (select count(*) from versions)
        ) < cast(:max_rows as bigint) as is_last
),

-- The cascade takes what was added meanwhile.
finished as (
    delete from conversations
    where id = (select d.id from doomed as d) and (select c.is_last from counted as c)
    returning id
)

select
    d.id,
    c.messages,
    c.generations,
    c.is_last
from doomed as d
cross join counted as c
where (select chat_for_everyone());

-- name: due(first_block, blocks, days, favourites, generation_days)^
-- What sweep and forget would delete now, and what sweep would spare as a favourite, in a part of the table of
-- conversations; deletes nothing. Runs by hand (`chat-api retention`), before RETENTION_DAYS is set or lowered, one part
-- after the other, as sweep does: no statement takes long. Reads one entry of idx_messages_conversation_position and
-- idx_inactive_messages_position per message that would be deleted, and of idx_generations_conversation_position per
-- record. What is on legal hold isn't due. 0 days: never delete. `next_block`: where to continue; null after the last page.
with piece as materialized ( -- retention.due
    select
        c.id,
        c.updated_at,
        c.user_id is not null
        and cast(:days as integer) > 0
        and c.updated_at < now() - make_interval(days => cast(:days as integer))
        and not exists (
            select from generations as g
            where g.conversation_id = c.id and g.status = 'running'
            offset 0 -- noqa: AM09
        ) as is_idle,
        case when exists (select from legal_hold) then chat_is_held(c.id) else false end as is_held,
        cast(:favourites as boolean) or not c.is_favorited as goes
    from conversations as c
    where
        c.ctid >= cast(format('(%s,0)', cast(:first_block as bigint)) as tid)
        and c.ctid < cast(format('(%s,0)', least(:first_block + cast(:blocks as bigint), 4294967295)) as tid)
)

select
    count(*) filter (where p.is_idle and p.goes and not p.is_held) as conversations,
    cast(coalesce(sum(m.messages + i.messages), 0) as bigint) as messages,
    count(*) filter (where p.is_idle and not p.goes and not p.is_held) as favourites,
    min(p.updated_at) filter (where p.is_idle and p.goes and not p.is_held) as oldest,
    cast(coalesce(sum(g.generations), 0) as bigint) as generations,
    case
        when
            (:first_block + cast(:blocks as bigint)) * cast(current_setting('block_size') as bigint)
            < pg_relation_size('conversations')
            then :first_block + cast(:blocks as bigint)
    end as next_block
from piece as p
cross join
    lateral (
        select count(*) as messages
        from messages
        where conversation_id = p.id and p.is_idle and p.goes and not p.is_held
    ) as m
cross join
    lateral (
        select count(*) as messages
        from inactive_messages
        where conversation_id = p.id and p.is_idle and p.goes and not p.is_held
    ) as i
cross join
    lateral (
        select count(*) as generations
        from generations
        where
            conversation_id = p.id
            and not p.is_held
            and cast(:generation_days as integer) > 0
            and finished_at < now() - make_interval(days => cast(:generation_days as integer))
            and id < chat_uuid7_at(now() - make_interval(days => cast(:generation_days as integer)))
    ) as g
where (select chat_for_everyone());
