-- name: piece(conversation_id, user_id, after_position, end_position, max_bytes)^
-- The next piece of a conversation's messages, oldest first, after one position and before another, up to and including
-- the one that reaches `max_bytes` bytes of what was said. Runs once per piece of a conversation that is too long for one, as
-- fast as its reader takes them; conversations.get gave the first. conversations_pkey, idx_messages_conversation_position.
-- `messages`, `last_position`, `is_all`: as in conversations.get. No row: the rest was deleted meanwhile.
with ranked as ( -- messages.piece
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
        coalesce(sum(
            octet_length(content)
            + coalesce(octet_length(reasoning), 0)
            + coalesce(octet_length(cast(tool_calls as text)), 0)
        ) over (order by position rows between unbounded preceding and 1 preceding), 0) as bytes_before
    from messages
    where
        conversation_id = (
            select c.id
            from conversations as c
            where c.id = :conversation_id and c.user_id is not distinct from :user_id
        )
        and position > :after_position
        and position < :end_position
    order by position -- string_agg takes the rows in this order
    limit 500
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
                m.usage
        ) as o
)

select
    messages,
    last_position,
    is_all
from piece
where last_position is not null and (select chat_for_user(:user_id, :conversation_id));

-- name: exchange(generation_id)^
-- A finished generation's question and answer, for a caller that asked for no stream. Runs once per such request.
-- Three primary keys. `answer` is null where nothing was kept; `error_code` says why.
select -- messages.exchange
    g.error_code,
    (
        select cast(row_to_json(m) as text)
        from (
            select
                q.id,
                q.conversation_id,
                q.role,
                q.content,
                coalesce(q.token_count, 0) as token_count,
                coalesce(q.model_tag, '') as model_tag,
                coalesce(q.inference_time_ms, 0) as inference_time_ms,
                q.created_at,
                cast(null as varchar) as finish_reason,
                q.reasoning,
                q.tool_calls,
                q.tool_call_id,
                q.usage
            from messages as q
            where q.id = g.user_message_id and q.conversation_id = g.conversation_id
        ) as m
    ) as question,
    (
        select cast(row_to_json(m) as text)
        from (
            select
                a.id,
                a.conversation_id,
                a.role,
                a.content,
                coalesce(a.token_count, 0) as token_count,
                coalesce(a.model_tag, '') as model_tag,
                coalesce(a.inference_time_ms, 0) as inference_time_ms,
                a.created_at,
                coalesce(a.finish_reason, 'stop') as finish_reason,
                a.reasoning,
                a.tool_calls,
                a.tool_call_id,
                a.usage
            from messages as a
            where a.id = g.message_id and a.conversation_id = g.conversation_id
        ) as m
    ) as answer
from generations as g
where g.id = :generation_id and (select chat_for_everyone());
