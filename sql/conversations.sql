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
        updated_at,
        version
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
    returning id, user_id, title, model_tag, is_favorited, created_at, updated_at, version, instructions, options
)

select cast(row_to_json(created) as text) as conversation
from created
where (select chat_for_user(:user_id, null));

-- name: get(id, user_id, before_id, max_rows, max_bytes)^
-- A conversation, its messages, oldest first, and the generation that is running in it. Runs each time a page opens a
-- conversation. Shows the newest `max_rows` messages (null: all) before the message `before_id` (null: to the newest).
-- Primary key, then idx_messages_conversation_position and uq_generations_running; idx_inactive_messages_parent for each
-- message that has other versions (`siblings`). No row: the conversation isn't this
-- user's.
-- `messages`: JSON objects with commas between them, up to and including the one that reaches `max_bytes` bytes of what
-- was said.
-- `is_all`: that was all of them; otherwise messages.piece goes on from last_position to end_position. A null
-- `end_position`: the message `before_id` isn't in this conversation. `has_more`: `max_rows` left out earlier ones.
-- `queued`: the messages that wait for their turn, oldest first, as a JSON array; null: none.
-- `unanswered_id`: the newest generation, if the newest message is its question, or a result of tool calls since, and it
-- ended without a message. For
-- conversations that end with an answer, this reads nothing more (idx_generations_conversation_position otherwise).
with conversation as materialized ( -- conversations.get
    select
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
    where id = :id and user_id is not distinct from :user_id
),

-- What is shown lies between these positions.
ends as materialized (
    select
        e.position as end_position,
        coalesce((
            select m.position
            from messages as m
            where
                m.conversation_id = e.conversation_id
                and m.position < e.position
                and cast(:max_rows as integer) is not null
            order by m.position desc
            limit 1 offset coalesce(:max_rows, 0)
        ), -9223372036854775808) as start_position
    from (
        select
            c.id as conversation_id,
            case
                when cast(:before_id as uuid) is null then 9223372036854775807
                else (
                    select b.position
                    from messages as b
                    where b.id = :before_id and b.conversation_id = c.id
                )
            end as position
        from conversation as c
    ) as e
),

-- With the message before the first one that is shown, for its id.
ranked as (
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
            ) filter (where position > (select e.start_position from ends as e))
                over (order by position rows between unbounded preceding and 1 preceding),
            0
        ) as bytes_before
    from messages
    where
        conversation_id = (select c.id from conversation as c)
        and position >= (select e.start_position from ends as e)
        and position < (select e.end_position from ends as e)
    order by position -- string_agg takes the rows in this order
    limit 500 + (select cast(e.start_position > -9223372036854775808 as integer) from ends as e)
),

piece as (
    select
        string_agg(cast(row_to_json(o) as text), ',') filter (where m.bytes_before < :max_bytes) as messages,
        max(m.position) filter (where m.bytes_before < :max_bytes) as last_position,
        max(m.position) as newest_position,
        max(m.position) filter (where m.role in ('user', 'tool')) as question_position,
        count(*) < 500 and coalesce(bool_and(m.bytes_before < :max_bytes), true) as is_all
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
    where m.position > (select e.start_position from ends as e)
),

-- The newest message, where it is shown or still to come. It is looked up only where this piece doesn't have it.
newest as materialized (
    select
        p.newest_position as position,
        p.newest_position = p.question_position as is_question
    from piece as p
    cross join ends as e
    where p.is_all and e.end_position = 9223372036854775807
    union all
    select
        m.position,
        m.role in ('user', 'tool') as is_question
    from conversation as c
    cross join ends as e
    cross join piece as p
    cross join lateral (
        select
            position,
            role
        from messages
        where conversation_id = c.id and not p.is_all and e.end_position = 9223372036854775807
        order by position desc
        limit 1
    ) as m
)

select
    cast(row_to_json(c) as text) as conversation,
    p.messages,
    p.last_position,
    p.is_all,
    case -- not what is stored while the pieces are sent
        when p.is_all or e.end_position < 9223372036854775807 then e.end_position
        else n.position + 1
    end as end_position,
    e.start_position > -9223372036854775808 as has_more,
    (
        select
            cast(
                json_agg(
                    json_build_object('id', q.id, 'content', q.content, 'created_at', q.created_at) order by q.position
                ) as text
            )
        from queued_messages as q
        where q.conversation_id = c.id
    ) as queued,
    g.id as generation_id,
    g.user_message_id,
    g.status,
    g.started_at,
    (
        select max(j.next_seq) - 1
        from journal as j
        where j.generation_id = g.id
    ) as last_seq,
    u.id as unanswered_id,
    u.error_code as unanswered_error,
    u.finish_reason as unanswered_reason
from conversation as c
cross join ends as e
cross join piece as p
left join newest as n on true
left join lateral (
    select
        id,
        user_message_id,
        status,
        started_at
    from generations
    where conversation_id = c.id and status = 'running'
    offset 0 -- noqa: AM09
) as g on true
left join lateral ( -- noqa: ST05
    select
        tried.id,
        tried.error_code,
        tried.finish_reason
    from (
        select
            id,
            user_message_id,
            message_id,
            status,
            error_code,
            finish_reason
        from generations
        where conversation_id = case when n.is_question and g.id is null then c.id end -- otherwise no row is read
        order by position desc
        limit 1
    ) as tried
    where
        tried.message_id is null
        and tried.status <> 'running'
        and exists (
            select from messages as m
            where
                m.id = tried.user_message_id
                and m.conversation_id = c.id
                and (
                    m.position = n.position
                    or exists (
                        select from messages as r
                        where r.conversation_id = c.id and r.position = n.position and r.role = 'tool'
                    )
                )
        )
) as u on true
where (select chat_for_user(:user_id, :id));

-- name: update(id, user_id, version, title, is_favorited, model_tag, instructions, options, active_message_id)^
-- Changes a conversation: its title, star, model, instructions and options; a null leaves that column unchanged, and '' and
-- '{}' remove instructions and options. `active_message_id`: makes the path through that message the active one. Runs by
-- hand, so rarely. No row: the conversation isn't this user's. updated_at stays, so that no change reorders the list.
-- `outcome`:
--   updated  it is as it was asked for. If that changed anything, its version counts one more: `new_version`, else null.
--   changed  it has another version than `version` by now. Null: any will do.
--   no_message  this conversation has no message `active_message_id`.
--   running  generation_id is being written, so the path can't change.
-- See chat_activate in sql/schema.sql.
with conversation as materialized ( -- conversations.update
    select
        id,
        title,
        is_favorited,
        model_tag,
        instructions,
        options,
        version
    from conversations
    where id = :id and user_id is not distinct from :user_id
    for no key update
),

verdict as materialized (
    select
        id,
        case
            when version <> cast(:version as integer) then 'changed'
            when cast(:active_message_id as uuid) is not null then chat_activate(id, :active_message_id)
            else 'updated'
        end as outcome
    from conversation
),

wanted as materialized (
    select
        id,
        coalesce(:title, title) as title,
        coalesce(:is_favorited, is_favorited) as is_favorited,
        coalesce(:model_tag, model_tag) as model_tag,
        case
            when cast(:instructions as varchar) is null then instructions
            else nullif(:instructions, '')
        end as instructions,
        case
            when cast(:options as json) is null then options
            when cast(cast(:options as json) as text) <> '{}' then :options
        end as options
    from conversation
),

updated as (
    update conversations as c
    set
        title = w.title,
        is_favorited = w.is_favorited,
        model_tag = w.model_tag,
        instructions = w.instructions,
        options = w.options,
        version = c.version + cast(
            v.outcome = 'switched'
            or (w.title, w.is_favorited, w.model_tag, w.instructions, cast(w.options as text))
            is distinct from (c.title, c.is_favorited, c.model_tag, c.instructions, cast(c.options as text))
            as integer
        )
    from verdict as v
    inner join wanted as w on v.id = w.id
    where c.id = v.id and v.outcome in ('updated', 'switched')
    returning
        c.id,
        c.user_id,
        coalesce(c.title, 'New conversation') as title,
        coalesce(c.model_tag, 'default') as model_tag,
        c.is_favorited,
        c.created_at,
        c.updated_at,
        c.version,
        c.instructions,
        c.options
)

select
    case when v.outcome = 'switched' then 'updated' else v.outcome end as outcome,
    cast(row_to_json(u) as text) as conversation,
    case
        when v.outcome = 'running'
            then (
                select g.id
                from generations as g
                where g.conversation_id = v.id and g.status = 'running'
            )
    end as generation_id,
    case when u.version <> c.version then u.version end as new_version
from verdict as v
inner join conversation as c on v.id = c.id
left join updated as u on v.id = u.id
where (select chat_for_user(:user_id, :id));

-- name: fork(id, user_id, message_id, max_conversations)^
-- Copies a conversation up to and including a message, on the path on which that message is, into a new conversation. Runs by
-- hand, so rarely. Title, model, instructions and options are copied; other versions and what was used (usage) aren't.
-- No row: the conversation isn't this user's.
-- `outcome`:
--   forked  `conversation` is the new one.
--   no_message  the conversation has no message `message_id`.
--   full  the user already has `max_conversations`, as in create.
-- See chat_copy in sql/schema.sql. conversations_pkey, idx_messages_conversation_position, inactive_messages_pkey.
with recursive conversation as materialized ( -- conversations.fork
    select
        id,
        title,
        model_tag,
        instructions,
        options
    from conversations
    where id = :id and user_id is not distinct from :user_id
),

-- From the message up to the active path.
up as (
    select
        m.id,
        m.position,
        m.parent_position
    from conversation as c
    inner join inactive_messages as m on c.id = m.conversation_id and m.id = :message_id
    union all
    select
        m.id,
        m.position,
        m.parent_position
    from up
    inner join inactive_messages as m on m.conversation_id = :id and up.parent_position = m.position
),

-- The last message of the active path that is copied; 0: none.
branch as materialized (
    select position
    from messages
    where id = :message_id and conversation_id = (select c.id from conversation as c)
    union all
    (
        select parent_position as position
        from up
        order by position
        limit 1
    )
),

path as materialized (
    select m.id
    from branch as b
    inner join messages as m on m.conversation_id = :id and b.position >= m.position
    where b.position <> 0
    union all
    select id from up
),

forked as (
    insert into conversations (user_id, title, model_tag, instructions, options)
    select
        :user_id,
        c.title,
        c.model_tag,
        c.instructions,
        c.options
    from conversation as c
    where
        exists (select from branch)
        and case
            when cast(:max_conversations as integer) = 0 then true
            else (
                select count(*)
                from (
                    select
                    from conversations
                    where user_id = :user_id
                    order by updated_at desc, id desc
                    limit :max_conversations
                ) as o
            ) < :max_conversations
        end
    returning id, user_id, title, model_tag, is_favorited, created_at, updated_at, version, instructions, options
),

copied as materialized (
    select chat_copy(:user_id, :id, f.id, array(select p.id from path as p)) as id
    from forked as f
)

select
    case
        when k.id is not null then 'forked'
        when exists (select from branch) then 'full'
        else 'no_message'
    end as outcome,
    (
        select cast(row_to_json(o) as text)
        from (
            select
                f.id,
                f.user_id,
                coalesce(f.title, 'New conversation') as title,
                coalesce(f.model_tag, 'default') as model_tag,
                f.is_favorited,
                f.created_at,
                f.updated_at,
                f.version,
                f.instructions,
                f.options
        ) as o
        where f.id is not null
    ) as conversation
from conversation
left join forked as f on true
left join copied as k on f.id = k.id
where (select chat_for_user(:user_id, :id));

-- name: untitled(id, max_characters)^
-- What a model can make a title from: the question and the answer of the only answer that a conversation has by now, each
-- cut to `max_characters`, and the title that it has. Runs once per conversation where TITLE_MODEL is set, after its first
-- answer; answers that end with calls of tools aren't counted. Primary keys, idx_generations_conversation_position. No row:
-- there is another answer, or none.
with answers as materialized ( -- conversations.untitled
    select
        conversation_id,
        user_message_id,
        message_id
    from generations
    where
        conversation_id = :id
        and message_id is not null
        and status = 'completed'
        and finish_reason <> 'tool_calls'
    order by position desc
    limit 2
)

select
    c.user_id,
    c.title,
    left(q.content, :max_characters) as question,
    left(a.content, :max_characters) as answer
from answers as g
inner join conversations as c on g.conversation_id = c.id
inner join messages as q on g.user_message_id = q.id and c.id = q.conversation_id
inner join messages as a on g.message_id = a.id and c.id = a.conversation_id
where
    (select count(*) from answers) = 1
    and a.content <> ''
    and (select chat_for_everyone());

-- name: retitle(id, old_title, title)^
-- Gives a conversation the title that a model made, unless it has another one than `old_title` by now. Runs once per
-- conversation where TITLE_MODEL is set. Primary key. No row: nothing was changed.
with retitled as ( -- conversations.retitle
    update conversations
    set
        title = :title,
        version = version + 1
    where id = :id and title = :old_title and title <> :title
    returning id, version
)

select
    id,
    version as new_version
from retitled
where (select chat_for_everyone());

-- name: delete(id, user_id)^
-- Deletes a conversation with its messages and generations. Runs by hand, so rarely. Returns the generation that was
-- running, so that its model can be stopped: its worker is told, or finds the row missing at its next tick. `new_version`:
-- the one that would have been next, by which the deletion is told as a change. A conversation of more than
-- 1,000 rows is out of everybody's sight as well, and retention.clear removes its rows: see chat_delete in sql/schema.sql.
-- No row: the conversation isn't this user's. `outcome`: deleted, set aside (so a large one), or held: nothing was deleted,
-- because it is on legal hold.
with doomed as materialized ( -- conversations.delete
    select
        id,
        version
    from conversations
    where id = :id and user_id is not distinct from :user_id
    for update
),

deleted as materialized (
    select
        id,
        version,
        chat_delete(id) as outcome
    from doomed
)

select
    d.id,
    d.outcome,
    g.id as generation_id,
    case when d.outcome <> 'held' then d.version + 1 end as new_version
from deleted as d
left join lateral (
    select id
    from generations
    where conversation_id = d.id and status = 'running'
    offset 0 -- noqa: AM09
) as g on d.outcome <> 'held'
where (select chat_for_user(:user_id, :id));
