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
-- Asks the workers to stop all answers to a user, before the user's data is deleted: each sees it at its next tick. Runs
-- by hand, so rarely; safe to repeat. Returns the answers that are still running. idx_conversations_user_updated, uq_generations_running.
with marked as ( -- users.stop_answers
    update generations as g
    set stop_requested_at = coalesce(g.stop_requested_at, now())
    where
        g.id = any(
            array(
                select r.id
                from conversations as c
                cross join
                    lateral (
                        select id
                        from generations
                        where conversation_id = c.id and status = 'running'
                        offset 0 -- noqa: AM09
                    ) as r
                where c.user_id = :user_id
            )
        )
        and g.finished_at is null
    returning g.id
)

select id
from marked
where (select chat_for_everyone());

-- name: delete(user_id, max_rows)^
-- Deletes up to `max_rows` of a user's conversations with everything that belongs to them, journal slices included, and
-- returns how much that was. Runs by hand, repeated until no conversation is left. A worker that is still writing an
-- answer there finds the row missing at its next tick, and stores nothing. A message that is being stored is waited for,
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
    select g.id
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
    (select count(*) from answers) as generations,
    case
        when not exists (select from batch)
            then (
                select count(*)
                from conversations as c
                where c.user_id = :user_id and chat_is_held(c.id)
            )
    end as held
where (select chat_for_everyone());

-- name: export(user_id, conversation_id)
-- Everything that is stored of a user, one JSON text per row: each conversation, oldest first, followed by its messages,
-- those off the active path too (`is_active`), by those that wait for their turn, and by the records of its answers, all
-- oldest first; at last, what all runs used, by day. Of one conversation only, if `conversation_id` isn't null. Runs by
-- hand (`chat-api user export`), through a cursor: while it is open, autovacuum can't remove rows that died since.
-- idx_conversations_user_updated, idx_messages_conversation_position, idx_inactive_messages_position,
-- idx_inactive_messages_parent, idx_queued_messages_conversation, idx_generations_conversation_position,
-- idx_usage_user_day. Only the ids of the conversations and each day's usage are sorted. All else comes in the order of
-- the indexes, and nested loops and the append keep it, so that nothing is held. Run it with enable_sort off, as the command does: otherwise PostgreSQL may sort a conversation.
with owned as materialized ( -- users.export
    select id
    from conversations
    where
        user_id = :user_id
        and case when cast(:conversation_id as uuid) is null then true else id = :conversation_id end
    order by created_at, id
)

select e.line
from (
    select l.line
    from owned as c
    cross join
        lateral (
            select cast(row_to_json(o) as text) as line
            from (
                select
                    'conversation' as type,
                    2 as format,
                    id,
                    user_id,
                    coalesce(title, 'New conversation') as title,
                    coalesce(model_tag, 'default') as model_tag,
                    is_favorited,
                    created_at,
                    updated_at,
                    version,
                    instructions,
                    options,
                    metadata
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
                    is_refused,
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
                    is_refused,
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
                        m.is_active,
                        m.is_refused
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
                    created_at,
                    idempotency_key
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
                    finished_at,
                    call_message_id,
                    case when own_message_id is not null then message_id end as retry_message_id,
                    last_seq,
                    tries,
                    model_tag,
                    price,
                    prompt_estimate,
                    max_tokens
                from generations
                where conversation_id = c.id
                order by position
            ) as o
        ) as l
    union all
    (
        select cast(row_to_json(o) as text) as line
        from (
            select
                'usage' as type,
                id,
                user_id,
                conversation_id,
                kind,
                model_tag,
                server,
                status,
                error_code,
                started_at,
                ended_at,
                day,
                prompt_tokens,
                cached_tokens,
                reasoning_tokens,
                completion_tokens,
                is_estimated,
                milliseconds,
                cost,
                currency,
                price
            from usage
            where
                user_id = :user_id
                and case
                    when cast(:conversation_id as uuid) is null then true else conversation_id = :conversation_id
                end
            order by day, id
        ) as o
    )
) as e
where (select chat_for_everyone());

-- name: bring_back(user_id, line)^
-- Adds what a line of an export is of: a conversation, one of its messages, the record of an answer, or what a run used.
-- Runs by hand (`chat-api user import`), once per line, a transaction per conversation. Messages and records come in the
-- order of the lines: they get new positions. An answer that was being written is stored as interrupted. What was used in
-- a budget's current period is added to the sum that the budget is held against. Of usage that an erasure has left here,
-- only the user's own budgets are told: everybody's has it. Primary keys.
-- `outcome`:
--   added  it wasn't there.
--   there  the user has this conversation, or this usage, already; nothing was added.
--   another_user  somebody else has it, or it was deleted and its rows aren't yet.
--   taken  another row has this id.
--   no_parent  the message that it comes after isn't there.
with line as materialized ( -- users.bring_back
    select
        l.type,
        l.id,
        l.conversation_id,
        l.title,
        l.model_tag,
        l.is_favorited,
        l.created_at,
        l.updated_at,
        l.version,
        l.instructions,
        l.options,
        l.metadata,
        l.role,
        l.content,
        l.token_count,
        l.inference_time_ms,
        l.finish_reason,
        l.reasoning,
        l.tool_calls,
        l.tool_call_id,
        l.usage,
        l.parent_id,
        l.siblings,
        l.is_active,
        l.is_refused,
        l.request,
        l.idempotency_key,
        l.kind,
        l.user_message_id,
        l.message_id,
        l.status,
        l.error_code,
        l.started_at,
        l.finished_at,
        l.call_message_id,
        l.retry_message_id,
        l.last_seq,
        l.tries,
        l.price,
        l.prompt_estimate,
        l.max_tokens
    from json_to_record(
        case when json_typeof(cast(:line as json)) = 'object' then cast(:line as json) end
    ) as l (
        type text, id uuid, conversation_id uuid, title varchar,
        model_tag varchar, is_favorited boolean, created_at timestamptz, updated_at timestamptz,
        version integer, instructions varchar, options json, metadata json, role varchar,
        content text, token_count integer, inference_time_ms integer, finish_reason varchar,
        reasoning text, tool_calls json, tool_call_id text, usage json,
        parent_id uuid, siblings json, is_active boolean, is_refused boolean,
        request json, idempotency_key varchar, kind varchar, user_message_id uuid,
        message_id uuid, status varchar, error_code varchar, started_at timestamptz,
        finished_at timestamptz, call_message_id uuid, retry_message_id uuid, last_seq integer,
        tries json, price json, prompt_estimate integer, max_tokens integer
    )
),

conversation as (
    insert into conversations (
        id, user_id, title, model_tag, is_favorited, created_at, updated_at, version, instructions, options,
        metadata
    )
    select
        id,
        :user_id,
        title,
        model_tag,
        is_favorited,
        created_at,
        updated_at,
        version,
        instructions,
        options,
        metadata
    from line
    where type = 'conversation'
    on conflict do nothing
    returning id
),

-- A message, with the position of the one that it comes after; 0: none.
said as materialized (
    select
        l.id,
        l.conversation_id,
        l.role,
        l.content,
        l.token_count,
        l.model_tag,
        l.inference_time_ms,
        l.created_at,
        l.finish_reason,
        l.reasoning,
        l.tool_calls,
        l.tool_call_id,
        l.usage,
        l.is_refused,
        l.siblings,
        l.is_active,
        case
            when l.parent_id is null then 0
            else coalesce(
                (
                    select p.position
                    from messages as p
                    where p.id = l.parent_id and p.conversation_id = l.conversation_id
                ),
                (
                    select p.position
                    from inactive_messages as p
                    where p.id = l.parent_id and p.conversation_id = l.conversation_id
                )
            )
        end as parent_position,
        exists (
            select from messages as m
            where m.id = l.id
        )
        or exists (
            select from inactive_messages as m
            where m.id = l.id
        ) as is_taken
    from line as l
    where l.type = 'message'
),

active as (
    insert into messages (
        id, conversation_id, role, content, token_count, model_tag, inference_time_ms, created_at, finish_reason,
        reasoning, tool_calls, tool_call_id, usage, is_refused, parent_position
    )
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
        is_refused,
        case when siblings is not null then parent_position end
    from said
    where is_active and not is_taken and parent_position is not null
    returning id
),

inactive as (
    insert into inactive_messages (
        id, conversation_id, role, content, token_count, model_tag, inference_time_ms, created_at, finish_reason,
        position, reasoning, tool_calls, tool_call_id, usage, is_refused, parent_position
    )
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
        nextval('chat_position'),
        reasoning,
        tool_calls,
        tool_call_id,
        usage,
        is_refused,
        parent_position
    from said
    where not is_active and not is_taken and parent_position is not null
    returning id
),

queued as (
    insert into queued_messages (id, conversation_id, content, request, created_at, idempotency_key)
    select
        id,
        conversation_id,
        content,
        request,
        created_at,
        idempotency_key
    from line
    where type = 'queued_message'
    on conflict do nothing
    returning id
),

record as (
    insert into generations (
        id, conversation_id, kind, user_message_id, message_id, own_message_id, idempotency_key, status, finish_reason,
        error_code, token_count, inference_time_ms, usage, options, started_at, finished_at, call_message_id, last_seq,
        tries, model_tag, price, prompt_estimate, max_tokens
    )
    select
        id,
        conversation_id,
        kind,
        user_message_id,
        coalesce(retry_message_id, message_id),
        case when retry_message_id is not null then message_id end,
        idempotency_key,
        case when status = 'running' then 'interrupted' else status end,
        case when status = 'running' then 'interrupted' else finish_reason end,
        error_code,
        token_count,
        inference_time_ms,
        usage,
        options,
        started_at,
        case when status = 'running' then now() else finished_at end,
        call_message_id,
        last_seq,
        tries,
        model_tag,
        price,
        prompt_estimate,
        max_tokens
    from line
    where type = 'generation'
    on conflict do nothing
    returning id
),

used as materialized (
    select chat_use_again(:user_id, cast(:line as json)) as outcome
    from line
    where type = 'usage'
)

select
    case
        when
            exists (
                select from conversation
                union all
                select from active
                union all
                select from inactive
                union all
                select from queued
                union all
                select from record
            )
            then 'added'
        when l.type = 'conversation'
            then
                case
                    when exists (
                        select from conversations as c
                        where c.id = l.id and c.user_id = :user_id
                    ) then 'there'
                    else 'another_user'
                end
        when l.type = 'usage' then (select u.outcome from used as u)
        when exists (
            select from said as s
            where s.parent_position is null
        ) then 'no_parent'
        else 'taken'
    end as outcome
from line as l
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
