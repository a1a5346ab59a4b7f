-- name: get(conversation_id, user_id, generation_id)^
-- A response of OpenAI's API, which is a generation: how it was asked, how it ended, what was said, and what it answers.
-- Runs once per response that is begun or looked at. Primary keys; idx_messages_conversation_position and
-- inactive_messages_pkey for its messages. No row: the conversation isn't this user's, or has no such generation, or its
-- question was taken back.
-- `message_id` and what was said: of the answer that this run stored itself; null where it stored none.
-- `input`: the question or the results that it answers, oldest first, as a JSON array of {"id","role","content",
-- "tool_call_id"}. `first_id`, `parent_id`: the first and the last of them. `is_followed`: whether something comes after the
-- answer, or after what it answers, if there is none (idx_inactive_messages_parent).
with generation as materialized ( -- responses.get
    select
        g.id,
        g.conversation_id,
        g.kind,
        g.user_message_id,
        g.call_message_id,
        g.status,
        g.finish_reason,
        g.error_code,
        g.usage,
        g.token_count,
        g.options,
        g.model_tag,
        g.started_at,
        g.finished_at,
        coalesce(g.own_message_id, g.message_id) as message_id
    from conversations as c
    inner join generations as g on c.id = g.conversation_id
    where c.id = :conversation_id and c.user_id is not distinct from :user_id and g.id = :generation_id
),

said as materialized (
    select
        m.id,
        m.role,
        m.content,
        m.reasoning,
        m.tool_calls,
        m.position,
        true as is_active
    from generation as g
    inner join messages as m
        on g.conversation_id = m.conversation_id and m.id in (g.user_message_id, g.call_message_id, g.message_id)
    union all
    select
        m.id,
        m.role,
        m.content,
        m.reasoning,
        m.tool_calls,
        m.position,
        false as is_active
    from generation as g
    inner join inactive_messages as m
        on g.conversation_id = m.conversation_id and m.id in (g.user_message_id, g.call_message_id, g.message_id)
),

-- For the kind `results`: the message of the calls, and which these were. Otherwise no row, and nothing is read below.
called as materialized (
    select
        s.position,
        array(select r.value ->> 'id' from json_array_elements(s.tool_calls) as r) as ids
    from generation as g
    inner join said as s on g.call_message_id = s.id
),

given as materialized (
    select
        s.id,
        s.role,
        s.content,
        cast(null as text) as tool_call_id,
        s.position
    from generation as g
    inner join said as s on g.user_message_id = s.id
    where g.call_message_id is null
    union all
    select
        m.id,
        m.role,
        m.content,
        m.tool_call_id,
        m.position
    from called as d
    inner join messages as m on m.conversation_id = :conversation_id and d.position < m.position
    where m.role = 'tool' and m.tool_call_id = any(d.ids)
    union all
    select
        m.id,
        m.role,
        m.content,
        m.tool_call_id,
        m.position
    from called as d
    inner join inactive_messages as m on m.conversation_id = :conversation_id and d.position < m.position
    where m.role = 'tool' and m.tool_call_id = any(d.ids)
)

select
    g.id as generation_id,
    g.conversation_id,
    g.kind,
    g.status,
    g.finish_reason,
    g.error_code,
    g.usage,
    g.token_count,
    g.options,
    g.model_tag,
    cast(extract(epoch from g.started_at) as double precision) as began,
    cast(extract(epoch from g.finished_at) as double precision) as ended,
    a.id as message_id,
    a.content,
    a.reasoning,
    a.tool_calls,
    i.input,
    i.first_id,
    i.parent_id,
    exists (
        select from messages as m
        where
            m.conversation_id = :conversation_id
            and m.position > case
                when not coalesce(a.is_active, q.is_active) then null
                when a.position is null then i.last_position
                else a.position
            end
    )
    or exists (
        select from inactive_messages as m
        where
            m.conversation_id = :conversation_id
            and m.parent_position = case when a.position is null then i.last_position else a.position end -- noqa: ST02
    ) as is_followed
from generation as g
inner join said as q on g.user_message_id = q.id
left join said as a on g.message_id = a.id
cross join
    lateral ( -- noqa: ST05
        select
            cast(json_agg(json_build_object(
                'id', d.id, 'role', d.role, 'content', d.content, 'tool_call_id', d.tool_call_id
            ) order by d.position) as text) as input,
            (array_agg(d.id order by d.position))[1] as first_id,
            (array_agg(d.id order by d.position desc))[1] as parent_id,
            max(d.position) as last_position
        from given as d
    ) as i
where (select chat_for_user(:user_id, :conversation_id));

-- name: open(id, user_id, title, model_tag, metadata, max_conversations)^
-- Creates an empty conversation for a program that uses OpenAI's API. Runs once per conversation. As conversations.create.
-- `id`: null, or one that a retry of the same request gives again: then the conversation that is there is
-- found (`is_new` is false). conversations_pkey, idx_conversations_user_updated. No row: the user already has
-- `max_conversations` (0: no limit).
with created as ( -- responses.open
    insert into conversations (id, user_id, title, model_tag, metadata)
    select
        case when cast(:id as uuid) is null then chat_uuid7() else :id end,
        :user_id,
        :title,
        :model_tag,
        cast(:metadata as json)
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
    on conflict (id) do nothing
    returning id, created_at, metadata
)

select
    c.id,
    c.metadata,
    cast(extract(epoch from c.created_at) as double precision) as began,
    c.is_new
from (
    select
        id,
        created_at,
        metadata,
        true as is_new
    from created
    union all
    select
        id,
        created_at,
        metadata,
        false as is_new
    from conversations
    where id = :id and user_id is not distinct from :user_id
) as c
where (select chat_for_user(:user_id, :id));

-- name: conversation(conversation_id, user_id, metadata)^
-- What a program noted on a conversation; with `metadata`, that is what it notes from now on, in place of the old. Runs by
-- hand, so rarely. conversations_pkey. No row: the conversation isn't this user's.
with noted as ( -- responses.conversation
    update conversations
    set metadata = cast(:metadata as json)
    where
        id = :conversation_id
        and user_id is not distinct from :user_id
        and cast(:metadata as json) is not null
    returning id, metadata
)

select
    c.id,
    coalesce(n.metadata, c.metadata) as metadata,
    cast(extract(epoch from c.created_at) as double precision) as began,
    coalesce(nullif(c.model_tag, ''), 'default') as model_tag
from conversations as c
left join noted as n on c.id = n.id
where
    c.id = :conversation_id
    and c.user_id is not distinct from :user_id
    and (select chat_for_user(:user_id, :conversation_id));

-- name: add(conversation_id, user_id, messages, only_first)^
-- Appends messages that a program brings to the end of a conversation's active path. Runs by hand, or once per
-- response that begins with an earlier exchange. idx_messages_conversation_position, uq_generations_running. No row: the
-- conversation isn't this user's.
-- `messages`: JSON, oldest first: [{"role","content","reasoning","tool_calls","tool_call_id"}]; `ids` has the ids of
-- those that were stored, in this order. `only_first`: nothing is done if the conversation has messages.
-- `outcome`: added, running (an answer is being written; nothing is stored) or there (`only_first`). `new_version`: the
-- conversation's, if it has changed. A statement that
-- stored something in the conversation at this very moment makes this one fail, as in generations.start: call again.
with conversation as materialized ( -- responses.add
    select
        id,
        xmin as row_version
    from conversations
    where id = :conversation_id and user_id is not distinct from :user_id
),

checked as materialized (
    select
        c.id,
        case
            when
                exists (
                    select from generations as g
                    where g.conversation_id = c.id and g.status = 'running'
                )
                then 'running'
            when
                cast(:only_first as boolean)
                and exists (
                    select from messages as m
                    where m.conversation_id = c.id
                )
                then 'there'
            else 'added'
        end as outcome
    from conversation as c
),

brought as materialized (
    select
        chat_uuid7() as id,
        c.id as conversation_id,
        m.value,
        m.place
    from checked as c
    cross join lateral json_array_elements(cast(:messages as json)) with ordinality as m (value, place)
    where c.outcome = 'added'
),

-- clock_timestamp(), and the position, a default: as in generations.start.
stored as (
    insert into messages (
        id, conversation_id, role, content, reasoning, tool_calls, tool_call_id, finish_reason, created_at
    )
    select
        b.id,
        b.conversation_id,
        b.value ->> 'role',
        b.value ->> 'content',
        b.value ->> 'reasoning',
        case when json_typeof(b.value -> 'tool_calls') = 'array' then b.value -> 'tool_calls' end,
        b.value ->> 'tool_call_id',
        case
            when b.value ->> 'role' <> 'assistant' then null
            when json_typeof(b.value -> 'tool_calls') = 'array' then 'tool_calls'
            else 'stop'
        end,
        clock_timestamp()
    from brought as b
    order by b.place
),

changed as (
    update conversations as c
    set
        updated_at = now(),
        version = case when c.xmin <> d.row_version then -1 else c.version + 1 end
    from conversation as d
    inner join checked as k on d.id = k.id
    where c.id = d.id and k.outcome = 'added'
    returning c.id, c.version
)

select
    k.outcome,
    array(
        select b.id from brought as b
        order by b.place
    ) as ids,
    g.version as new_version
from checked as k
left join changed as g on k.id = g.id
where (select chat_for_user(:user_id, :conversation_id));

-- name: items(conversation_id, user_id, after_id, newest_first, max_rows)^
-- A page of the messages of a conversation's active path, for a program: from the first on or, `newest_first`, from the
-- newest on, after the message `after_id` (null: from the beginning). Runs once per page.
-- idx_messages_conversation_position, forwards or backwards. No row: the conversation isn't this user's.
-- `messages`: JSON objects in an array, or null. `is_known`: whether `after_id` is null or one of its messages.
with conversation as materialized ( -- responses.items
    select id
    from conversations
    where id = :conversation_id and user_id is not distinct from :user_id
),

place as materialized (
    select m.position
    from messages as m
    where m.id = :after_id and m.conversation_id = (select c.id from conversation as c)
),

page as (
    (
        select
            m.id,
            m.role,
            m.content,
            m.reasoning,
            m.tool_calls,
            m.tool_call_id,
            m.finish_reason,
            m.position
        from messages as m
        where
            m.conversation_id = (select c.id from conversation as c)
            and not cast(:newest_first as boolean)
            and m.position > case
                when cast(:after_id as uuid) is null then -9223372036854775808 else (select p.position from place as p)
            end
        order by m.position
        limit :max_rows
    )
    union all
    (
        select
            m.id,
            m.role,
            m.content,
            m.reasoning,
            m.tool_calls,
            m.tool_call_id,
            m.finish_reason,
            m.position
        from messages as m
        where
            m.conversation_id = (select c.id from conversation as c)
            and cast(:newest_first as boolean)
            and m.position < case
                when cast(:after_id as uuid) is null then 9223372036854775807 else (select p.position from place as p)
            end
        order by m.position desc
        limit :max_rows
    )
)

select
    (
        select
            cast(json_agg(json_build_object(
                'id', m.id,
                'role', m.role,
                'content', m.content,
                'reasoning', m.reasoning,
                'tool_calls', m.tool_calls,
                'tool_call_id', m.tool_call_id,
                'finish_reason', m.finish_reason
            ) order by case when cast(:newest_first as boolean) then -m.position else m.position end) as text)
        from page as m
    ) as messages,
    cast(:after_id as uuid) is null or exists (select from place) as is_known
from conversation
where (select chat_for_user(:user_id, :conversation_id));

-- name: message(conversation_id, user_id, message_id)^
-- One message of a conversation, as in `items`, whether it is shown or not: by its id, or by that of the generation whose
-- answer it is. `is_last`: whether it is the last one that is shown. Runs by hand, so rarely. Primary keys,
-- idx_messages_conversation_position. No row: the conversation isn't this user's, or has no such message.
with wanted as materialized ( -- responses.message
    select coalesce(
        (
            select coalesce(g.own_message_id, g.message_id)
            from generations as g
            where g.id = :message_id and g.conversation_id = :conversation_id
        ), :message_id
    ) as id
)

select
    m.id,
    cast(json_build_object(
        'id', m.id,
        'role', m.role,
        'content', m.content,
        'reasoning', m.reasoning,
        'tool_calls', m.tool_calls,
        'tool_call_id', m.tool_call_id,
        'finish_reason', m.finish_reason
    ) as text) as message,
    m.is_active and not exists (
        select from messages as later
        where later.conversation_id = c.id and later.position > m.position
    ) as is_last
from conversations as c
inner join
    lateral (
        select
            id,
            role,
            content,
            reasoning,
            tool_calls,
            tool_call_id,
            finish_reason,
            position,
            true as is_active
        from messages
        where id = (select w.id from wanted as w) and conversation_id = c.id
        union all
        select
            id,
            role,
            content,
            reasoning,
            tool_calls,
            tool_call_id,
            finish_reason,
            position,
            false as is_active
        from inactive_messages
        where id = (select w.id from wanted as w) and conversation_id = c.id
    ) as m
    on true
where
    c.id = :conversation_id
    and c.user_id is not distinct from :user_id
    and (select chat_for_user(:user_id, :conversation_id));
