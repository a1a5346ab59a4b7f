-- What users bring along from other products.

-- name: add(id, user_id, own_id, conversation, messages, max_conversations)^
-- Adds a conversation of a file that a user imports, with its messages and all their versions: all of it or nothing. What
-- is there stays as it is, so that twice is once. Runs by hand, once per conversation of the file. conversations_pkey; with
-- `max_conversations`: idx_conversations_user_updated.
-- `id`: made of the user, the product, and the id there, so the same each time. `own_id`: the id of a conversation that was
-- exported here; the user may still have it. `conversation`, `messages`: JSON, see chat_bring in sql/schema.sql. 0
-- `max_conversations`: no limit.
-- `outcome`:
--   added  with `messages` messages.
--   there  the user has it already.
--   full  the user already has `max_conversations`.
--   taken  another statement has just added it, or it is being deleted: call again, once.
with brought as materialized ( -- imports.add
    select
        b.title,
        b.model_tag,
        b.is_favorited,
        b.created_at,
        b.updated_at,
        b.instructions,
        b.options,
        b.metadata
    from json_to_record(cast(:conversation as json)) as b (
        title varchar, model_tag varchar, is_favorited boolean, created_at timestamptz, updated_at timestamptz,
        instructions varchar, options json, metadata json
    )
),

found as materialized (
    select id
    from conversations
    where id in (:id, cast(:own_id as uuid)) and user_id is not distinct from :user_id
),

room as materialized (
    select
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
        end as is_left
),

created as (
    insert into conversations (
        id, user_id, title, model_tag, is_favorited, created_at, updated_at, instructions, options, metadata
    )
    select
        :id,
        :user_id,
        title,
        coalesce(model_tag, 'default'),
        is_favorited,
        created_at,
        updated_at,
        instructions,
        options,
        metadata
    from brought
    where not exists (select from found) and (select r.is_left from room as r)
    on conflict (id) do nothing
    returning id
),

stored as materialized (
    select chat_bring(:user_id, id, cast(:messages as json)) as messages
    from created
)

select
    case
        when s.messages is not null then 'added'
        when exists (select from found) then 'there'
        when not r.is_left then 'full'
        else 'taken'
    end as outcome,
    coalesce(s.messages, 0) as messages
from room as r
left join stored as s on true
where (select chat_for_user(:user_id, null));
