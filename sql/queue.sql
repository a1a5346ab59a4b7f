-- name: add(conversation_id, user_id, content, request, idempotency_key, max_waiting, limits)^
-- Lets a message wait until the answer that is being written has ended, and those of the messages before it. Runs once
-- per message with `when_running` queue that meets an answer. idx_queued_messages_conversation, uq_generations_running.
-- `request`: the rest of the message's request, as JSON. `limits`: as in generations.start; a message that waits is counted
-- here, and not again when its turn comes. No row: the conversation isn't this user's.
-- `outcome`:
--   queued  it waits: `queued` has it, as conversations.get shows it.
--   existed  a message with this key waits already. `is_other_content`: with another text.
--   free     no answer is being written, and nothing waits: send it.
--   late     something was stored in the conversation at this very moment, so call again.
--   full     `max_waiting` messages wait already.
--   limited  as in generations.start.
-- `new_version`: the version of the conversation if this has counted it up, else null.
with seen as materialized ( -- queue.add
    select
        id,
        xmin as version
    from conversations
    where id = :conversation_id and user_id is not distinct from :user_id
),

-- What ends an answer locks this too. If this one waited for it, it does not see that the answer has ended.
conversation as materialized (
    select
        id,
        xmin as version
    from conversations
    where id = (select s.id from seen as s)
    for no key update
),

verdict as materialized (
    select
        c.id,
        e.id as existing_id,
        e.content <> cast(:content as text) as is_other_content,
        case
            when c.version <> s.version then 'late'
            when e.id is not null then 'existed'
            when
                not exists (
                    select from generations as g
                    where g.conversation_id = c.id and g.status = 'running'
                    offset 0 -- noqa: AM09
                )
                and not exists (
                    select from queued_messages as q
                    where q.conversation_id = c.id
                )
                then 'free'
            when
                (
                    select count(*)
                    from queued_messages as q
                    where q.conversation_id = c.id
                ) >= cast(:max_waiting as integer)
                then 'full'
            else 'queued'
        end as outcome
    from conversation as c
    cross join seen as s
    left join queued_messages as e on c.id = e.conversation_id and e.idempotency_key = :idempotency_key
),

admitted as materialized (
    select
        a.limited_by,
        a.seconds_to_wait
    from verdict as v
    cross join lateral chat_admit(:user_id, null, null, 0, :limits) as a
    where v.outcome = 'queued' and cast(:limits as json) is not null
),

added as (
    insert into queued_messages (conversation_id, content, request, idempotency_key)
    select
        v.id,
        :content,
        :request,
        :idempotency_key
    from verdict as v
    where
        v.outcome = 'queued'
        and not exists (
            select from admitted as a
            where a.limited_by is not null
        )
    returning id, conversation_id, content, created_at
),

touched as (
    update conversations as c
    set
        updated_at = now(),
        version = c.version + 1
    from added as a
    where c.id = a.conversation_id
    returning c.id, c.version
)

select
    case when a.limited_by is not null then 'limited' else v.outcome end as outcome,
    coalesce(v.is_other_content, false) as is_other_content,
    a.limited_by,
    a.seconds_to_wait,
    (
        select cast(row_to_json(o) as text)
        from (
            select
                id,
                content,
                created_at
            from added
            union all
            select
                id,
                content,
                created_at
            from queued_messages
            where id = v.existing_id
        ) as o
    ) as queued,
    t.version as new_version
from verdict as v
left join admitted as a on true
left join touched as t on v.id = t.id
where (select chat_for_user(:user_id, :conversation_id));

-- name: next(conversation_id)^
-- The message whose turn it is in a conversation; no row: none waits, or an answer is being written. Runs once per answer
-- that ended while a message waited, before generations.start. idx_queued_messages_conversation, uq_generations_running.
select -- queue.next
    q.id,
    q.conversation_id,
    c.user_id,
    q.content,
    q.request,
    q.idempotency_key
from conversations as c
inner join queued_messages as q on c.id = q.conversation_id
where
    c.id = :conversation_id
    and c.user_id is not null
    and not exists (
        select from generations as g
        where g.conversation_id = c.id and g.status = 'running'
        offset 0 -- noqa: AM09
    )
    and (select chat_for_everyone())
order by q.position
limit 1;

-- name: due(max_rows)
-- Conversations in which a message waits though no answer is being written, because the worker that ended the last one
-- died, or met the message. One worker runs it every few seconds. The table has only what waits, so it is read in whole.
select q.conversation_id -- queue.due
from queued_messages as q
inner join conversations as c on q.conversation_id = c.id
where
    c.user_id is not null
    and not exists (
        select from generations as g
        where g.conversation_id = q.conversation_id and g.status = 'running'
        offset 0 -- noqa: AM09
    )
    and (select chat_for_everyone())
group by q.conversation_id
order by min(q.position)
limit :max_rows;

-- name: drop(id)^
-- Removes a message that waits, because the key of its request belongs to an answer that has begun otherwise. Runs hardly
-- ever. queued_messages_pkey, conversations_pkey. Returns the conversation and its new version. No row: it was gone.
with conversation as materialized ( -- queue.drop
    select c.id
    from queued_messages as q
    inner join conversations as c on q.conversation_id = c.id
    where q.id = :id
    for no key update of c
),

dropped as (
    delete from queued_messages as q
    using conversation as c
    where q.id = :id and q.conversation_id = c.id
    returning q.conversation_id
),

changed as (
    update conversations as c
    set version = c.version + 1
    from dropped as d
    where c.id = d.conversation_id
    returning c.id, c.version
)

select
    id as conversation_id,
    version as new_version
from changed
where (select chat_for_everyone());

-- name: clear(conversation_id, user_id)^
-- Removes all messages that wait in a conversation. Runs by hand, so rarely. No row: the conversation isn't this user's.
-- `new_version`: the version of the conversation if there were any, else null.
with conversation as materialized ( -- queue.clear
    select id
    from conversations
    where id = :conversation_id and user_id is not distinct from :user_id
    for no key update
),

cleared as (
    delete from queued_messages as q
    using conversation as c
    where q.conversation_id = c.id
    returning q.id
),

changed as (
    update conversations as c
    set version = c.version + 1
    where c.id = (select d.id from conversation as d) and exists (select from cleared)
    returning c.id, c.version
)

select
    (select count(*) from cleared) as cleared,
    g.version as new_version
from conversation as c
left join changed as g on c.id = g.id
where (select chat_for_user(:user_id, :conversation_id));
