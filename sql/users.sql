-- name: count(user_id, before_updated_at, before_id, max_rows)^
-- How much is stored of a user, `max_rows` conversations at a time, newest first, from the given place (nulls: from the
-- top). Runs by hand (`chat-api user delete`), before the command asks whether to go on. idx_conversations_user_updated,
-- then one entry per message (idx_messages_conversation_position, idx_inactive_messages_position) and per record
-- (idx_generations_conversation_position). `last_id` and `last_updated_at`: where to continue, null if there were none.
with piece as materialized ( -- users.count
    select
        id,
        updated_at
    from conversations
    where
        user_id = :user_id
        and (updated_at, id) < (
            case
                when cast(:before_updated_at as timestamptz) is null then cast('infinity' as timestamptz)
                else :before_updated_at
            end,
            case
                when cast(:before_id as uuid) is null
                    then cast('ffffffff-ffff-ffff-ffff-ffffffffffff' as uuid)
                else :before_id
            end
        )
    order by updated_at desc, id desc
    limit :max_rows
)

select
    count(*) as conversations,
    cast(coalesce(sum(m.messages + i.messages), 0) as bigint) as messages,
    cast(coalesce(sum(g.generations), 0) as bigint) as generations,
    (array_agg(c.id order by c.updated_at, c.id))[1] as last_id,
    min(c.updated_at) as last_updated_at
from piece as c
cross join
    lateral (
        select count(*) as messages
        from messages
        where conversation_id = c.id
    ) as m
cross join
    lateral (
        select count(*) as messages
        from inactive_messages
        where conversation_id = c.id
    ) as i
cross join
    lateral (
        select count(*) as generations
        from generations
        where conversation_id = c.id
    ) as g
where (select chat_for_everyone());

-- name: stop_answers(user_id)
-- Asks the workers to stop all answers to a user, before the user's data is deleted. Runs by hand, so rarely; safe to
-- repeat. Returns the answers that are still running. idx_conversations_user_updated, uq_generations_running.
with marked as ( -- users.stop_answers
    update generations as g
    set stop_requested_at = coalesce(g.stop_requested_at, now())
    from conversations as c
    where c.user_id = :user_id and g.conversation_id = c.id and g.status = 'running'
    returning g.id
)

select
    id,
    pg_notify('chat_stop', cast(id as text)) as notified
from marked
where (select chat_for_everyone());

-- name: delete(user_id, max_rows)^
-- Deletes up to `max_rows` of a user's conversations with everything that belongs to them, journal slices included, and
-- returns how much that was. Runs by hand, repeated until no conversation is left. A worker that is still writing an
-- answer there is notified, or finds the row missing, and stores nothing. A message that is being stored is waited for,
-- and deleted as well. Of a conversation of more than 1,000 rows, retention.clear removes the rows: see chat_delete in
-- sql/schema.sql. What is on legal hold stays; `held`: how many conversations that is, once no other is left.
-- idx_conversations_user_updated, journal_pkey, and an entry of an index per row of each conversation.
with batch as materialized ( -- users.delete
    select id
    from conversations
    where
        user_id = :user_id
        and case when exists (select from legal_hold) then not chat_is_held(id) else true end
    order by updated_at desc, id desc
    limit :max_rows
    for update
),

answers as materialized (
    select
        g.id,
        g.status
    from batch as b
    inner join generations as g on b.id = g.conversation_id
),

-- By an array, because there are few of these in a large table, which the planner would otherwise read in whole.
forgotten as (
    delete from journal
    where generation_id = any(array(select a.id from answers as a))
),

deleted as materialized (
    select chat_delete(id) as outcome
    from batch
)

select
    (select count(case when d.outcome <> 'held' then 1 end) from deleted as d) as conversations,
    (
        select count(*)
        from batch as b
        inner join messages as m on b.id = m.conversation_id
    ) + (
        select count(*)
        from batch as b
        inner join inactive_messages as m on b.id = m.conversation_id
    ) as messages,
    count(a.id) as generations,
    case
        when not exists (select from batch)
            then (
                select count(*)
                from conversations as c
                where c.user_id = :user_id
            )
    end as held,
    count(case when a.status = 'running' then pg_notify('chat_stop', cast(a.id as text)) end) as notified
from answers as a
where (select chat_for_everyone());

-- name: export(user_id)
-- Everything that is stored of a user, one JSON text per row: each conversation, oldest first, followed by its messages,
-- those off the active path too (`is_active`), by those that wait for their turn, and by the records of its answers, all
-- oldest first. Runs by hand (`chat-api user export`), through a cursor: while it is open, autovacuum can't remove rows
-- that died since. idx_conversations_user_updated, idx_messages_conversation_position, idx_inactive_messages_position,
-- idx_inactive_messages_parent, idx_queued_messages_conversation, idx_generations_conversation_position. Only the ids of
-- the conversations are sorted. All else comes in the order of the indexes, and nested loops and the append keep it, so
-- that nothing is held. Run it with enable_sort off, as the command does: otherwise PostgreSQL may sort a conversation.
with owned as materialized ( -- users.export
    select id
    from conversations
    where user_id = :user_id
    order by created_at, id
)

select l.line
from owned as c
cross join
    lateral ( -- noqa: ST05
        select cast(row_to_json(o) as text) as line
        from (
            select
                'conversation' as type,
                id,
                user_id,
                coalesce(title, 'New conversation') as title,
                coalesce(model_tag, 'default') as model_tag,
                is_favorited,
                created_at,
                updated_at,
                version,
                instructions,
                options
            from conversations
            where id = c.id
        ) as o
        union all
        select cast(row_to_json(o) as text) as line
        from (
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
                lag(position) over (order by position) as previous_position,
                parent_position,
                true as is_active
            from messages
            where conversation_id = c.id
            union all
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
                lag(position) over (order by position) as previous_position, -- as above, so that it is read in order
                parent_position,
                false as is_active
            from inactive_messages
            where conversation_id = c.id
            order by position -- noqa: RF02
        ) as m
        cross join
            lateral (
                select
                    'message' as type,
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
                    coalesce(
                        (
                            select p.id
                            from messages as p
                            where
                                p.conversation_id = c.id
                                and p.position = coalesce(m.parent_position, m.previous_position)
                        ),
                        (
                            select p.id
                            from inactive_messages as p
                            where
                                p.conversation_id = c.id
                                and p.position = coalesce(m.parent_position, m.previous_position)
                        )
                    ) as parent_id,
                    (
                        select
                            case
                                when count(*) > 1
                                    then json_build_object(
                                        'index',
                                        array_position(array_agg(v.id order by v.position), m.id) - 1,
                                        'ids',
                                        array_agg(v.id order by v.position)
                                    )
                            end
                        from (
                            -- On the active path, the message after the parent is the only one that comes after it.
                            (
                                select
                                    id,
                                    position,
                                    parent_position
                                from messages
                                where
                                    conversation_id = c.id
                                    and m.parent_position is not null
                                    and position > case
                                        when m.parent_position = 0 then -9223372036854775808 else m.parent_position
                                    end
                                order by position
                                limit 1
                            )
                            union all
                            select
                                id,
                                position,
                                parent_position
                            from inactive_messages
                            where conversation_id = c.id and parent_position = m.parent_position
                        ) as v
                        where v.parent_position = m.parent_position
                    ) as siblings,
                    m.is_active
            ) as o
        union all
        select cast(row_to_json(o) as text) as line
        from (
            select
                'queued_message' as type,
                id,
                conversation_id,
                content,
                request,
                created_at
            from queued_messages
            where conversation_id = c.id
            order by position
        ) as o
        union all
        select cast(row_to_json(o) as text) as line
        from (
            select
                'generation' as type,
                id,
                conversation_id,
                kind,
                user_message_id,
                coalesce(own_message_id, message_id) as message_id,
                idempotency_key,
                status,
                finish_reason,
                error_code,
                token_count,
                inference_time_ms,
                usage,
                options,
                started_at,
                finished_at
            from generations
            where conversation_id = c.id
            order by position
        ) as o
    ) as l
where (select chat_for_everyone());

-- name: page(max_rows, before_login_at, before_id)^
-- The next `max_rows` users of the platform, the last signed in first, each with what is stored of them, for
-- administrators. The names of the platform's table and columns are in chat_platform_users(). Runs by hand (a dashboard), once for
-- `max_rows` users; the table `users` is sorted each time. idx_conversations_user_updated, then one entry per message
-- (idx_messages_conversation_position). Always one row; `is_readable` is false where the platform's users aren't in this
-- database, or not granted.
with listed as materialized ( -- users.page
    select
        id,
        email,
        name,
        provider,
        created_at,
        last_login_at
    from chat_platform_users(:max_rows, :before_login_at, :before_id)
),

counted as (
    select
        l.id,
        l.email,
        l.name,
        l.provider,
        l.created_at,
        l.last_login_at,
        count(c.id) as conversation_count,
        cast(coalesce(sum(m.messages + i.messages), 0) as bigint) as message_count
    from listed as l
    left join conversations as c on l.id = c.user_id
    left join
        lateral (
            select count(*) as messages
            from messages
            where conversation_id = c.id
        ) as m
        on true
    left join
        lateral (
            select count(*) as messages
            from inactive_messages
            where conversation_id = c.id
        ) as i
        on true
    group by l.id, l.email, l.name, l.provider, l.created_at, l.last_login_at
)

select
    chat_sees_platform_users() as is_readable,
    string_agg(cast(row_to_json(u) as text), ',' order by coalesce(u.last_login_at, 'epoch') desc, u.id desc) as users,
    count(*) as user_count,
    cast(coalesce(sum(u.conversation_count), 0) as bigint) as conversation_count,
    cast(coalesce(sum(u.message_count), 0) as bigint) as message_count,
    min(coalesce(u.last_login_at, 'epoch')) as last_login_at,
    (array_agg(u.id order by coalesce(u.last_login_at, 'epoch'), u.id))[1] as last_id
from counted as u
where (select chat_for_everyone());
