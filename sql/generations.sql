-- name: start(conversation_id, user_id, kind, content, title, idempotency_key, worker_id, max_messages, max_characters, notify, max_running, limits)^
-- Starts an answer: everything that must happen before the model is called. Runs once per message sent or regenerated.
-- Stores the question, titles the conversation after its first question, and returns what to send to the model: the
-- newest messages within both budgets, newest first. No row: the conversation isn't this user's.
-- The unique index uq_generations_running refuses a second running generation. The check before it only saves the
-- common case a write.
-- `outcome`:
--   started  the answer has started.
--   existed  this key was used before: attach to generation_id. `is_other_content`: it was used for something else;
--            null: at this very moment, so call again.
--   running  generation_id is still running in this conversation.
--   nothing  there is no question to answer again.
--   limited  by the limit that `limited_by` names; a null `seconds_to_wait` means that the wait is unknown.
--   crowded  another answer started here at this very moment, so call again.
-- `notify`: notify the other workers, whose readers may be watching this conversation. False where this worker is the
-- only one, because notifications make commits wait for each other.
-- Limits: the user may have `max_running` answers at once (0: no limit; idx_generations_holder), and takes one from
-- each of `limits`, [{"name": "sends_per_user", "subject": "…", "every": "2 s", "period": "60 s"}, …]. A limit allows
-- as many in a period as `every` fits into it (allowances_pkey); null: no limit. Only answers that start are counted.
-- See chat_admit in migration 0016.
with conversation as ( -- generations.start
    select
        id,
        model_tag
    from conversations
    where id = :conversation_id and user_id is not distinct from :user_id
),

proposed as materialized (
    select chat_uuid7() as id
),

-- What to answer: the new message or, for a regeneration, the user's last one. Empty messages, which an adopted
-- conversation may hold, are skipped, because no model accepts them.
question as materialized (
    select
        chat_uuid7() as id,
        cast(:content as text) as content,
        cast('infinity' as timestamptz) as created_at
    from conversation
    where cast(:kind as varchar) = 'send'
    union all
    select
        m.id,
        m.content,
        m.created_at
    from conversation as c
    cross join lateral (
        select
            id,
            content,
            created_at
        from messages
        where
            conversation_id = c.id
            and role = 'user'
            and content <> ''
            and cast(:kind as varchar) = 'regenerate'
        order by created_at desc, id desc
        limit 1
    ) as m
),

earlier as (
    select
        g.id,
        g.user_message_id,
        g.kind <> cast(:kind as varchar)
        or (cast(:kind as varchar) = 'send' and coalesce(m.content, '') <> :content) as is_other_content
    from generations as g
    inner join conversation as c on g.conversation_id = c.id
    left join messages as m on g.user_message_id = m.id and g.conversation_id = m.conversation_id
    where g.idempotency_key = :idempotency_key
),

running as (
    select
        g.id,
        g.user_message_id
    from generations as g
    inner join conversation as c on g.conversation_id = c.id
    where g.status = 'running'
),

-- Not called where nothing is limited, or where the answer can't start anyway.
verdict as materialized (
    select
        v.limited_by,
        v.seconds_to_wait
    from conversation as c
    cross join lateral chat_admit(:user_id, c.id, :idempotency_key, :max_running, :limits) as v
    where
        (cast(:limits as json) is not null or cast(:max_running as integer) > 0)
        and exists (select from question)
        and not exists (select from earlier)
        and not exists (select from running)
),

-- The update changes nothing. It only returns the generation that won, which this snapshot can't see.
entered as (
    insert into generations as g (id, conversation_id, kind, user_message_id, idempotency_key, worker_id, holder_id)
    select
        p.id,
        c.id,
        :kind,
        q.id,
        :idempotency_key,
        :worker_id,
        case when :max_running > 0 then cast(:user_id as uuid) end
    from conversation as c
    cross join proposed as p
    cross join question as q
    where
        not exists (select from earlier)
        and not exists (select from running)
        and not exists (
            select from verdict as v
            where v.limited_by is not null
        )
    on conflict (conversation_id) where status = 'running'
    do update set status = g.status
    returning g.id, g.conversation_id, g.user_message_id, g.idempotency_key
),

started as (
    select
        e.id,
        e.conversation_id,
        e.user_message_id
    from entered as e
    inner join proposed as p on e.id = p.id
),

-- clock_timestamp(), not now(): this statement may have waited until the previous answer was stored.
asked as (
    insert into messages (id, conversation_id, role, content, created_at)
    select
        q.id,
        c.id,
        'user',
        q.content,
        clock_timestamp()
    from started as s
    inner join question as q on s.user_message_id = q.id
    cross join conversation as c
    where cast(:kind as varchar) = 'send'
),

touched as (
    update conversations
    set
        updated_at = now(),
        title = case
            when
                cast(:title as varchar) <> ''
                and coalesce(title, 'New chat') in ('New conversation', 'New chat')
                and not exists (
                    select from messages as m
                    where m.conversation_id = conversations.id and m.role = 'user'
                )
                then :title
            else title
        end
    from started
    where conversations.id = started.conversation_id
),

-- Newest first, each with the number of characters from it to the newest.
recent as (
    select
        m.role,
        m.content,
        row_number() over (order by m.created_at desc, m.id desc) as place,
        sum(char_length(m.content)) over (order by m.created_at desc, m.id desc) as characters
    from (
        select
            'user' as role,
            content,
            created_at,
            id
        from question
        where created_at = 'infinity'
        union all
        select
            stored.role,
            stored.content,
            stored.created_at,
            stored.id
        from question as q
        cross join lateral (
            select
                role,
                content,
                created_at,
                id
            from messages
            where
                conversation_id = :conversation_id
                and (created_at, id) <= (q.created_at, q.id)
                and content <> ''
            order by created_at desc, id desc
            limit :max_messages
        ) as stored
    ) as m
),

history as (
    select json_agg(json_build_array(role, content) order by place) as messages
    from recent
    where place = 1 or (place <= :max_messages and characters <= :max_characters)
)

select
    c.model_tag,
    e.is_other_content,
    case when s.id is not null then (select cast(h.messages as text) from history as h) end as history, -- read only then
    coalesce(e.id, n.id, r.id) as generation_id,
    coalesce(e.user_message_id, n.user_message_id, r.user_message_id) as user_message_id,
    case
        when e.id is not null then 'existed'
        when s.id is not null then 'started'
        when n.idempotency_key = :idempotency_key then 'existed'
        when n.id is not null or r.id is not null then 'running'
        when v.limited_by = 'crowded' then 'crowded'
        when v.limited_by is not null then 'limited'
        else 'nothing'
    end as outcome,
    v.limited_by,
    v.seconds_to_wait,
    case
        when s.id is not null and :notify
            then pg_notify('chat_started', concat_ws(' ', cast(:worker_id as uuid), c.id, s.id))
    end as notified
from conversation as c
left join earlier as e on true
left join entered as n on true
left join started as s on true
left join running as r on true
left join verdict as v on true
where (select chat_for_user(:user_id, :conversation_id));

-- name: finish(generation_id, worker_id, status, finish_reason, error_code, content, model_tag, token_count, inference_time_ms, first_seq, last_seq, slice, notify)^
-- Ends an answer: everything that must happen after the model has finished. Runs once per generation. Stores the text
-- (an empty one makes no message), and only then deletes the answers that a successful regeneration replaces. Only a
-- running generation of this worker is ended, so the statement can be repeated until its commit is confirmed.
-- `is_mine`: true when this call, or an earlier one with the same end, ended it. Otherwise `content` is the text that
-- another end stored; null: it did so at this very moment, so call again.
-- `slice`: the events from first_seq on that the journal doesn't have yet, or null. `notify`: as in start.
-- No row: the conversation is gone.
with conversation as ( -- generations.finish
    -- Locked before the generation, in the same order as a deletion: otherwise the two could deadlock.
    select c.id
    from conversations as c
    inner join generations as g on c.id = g.conversation_id
    where g.id = :generation_id
    for no key update of c
),

ended as (
    update generations as g
    set
        status = :status,
        finish_reason = :finish_reason,
        error_code = :error_code,
        message_id = case when cast(:content as text) <> '' then chat_uuid7() end,
        token_count = :token_count,
        inference_time_ms = :inference_time_ms,
        last_seq = :last_seq,
        finished_at = now()
    from conversation as c
    where
        g.id = :generation_id
        and g.conversation_id = c.id
        and g.worker_id = :worker_id
        and g.status = 'running'
    returning g.id, g.conversation_id, g.kind, g.user_message_id, g.status, g.finish_reason, g.message_id
),

answered as (
    insert into messages (
        id, conversation_id, role, content, token_count, model_tag, inference_time_ms, finish_reason
    )
    select
        message_id,
        conversation_id,
        'assistant',
        :content,
        :token_count,
        :model_tag,
        :inference_time_ms,
        :finish_reason
    from ended
    where message_id is not null
),

replaced as (
    delete from messages as old
    using ended as e, messages as q
    where
        e.kind = 'regenerate'
        and e.status in ('completed', 'stopped')
        and e.message_id is not null
        and q.id = e.user_message_id
        and q.conversation_id = e.conversation_id
        and old.conversation_id = e.conversation_id
        and old.role = 'assistant'
        and (old.created_at, old.id) > (q.created_at, q.id)
    returning old.id, old.conversation_id
),

-- A retry of the replaced answer's request now gets the new answer, and not the old one's events. Where nothing was
-- replaced, the conversation is null and no generation is read.
repointed as (
    update generations
    set message_id = (select message_id from ended)
    where
        conversation_id = (select distinct conversation_id from replaced)
        and message_id in (select id from replaced)
    returning id
),

forgotten as (
    delete from journal
    where generation_id in (select id from repointed)
),

written as (
    insert into journal (generation_id, first_seq, next_seq, events)
    select
        id,
        :first_seq,
        :last_seq,
        :slice
    from ended
    where cast(:slice as json) is not null
    on conflict (generation_id, next_seq) do nothing
),

touched as (
    update conversations
    set updated_at = now()
    from ended
    where conversations.id = ended.conversation_id
)

select
    true as is_mine,
    message_id,
    finish_reason,
    null as content,
    case when :notify then pg_notify('chat_journal', cast(id as text)) end as notified
from ended
where (select chat_for_everyone())
union all
select
    s.is_mine,
    s.message_id,
    s.finish_reason,
    m.content,
    null as notified
from (
    select
        worker_id = :worker_id and status = :status as is_mine,
        conversation_id,
        message_id,
        finish_reason
    from generations
    where id = :generation_id and not exists (select from ended)
    for share -- reads what another connection has just committed, which this snapshot doesn't contain
) as s
left join messages as m on s.message_id = m.id and s.conversation_id = m.conversation_id;

-- name: attach(conversation_id, user_id, generation_id)^
-- The generation that a reader asks for by id, or the conversation's newest. Runs each time a reader connects or
-- reconnects. Primary keys; idx_generations_conversation for the newest. No row: the conversation isn't this user's; a
-- null generation_id: there is no such generation; a null seconds_since_end: it is running.
select -- generations.attach
    c.id as conversation_id,
    g.id as generation_id,
    cast(extract(epoch from now() - g.finished_at) as double precision) as seconds_since_end
from conversations as c
left join lateral (
    select
        id,
        finished_at
    from generations
    where id = cast(:generation_id as uuid) and conversation_id = c.id
    union all
    (
        select
            id,
            finished_at
        from generations
        where conversation_id = c.id and cast(:generation_id as uuid) is null
        order by started_at desc
        limit 1
    )
) as g on true
where
    c.id = :conversation_id
    and c.user_id is not distinct from :user_id
    and (select chat_for_user(:user_id, :conversation_id));

-- name: begun(conversation_ids, worker_id, seconds)
-- The generations that other workers started within the last `seconds` seconds in the given conversations, oldest
-- first. A worker runs this once a second for all conversations that its readers watch, in case it missed the
-- notification. idx_generations_conversation, one range per conversation.
select -- generations.begun
    conversation_id,
    id as generation_id
from generations
where
    conversation_id = any(cast(:conversation_ids as uuid[]))
    and started_at > now() - make_interval(secs => :seconds)
    and worker_id <> :worker_id
    and (select chat_for_everyone())
order by started_at, id;

-- name: stop(conversation_id, user_id)^
-- Asks the worker that runs a conversation's generation to stop it. The worker sees the mark at its next tick, or gets
-- the notification earlier. Runs by hand, so rarely; safe to repeat.
-- uq_generations_running. No row: the conversation isn't this user's; a null: nothing is running.
with conversation as ( -- generations.stop
    select id
    from conversations
    where id = :conversation_id and user_id is not distinct from :user_id
),

marked as (
    update generations as g
    set stop_requested_at = coalesce(g.stop_requested_at, now())
    from conversation as c
    where g.conversation_id = c.id and g.status = 'running'
    returning g.id
)

select
    c.id as conversation_id,
    m.id as generation_id,
    case when m.id is not null then pg_notify('chat_stop', cast(m.id as text)) end as notified
from conversation as c
left join marked as m on true
where (select chat_for_user(:user_id, :conversation_id));
