-- name: piece(conversation_id, user_id, after_position, end_position, max_bytes)^
-- The next piece of a conversation's messages, oldest first, after one position and before another, up to and including
-- the one that reaches `max_bytes` bytes of what was said. Runs once per piece of a conversation that is too long for one, as
-- fast as its reader takes them; conversations.get gave the first. conversations_pkey, idx_messages_conversation_position.
-- `messages`, `last_position`, `is_all`: as in conversations.get. No row: the rest was deleted meanwhile.
with ranked as ( -- messages.piece
    -- With the message at that position, for its id.
    select
        id,
        conversation_id,
        role,
        content,
        token_count,
        model_tag,
        inference_time_ms,
        created_at,
        finish_reason,
        reasoning,
        tool_calls,
        tool_call_id,
        usage,
        position,
        parent_position,
        lag(id) over (order by position) as previous_id,
        coalesce(
            sum(
                octet_length(content)
                + coalesce(octet_length(reasoning), 0)
                + coalesce(octet_length(cast(tool_calls as text)), 0)
            ) filter (where position > :after_position)
                over (order by position rows between unbounded preceding and 1 preceding),
            0
        )
            as bytes_before
    from messages
    where
        conversation_id = (
            select c.id
            from conversations as c
            where c.id = :conversation_id and c.user_id is not distinct from :user_id
        )
        and position >= :after_position
        and position < :end_position
    order by position -- string_agg takes the rows in this order
    limit 501
),

piece as (
    select
        string_agg(cast(row_to_json(o) as text), ',') filter (where m.bytes_before < :max_bytes) as messages,
        max(m.position) filter (where m.bytes_before < :max_bytes) as last_position,
        count(*) < 500 and bool_and(m.bytes_before < :max_bytes) as is_all
    from ranked as m
    cross join
        lateral ( -- noqa: ST05
            select
                m.id,
                m.conversation_id,
                m.role,
                m.content,
                coalesce(m.token_count, 0) as token_count,
                coalesce(m.model_tag, '') as model_tag,
                coalesce(m.inference_time_ms, 0) as inference_time_ms,
                m.created_at,
                case when m.role = 'assistant' then coalesce(m.finish_reason, 'stop') end as finish_reason,
                m.reasoning,
                m.tool_calls,
                m.tool_call_id,
                m.usage,
                m.previous_id as parent_id,
                (
                    select
                        json_build_object(
                            'index', count(*) filter (where v.position < m.position),
                            'ids', json_agg(v.id order by v.position)
                        )
                    from (
                        select
                            id,
                            position
                        from inactive_messages
                        where conversation_id = m.conversation_id and parent_position = m.parent_position
                        union all
                        select
                            m.id,
                            m.position
                        where m.parent_position is not null
                    ) as v
                    having count(*) > 1
                ) as siblings
        ) as o
    where m.position > :after_position
)

select
    messages,
    last_position,
    is_all
from piece
where last_position is not null and (select chat_for_user(:user_id, :conversation_id));

-- name: exchange(generation_id)^
-- A finished generation's question and answer, for a caller that asked for no stream. Runs once per such request.
-- Primary keys; idx_messages_conversation_position for the question's parent. `answer` is null where nothing was kept;
-- `error_code` says why.
with generation as materialized ( -- messages.exchange
    select
        conversation_id,
        user_message_id,
        message_id,
        error_code
    from generations
    where id = :generation_id
),

-- Off the active path, if somebody has switched meanwhile.
said as materialized (
    select
        m.id,
        m.conversation_id,
        m.role,
        m.content,
        m.token_count,
        m.model_tag,
        m.inference_time_ms,
        m.created_at,
        m.finish_reason,
        m.reasoning,
        m.tool_calls,
        m.tool_call_id,
        m.usage,
        m.position,
        m.parent_position,
        (
            select p.id
            from messages as p
            where p.conversation_id = m.conversation_id and p.position < m.position
            order by p.position desc
            limit 1
        ) as parent_id
    from generation as g
    inner join messages as m on g.conversation_id = m.conversation_id and m.id in (g.user_message_id, g.message_id)
    union all
    select
        m.id,
        m.conversation_id,
        m.role,
        m.content,
        m.token_count,
        m.model_tag,
        m.inference_time_ms,
        m.created_at,
        m.finish_reason,
        m.reasoning,
        m.tool_calls,
        m.tool_call_id,
        m.usage,
        m.position,
        m.parent_position,
        coalesce(
            (
                select p.id
                from messages as p
                where p.conversation_id = m.conversation_id and p.position = m.parent_position
            ),
            (
                select p.id
                from inactive_messages as p
                where p.conversation_id = m.conversation_id and p.position = m.parent_position
            )
        ) as parent_id
    from generation as g
    inner join inactive_messages as m
        on g.conversation_id = m.conversation_id and m.id in (g.user_message_id, g.message_id)
),

shown as materialized (
    select
        s.id,
        cast(row_to_json(o) as text) as message
    from said as s
    cross join lateral ( -- noqa: ST05
        select
            s.id,
            s.conversation_id,
            s.role,
            s.content,
            coalesce(s.token_count, 0) as token_count,
            coalesce(s.model_tag, '') as model_tag,
            coalesce(s.inference_time_ms, 0) as inference_time_ms,
            s.created_at,
            case when s.role = 'assistant' then coalesce(s.finish_reason, 'stop') end as finish_reason,
            s.reasoning,
            s.tool_calls,
            s.tool_call_id,
            s.usage,
            s.parent_id,
            (
                select
                    json_build_object(
                        'index', count(*) filter (where v.position < s.position),
                        'ids', json_agg(v.id order by v.position)
                    )
                from (
                    select
                        f.id,
                        f.position
                    from (
                        select
                            id,
                            position,
                            parent_position
                        from messages
                        where
                            conversation_id = s.conversation_id
                            and position > case -- not coalesce, as in generations.start
                                when s.parent_position = 0 then -9223372036854775808 else s.parent_position
                            end
                            and s.parent_position is not null
                        order by position
                        limit 1
                    ) as f
                    where f.parent_position = s.parent_position
                    union all
                    select
                        id,
                        position
                    from inactive_messages
                    where conversation_id = s.conversation_id and parent_position = s.parent_position
                ) as v
                having count(*) > 1
            ) as siblings
    ) as o
)

select
    g.error_code,
    (
        select s.message
        from shown as s
        where s.id = g.user_message_id
    ) as question,
    (
        select s.message
        from shown as s
        where s.id = g.message_id
    ) as answer
from generation as g
where (select chat_for_everyone());

-- name: delete(conversation_id, user_id, message_id)^
-- Takes a message back: deletes it and all that comes after it, in every version. Runs by hand, so rarely. If it was on the
-- active path and has other versions, the newest of them takes its place. A message that waits for its turn
-- (queued_messages) is just removed. No row: the conversation isn't this user's.
-- `outcome`:
--   deleted  it is gone; the version of the conversation counts one more: `new_version`, which is null otherwise.
--   no_message  this conversation has no such message.
--   running  generation_id is being written, and the message is on the active path.
--   held  the conversation, or all of its owner, is on legal hold.
-- See chat_take_back in sql/schema.sql.
with owned as materialized ( -- messages.delete
    select
        id,
        chat_is_held(id) as is_held
    from conversations
    where id = :conversation_id and user_id is not distinct from :user_id
),

-- One that waits for its turn. Locked before the conversation, as generations.start does.
dequeued as (
    delete from queued_messages as q
    using owned as c
    where q.id = :message_id and q.conversation_id = c.id and not c.is_held
    returning q.conversation_id
),

conversation as materialized (
    select id
    from conversations
    where
        id = (
            select o.id from owned as o
            where not o.is_held
        )
        and not exists (select from dequeued)
    for no key update
),

taken_back as materialized (
    select
        id,
        chat_take_back(id, :message_id) as outcome
    from conversation
    union all
    select
        conversation_id as id,
        'deleted' as outcome
    from dequeued
    union all
    select
        id,
        'held' as outcome
    from owned
    where is_held
),

changed as (
    update conversations as c
    set version = c.version + 1
    from taken_back as t
    where c.id = t.id and t.outcome = 'deleted'
    returning c.id, c.version
)

select
    t.outcome,
    case
        when t.outcome = 'running'
            then (
                select g.id
                from generations as g
                where g.conversation_id = t.id and g.status = 'running'
            )
    end as generation_id,
    c.version as new_version
from taken_back as t
left join changed as c on t.id = c.id
where (select chat_for_user(:user_id, :conversation_id));
