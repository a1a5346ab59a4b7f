-- name: page(user_id, before_updated_at, before_id, max_rows, skip)
-- One page of a user's conversations, newest first. Runs at each visit and each reload of the page.
-- Walks idx_conversations_user_updated from the given place (nulls: from the top), without a sort. `max_rows` is one
-- more than the page shows, so that the caller knows whether another page follows. `day` is the UTC date of updated_at,
-- for grouping.
select -- conversations.page
    c.id,
    c.updated_at,
    to_char(c.updated_at at time zone 'UTC', 'YYYY-MM-DD') as day,
    cast(row_to_json(c) as text) as conversation
from (
    select
        id,
        user_id,
        coalesce(title, 'New conversation') as title,
        coalesce(model_tag, 'default') as model_tag,
        is_favorited,
        created_at,
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
    limit :max_rows offset :skip
) as c
where (select chat_for_user(:user_id, null));

-- name: create(user_id, title, model_tag, max_conversations)^
-- Creates an empty conversation for a user. Runs once per conversation. No row: the user already has
-- `max_conversations` (0: no limit). They are counted in idx_conversations_user_updated, up to that number only.
-- Concurrent requests of one user don't see each other's rows, so the user may exceed the limit by their number.
with created as ( -- conversations.create
    insert into conversations (user_id, title, model_tag)
    select
        :user_id,
        :title,
        :model_tag
    where
        case
            when cast(:max_conversations as integer) = 0 then true
            else (
                select count(*)
                from (
                    select
                    from conversations
                    where user_id = :user_id
                    order by updated_at desc, id desc
                    limit :max_conversations
                ) as c
            ) < :max_conversations
        end
    returning id, user_id, title, model_tag, is_favorited, created_at, updated_at
)

select cast(row_to_json(created) as text) as conversation
from created
where (select chat_for_user(:user_id, null));

-- name: get(id, user_id)^
-- A conversation with all its messages, oldest first, and the generation that is running in it. Runs each time a page
-- opens a conversation. Primary key, then idx_messages_conversation_created and uq_generations_running. No row: the
-- conversation isn't this user's.
select -- conversations.get
    cast(row_to_json(c) as text) as conversation,
    (
        select cast(coalesce(json_agg(m order by m.created_at, m.id), '[]') as text)
        from (
            select
                id,
                conversation_id,
                role,
                content,
                coalesce(token_count, 0) as token_count,
                coalesce(model_tag, '') as model_tag,
                coalesce(inference_time_ms, 0) as inference_time_ms,
                created_at,
                case when role = 'assistant' then coalesce(finish_reason, 'stop') end as finish_reason
            from messages
            where conversation_id = c.id
        ) as m
    ) as messages,
    g.id as generation_id,
    g.user_message_id,
    g.status,
    g.started_at,
    (
        select max(j.next_seq) - 1
        from journal as j
        where j.generation_id = g.id
    ) as last_seq
from (
    select
        id,
        user_id,
        coalesce(title, 'New conversation') as title,
        coalesce(model_tag, 'default') as model_tag,
        is_favorited,
        created_at,
        updated_at
    from conversations
    where id = :id and user_id is not distinct from :user_id
) as c
left join generations as g on c.id = g.conversation_id and g.status = 'running'
where (select chat_for_user(:user_id, :id));

-- name: update(id, user_id, title, is_favorited)^
-- Renames a conversation or marks it as a favourite; a null leaves that column unchanged. Runs by hand, so rarely.
-- No row: the conversation isn't this user's. updated_at stays when only the star changes, so that a star doesn't
-- reorder the list.
with updated as ( -- conversations.update
    update conversations
    set
        title = coalesce(:title, title),
        is_favorited = coalesce(:is_favorited, is_favorited),
        updated_at = case when cast(:title as varchar) is null then updated_at else now() end
    where id = :id and user_id is not distinct from :user_id
    returning
        id,
        user_id,
        coalesce(title, 'New conversation') as title,
        coalesce(model_tag, 'default') as model_tag,
        is_favorited,
        created_at,
        updated_at
)

select cast(row_to_json(updated) as text) as conversation
from updated
where (select chat_for_user(:user_id, :id));

-- name: delete(id, user_id)^
-- Deletes a conversation with its messages and generations (by cascade). Runs by hand, so rarely. Returns the
-- generation that was running, so that its model can be stopped: its worker is notified, or finds the row missing.
-- No row: the conversation isn't this user's.
with deleted as ( -- conversations.delete
    delete from conversations
    where id = :id and user_id is not distinct from :user_id
    returning id
)

select
    d.id,
    g.id as generation_id,
    case when g.id is not null then pg_notify('chat_stop', cast(g.id as text)) end as notified
from deleted as d
left join generations as g on d.id = g.conversation_id and g.status = 'running'
where (select chat_for_user(:user_id, :id));
