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
                cast(null as varchar) as finish_reason
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
                coalesce(a.finish_reason, 'stop') as finish_reason
            from messages as a
            where a.id = g.message_id and a.conversation_id = g.conversation_id
        ) as m
    ) as answer
from generations as g
where g.id = :generation_id and (select chat_for_everyone());
