-- name: sweep(first_block, blocks, days, favourites, max_rows)^
-- Deletes conversations in which nothing was said for `days` days, with everything that belongs to them. One worker
-- runs it, one part of the table at a time, where RETENTION_DAYS is set. Favourites are deleted only where `favourites`
-- is true; a conversation with a running answer, or one that is locked at this moment, stays. No index: the pages from
-- first_block on are read in physical order, because an index on updated_at would cost each answer two entries. Returns
-- how many were deleted, and where to continue: at the same page when it may hold more, null after the last page.
with due as materialized ( -- retention.sweep
    select c.id
    from conversations as c
    where
        c.ctid >= cast(format('(%s,0)', cast(:first_block as bigint)) as tid)
        and c.ctid < cast(format('(%s,0)', least(:first_block + cast(:blocks as bigint), 4294967295)) as tid)
        and c.updated_at < now() - make_interval(days => greatest(cast(:days as integer), 1))
        and (cast(:favourites as boolean) or not c.is_favorited)
        and not exists (
            select from generations as g
            where g.conversation_id = c.id and g.status = 'running'
        )
    limit :max_rows -- noqa: AM09
    -- Storing a message takes this lock. If one was stored since this statement started, the row's new version is
    -- checked again, and its recent updated_at keeps it.
    for update of c skip locked
),

swept as (
    delete from conversations
    where id in (select id from due)
    returning id
)

select
    s.gone,
    case
        when s.gone >= :max_rows then cast(:first_block as bigint)
        when s.behind * cast(current_setting('block_size') as bigint) < pg_relation_size('conversations') then s.behind
    end as next_block
from (
    select
        count(*) as gone,
        :first_block + cast(:blocks as bigint) as behind
    from swept
) as s
where (select chat_for_everyone());

-- name: forget(after, days, max_rows)^
-- Deletes the records of answers that ended more than `days` days ago, with their idempotency keys, oldest first, in
-- small batches. One worker runs it, once an hour, where GENERATION_DAYS is set. What was said stays in messages. Walks
-- generations_pkey from `after` on (the nil UUID: from the start of the index). Returns how many were deleted, and the
-- id of the last one.
with forgotten as ( -- retention.forget
    delete from generations
    where
        id in (
            select id
            from generations
            where
                id >= :after
                and id < chat_uuid7_at(now() - make_interval(days => greatest(cast(:days as integer), 1)))
                and finished_at < now() - make_interval(days => greatest(cast(:days as integer), 1))
            order by id
            limit :max_rows
            for update skip locked
        )
    returning id
)

select
    count(*) as gone,
    (array_agg(id order by id desc))[1] as last_id
from forgotten
where (select chat_for_everyone());

-- name: due(days, favourites, generation_days)^
-- What sweep and forget would delete now, and what sweep would spare as a favourite; deletes nothing. Runs by hand
-- (`chat-api retention`), before RETENTION_DAYS is set or lowered. Reads all of conversations and generations, and one
-- entry of idx_messages_conversation_position per message that would be deleted. 0 days: never delete.
with idle as materialized ( -- retention.due
    select
        c.id,
        c.updated_at,
        cast(:favourites as boolean) or not c.is_favorited as goes
    from conversations as c
    where
        cast(:days as integer) > 0
        and c.updated_at < now() - make_interval(days => cast(:days as integer))
        and not exists (
            select from generations as g
            where g.conversation_id = c.id and g.status = 'running'
        )
)

select
    count(*) filter (where i.goes) as conversations,
    (
        select count(*)
        from messages as m
        where m.conversation_id in (
            select due.id from idle as due
            where due.goes
        )
    ) + (
        select count(*)
        from inactive_messages as m
        where m.conversation_id in (
            select due.id from idle as due
            where due.goes
        )
    ) as messages,
    count(*) filter (where not i.goes) as favourites,
    min(i.updated_at) filter (where i.goes) as oldest,
    (
        select count(*)
        from generations as g
        where
            cast(:generation_days as integer) > 0
            and g.finished_at < now() - make_interval(days => cast(:generation_days as integer))
            and g.id < chat_uuid7_at(now() - make_interval(days => cast(:generation_days as integer)))
    ) as generations
from idle as i
where (select chat_for_everyone());
