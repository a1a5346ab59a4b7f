-- name: start(conversation_id, user_id, kind, content, title, results, parent_id, is_root, answer_id, queued_id, waits_its_turn, idempotency_key, worker_id, options, max_messages, max_characters, max_running, limits, models, with_reasoning, prices, max_tokens, instruction_bytes)^
-- Starts an answer: everything that must happen before the model is called. Runs once per message sent, answer done again
-- or continued, or results of tool calls. Stores the question, titles the conversation after its first question, and returns what to send to the model: the
-- newest messages within both budgets, newest first, and at least those back to the newest question. No row: the
-- conversation isn't this user's.
-- `history`: [role, content, tool_calls, tool_call_id, position, reasoning] of each; the position of a new question is null.
-- Thinking is there, and takes of the budget, only if the conversation's model gets it back: if it is one of `with_reasoning`
-- (tags). Earlier questions and results that the model server refused, and messages that say nothing, are left out.
-- `results`: for the kind `results`, what the calls of the conversation's last message gave, as JSON:
-- [{"tool_call_id","content"}]. They are stored in the order of the calls; `result_ids` has [tool_call_id, id] of each,
-- and `history` ends with the calls. A call without a result is left without one for good. Each message's calls are
-- answered once (uq_generations_call_message): a repetition finds the answer that the first one began.
-- `parent_id`, `is_root`: for the kind `send`, where the question goes: after that message, or at the beginning; neither:
-- at the end of the active path. What stands there goes off the path, into inactive_messages.
-- `answer_id`: for the kinds `regenerate` and `continue`, which answer is done again or goes on; null: the last one. Its place
-- on the path is taken only when the new answer is stored.
-- `queued_id`: for the kind `send`, the message in queued_messages whose turn it is. It is moved to messages.
-- `waits_its_turn`: nothing is done while others wait there.
-- `begun`: for the kind `continue`, what the answer said so far: {"content","reasoning"}. `history` ends with it.
-- `after_id`: what the answer comes after, the question or the last result since.
-- `left_out`: how many earlier messages there are; 200 stands for any more.
-- `options`: what the question is asked with, as a JSON object; null: nothing but the settings. All kinds but `send` repeat
-- what the question was asked with before, where they give nothing else; not temperature, max_tokens, top_k and response, and
-- results not its instructions.
-- The row has what is asked with in the end, and as "conversation" what is set for the conversation at this time:
-- {"instructions","options"}.
-- The unique index uq_generations_running refuses a second running generation. The check before it only saves the
-- common case a write.
-- `outcome`:
--   started  the answer has started.
--   existed  this key was used before: attach to generation_id. `is_other_content`: it was used for something else;
--            null: at this very moment, so call again.
--   running  generation_id is still running in this conversation. `has_left`: its readers on its own worker have left;
--            `is_read_elsewhere`: lately, another worker had a reader of it.
--   nothing  there is no question to answer again.
--   no_model  the conversation's model is none of `models` (tags; null: any goes). Nothing is stored.
--   no_message  this conversation has no message `parent_id` or `answer_id`, or the question of this key was taken back.
--   inactive  that message is off the active path: switch to it (conversations.update), then call again.
--   dequeued  the message `queued_id` doesn't wait any more.
--   waiting  other messages wait for their turn.
--   reserved  this key is that of another message, which waits.
--   whole    there is no answer that was cut, so none that could go on.
--   no_calls  no call waits for its result.
--   no_such_call  the message whose calls wait has none with the id `unknown_call_id`.
--   limited  by the limit that `limited_by` names; a null `seconds_to_wait` means that the wait is unknown. `budget`: of
--            the limit `budget`, see chat_budget_state in sql/schema.sql.
--   crowded  another answer started here at this very moment, so call again.
-- A key whose attempt never reached the model (it failed with inference_unavailable and no text) starts anew, with the
-- question that is stored. Its generation gets a new id. uq_generations_running may refuse that; then call again.
-- `new_version`: the version of the conversation if this has counted it up, else null.
-- Limits: the user may have `max_running` answers at once (0: no limit; idx_generations_unfinished_holder), and takes one from
-- each of `limits`, [{"name": "sends_per_user", "subject": "…", "every": "2 s", "period": "60 s"}, …]. A limit allows
-- as many in a period as `every` fits into it (allowances_pkey); null: no limit. Only answers that start are counted.
-- See chat_admit in sql/schema.sql.
-- Budgets (table budgets) are held against what was used (spending, usage) and what running answers may use; see
-- chat_afford. `prices`: what the tags of conversations mean, {"default": {"model": "…", "price": {…}}, …}, as usage.model_tag
-- and usage.price; null: the tag is the model, and it has no price. `max_tokens`: of an answer that isn't asked for fewer
-- or more. `instruction_bytes`: how long the instructions are that a model gets where the conversation has none, by tags
-- as in `prices`, or under "" for all; null: there are none. `billed`: for bring_in and usage.correct.
with conversation as ( -- generations.start
    select
        id,
        model_tag,
        instructions,
        options,
        version,
        xmin as row_version
    from conversations
    where id = :conversation_id and user_id is not distinct from :user_id
),

-- The message that the caller names, or for `continue` the last one. Otherwise the ids are null, and no row is read. Here and
-- below, `case` stands where `coalesce` would do: behind row-level security, PostgreSQL looks nothing up in an index by a
-- coalesce.
named as materialized (
    select
        m.id,
        m.role,
        m.position,
        m.finish_reason,
        m.content,
        m.reasoning,
        true as is_active
    from messages as m
    where
        m.id = case when cast(:parent_id as uuid) is null then cast(:answer_id as uuid) else :parent_id end
        and m.conversation_id = (select c.id from conversation as c)
    union all
    select
        m.id,
        m.role,
        m.position,
        m.finish_reason,
        m.content,
        m.reasoning,
        false as is_active
    from inactive_messages as m
    where
        m.id = case when cast(:parent_id as uuid) is null then cast(:answer_id as uuid) else :parent_id end
        and m.conversation_id = (select c.id from conversation as c)
    union all
    (
        select
            m.id,
            m.role,
            m.position,
            m.finish_reason,
            m.content,
            m.reasoning,
            true as is_active
        from messages as m
        where
            m.conversation_id = (select c.id from conversation as c)
            and cast(:kind as varchar) = 'continue'
            and cast(:answer_id as uuid) is null
        order by m.position desc
        limit 1
    )
),

-- The message whose turn it is. Locked: of two workers that send it, the other one finds it gone.
turn as materialized (
    select w.id
    from queued_messages as w
    where w.id = :queued_id and w.conversation_id = (select c.id from conversation as c)
    for update
),

-- Why the message can't go there, or the answer can't be done again or go on. Null, or no row: it can.
obstacle as materialized (
    select
        case
            when coalesce(nullif(c.model_tag, ''), 'default') <> all(cast(:models as text[])) then 'no_model'
            when cast(:queued_id as uuid) is not null then case when not exists (select from turn) then 'dequeued' end
            when
                exists (
                    select from queued_messages as w
                    where
                        w.conversation_id = c.id
                        and w.idempotency_key = :idempotency_key
                        and (cast(:kind as varchar) <> 'send' or w.content <> cast(:content as text))
                )
                then 'reserved'
            when cast(:waits_its_turn as boolean)
                then case
                    when
                        exists (
                            select from queued_messages as w
                            where w.conversation_id = c.id
                        )
                        then 'waiting'
                end
            when n.id is null and cast(:kind as varchar) = 'continue' and cast(:answer_id as uuid) is null then 'whole'
            when coalesce(cast(:parent_id as uuid), cast(:answer_id as uuid)) is null and n.id is null then null
            when n.id is null then 'no_message'
            when not n.is_active then 'inactive'
            when
                cast(:kind as varchar) = 'continue'
                and (
                    n.role <> 'assistant'
                    or coalesce(n.finish_reason, 'stop') not in ('length', 'stopped', 'interrupted')
                )
                then 'whole'
        end as outcome
    from conversation as c
    left join named as n on true
    where
        coalesce(cast(:parent_id as uuid), cast(:answer_id as uuid), cast(:queued_id as uuid)) is not null
        or cast(:kind as varchar) = 'continue'
        or cast(:waits_its_turn as boolean)
        or :idempotency_key is not null
        or cast(:models as text[]) is not null
),

proposed as materialized (
    select chat_uuid7() as id
),

given as materialized (
    select
        r.value ->> 'tool_call_id' as tool_call_id,
        r.value ->> 'content' as content,
        r.place
    from json_array_elements(cast(:results as json)) with ordinality as r (value, place)
),

-- The message whose calls the results are for: the newest that has one of them, of the last 200, else the one whose calls
-- wait. Calls wait until anything comes after them.
called as materialized (
    select
        id,
        tool_calls,
        is_waiting
    from (
        select
            m.id,
            m.tool_calls,
            m.position,
            m.finish_reason = 'tool_calls' and row_number() over (order by m.position desc) = 1 as is_waiting,
            exists(
                select call.value
                from json_array_elements(m.tool_calls) as call
                inner join given as r on call.value ->> 'id' = r.tool_call_id
            ) as is_meant
        from messages as m
        where
            m.conversation_id = (select c.id from conversation as c)
            and cast(:kind as varchar) = 'results'
        order by m.position desc
        limit 200
    ) as newest
    where tool_calls is not null and (is_meant or is_waiting)
    order by is_meant desc, position desc
    limit 1
),

unknown as materialized (
    select r.tool_call_id as id
    from called as c
    cross join given as r
    where
        not exists (
            select from json_array_elements(c.tool_calls) as call
            where call.value ->> 'id' = r.tool_call_id
        )
    order by r.place
    limit 1
),

results as materialized (
    select
        chat_uuid7() as id,
        r.tool_call_id,
        r.content,
        call.place
    from called as c
    cross join lateral json_array_elements(c.tool_calls) with ordinality as call (value, place)
    inner join given as r on call.value ->> 'id' = r.tool_call_id
),

-- Those that this request may repeat: by its key, which comes first, or by its calls.
meant as (
    select
        id,
        kind,
        conversation_id,
        user_message_id,
        call_message_id,
        message_id,
        idempotency_key,
        position,
        parent_position,
        status,
        error_code
    from generations
    where conversation_id = (select c.id from conversation as c) and idempotency_key = :idempotency_key
    union all
    select
        id,
        kind,
        conversation_id,
        user_message_id,
        call_message_id,
        message_id,
        idempotency_key,
        position,
        parent_position,
        status,
        error_code
    from generations
    where
        conversation_id = (select c.id from conversation as c)
        and call_message_id = (select d.id from called as d)
        and cast(:kind as varchar) = 'results'
),

-- `is_untried`: it never reached the model, and nothing has begun since: it is tried again.
earlier as materialized (
    select
        k.id,
        k.user_message_id,
        k.content,
        k.position,
        k.is_other_content,
        k.call_message_id,
        k.parent_position,
        case
            when k.is_unavailable and not k.is_other_content and k.position is not null
                then (
                    k.parent_position is not null
                    or not exists (
                        select from messages as later
                        where
                            later.conversation_id = k.conversation_id
                            and later.position > k.position
                            and later.role = 'user'
                    )
                )
                and not exists (
                    select from generations as later
                    where later.conversation_id = k.conversation_id and later.position > k.generation_position
                )
            else false
        end as is_untried
    from (
        select
            g.id,
            g.conversation_id,
            g.user_message_id,
            g.position as generation_position,
            g.parent_position,
            g.call_message_id,
            coalesce(m.content, n.content) as content,
            m.position,
            g.status = 'failed' and g.error_code = 'inference_unavailable' and g.message_id is null as is_unavailable,
            g.kind <> cast(:kind as varchar)
            or (cast(:kind as varchar) = 'send' and coalesce(m.content, n.content, '') <> :content)
            or (
                cast(:kind as varchar) = 'results'
                and exists (
                    select from messages as a
                    where a.id = g.call_message_id and a.conversation_id = g.conversation_id
                )
                and (
                    select array_agg(array[r.tool_call_id, r.content] order by r.tool_call_id)
                    from given as r
                ) is distinct from (
                    select array_agg(array[r.tool_call_id, r.content] order by r.tool_call_id)
                    from messages as a
                    inner join messages as r on a.conversation_id = r.conversation_id and a.position < r.position
                    where
                        a.id = g.call_message_id
                        and a.conversation_id = g.conversation_id
                        and r.role = 'tool'
                        and r.position < coalesce((
                            select min(n.position)
                            from messages as n
                            where n.conversation_id = a.conversation_id and n.position > a.position and n.role <> 'tool'
                        ), 9223372036854775807)
                )
            ) as is_other_content
        from (
            select
                e.id,
                e.kind,
                e.conversation_id,
                e.user_message_id,
                e.call_message_id,
                e.message_id,
                e.position,
                e.parent_position,
                e.status,
                e.error_code,
                row_number() over (order by (e.idempotency_key = :idempotency_key) desc nulls last) as place
            from meant as e
        ) as g
        left join messages as m on g.user_message_id = m.id and g.conversation_id = m.conversation_id
        left join inactive_messages as n -- looked up only for what is off the active path
            on
                g.conversation_id = n.conversation_id
                and n.id = case when m.id is null then g.user_message_id end
        where g.place = 1
    ) as k
),

-- Newest first: the results since the user's last question, then that question. Read no further.
since as (
    select
        id,
        role,
        content,
        position,
        first_value(id) over newest_first as after_id,
        first_value(position) over newest_first as after_position,
        row_number() over newest_first - 1 as results
    from messages
    where
        conversation_id = (select c.id from conversation as c)
        and (role = 'tool' or (role = 'user' and content <> ''))
        and position <= case
            when exists (select from named) then (select n.position from named as n) else 9223372036854775807
        end
        and cast(:kind as varchar) <> 'send'
        and not exists (
            select from earlier as e
            where e.is_untried
        )
    window newest_first as (order by position desc rows between unbounded preceding and current row)
),

-- What to answer: the new message, else the user's last one before the answer that is named. Empty messages, which an
-- adopted conversation may hold, are skipped, because no model accepts them. `after_position`: null for what is new.
-- `last_position`: of what the model is sent from before; null: all. `results`: how many were stored since.
question as materialized (
    select
        coalesce(cast(:queued_id as uuid), chat_uuid7()) as id,
        cast(:content as text) as content,
        cast(null as bigint) as position,
        cast(null as uuid) as after_id,
        cast(null as bigint) as after_position,
        (select n.position from named as n) as last_position,
        0 as results
    from conversation
    where
        cast(:kind as varchar) = 'send'
        and not exists (
            select from obstacle as o
            where o.outcome is not null
        )
        and not exists (
            select from earlier as e
            where e.is_untried
        )
    union all
    select
        e.user_message_id as id,
        e.content,
        e.position,
        coalesce(r.id, e.user_message_id) as after_id,
        coalesce(r.position, e.position) as after_position,
        coalesce(
            (
                select n.position
                from named as n
                where n.is_active and cast(:kind as varchar) = 'continue'
            ),
            r.position,
            e.position
        ) as last_position,
        coalesce(r.results, 0) as results
    from earlier as e
    left join lateral (
        select
            id,
            position,
            count(*) over () as results
        from messages
        where
            conversation_id = :conversation_id
            and role = 'tool'
            and position > e.position
            and position <= case when e.parent_position is null then 9223372036854775807 else e.parent_position end -- noqa: ST02
        order by position desc
        limit 1
    ) as r on cast(:kind as varchar) <> 'send'
    where
        e.is_untried
        and not exists (
            select from obstacle as o
            where o.outcome = 'no_model'
        )
    union all
    (
        select
            m.id,
            m.content,
            m.position,
            case when cast(:kind as varchar) <> 'results' then m.after_id end as after_id,
            case when cast(:kind as varchar) <> 'results' then m.after_position end as after_position,
            case
                when cast(:kind as varchar) = 'continue' then (select n.position from named as n)
                when cast(:kind as varchar) = 'regenerate' then m.after_position
            end as last_position,
            m.results
        from since as m
        where
            m.role = 'user'
            and not exists (
                select from obstacle as o
                where o.outcome is not null
            )
            and (
                cast(:kind as varchar) <> 'results'
                or (
                    exists (
                        select from called as d
                        where d.is_waiting
                    )
                    and not exists (select from unknown)
                )
            )
        order by m.position desc
        limit 1
    )
),

-- A send has its options from the caller alone. A choice among the tools holds for one answer and its regenerations. The
-- question of a certain answer may have been asked long ago: its first generation is the one beside it.
asked_with as materialized (
    select
        case
            when cast(:kind as varchar) = 'send' and s.options is null then cast(:options as json)
            else cast(nullif(
                coalesce((
                    select
                        cast(g.options as jsonb)
                        - cast(
                            case when cast(:kind as varchar) = 'results' then '{tool_choice,instructions}' else '{}' end
                            as text[]
                        )
                        - cast('{temperature,max_tokens,top_k,conversation,response}' as text[])
                    from question as q
                    inner join lateral (
                        select
                            o.user_message_id,
                            o.options
                        from (
                            (
                                select
                                    user_message_id,
                                    options,
                                    position
                                from generations
                                where
                                    conversation_id = :conversation_id
                                    and position < case
                                        when cast(:answer_id as uuid) is null then 9223372036854775807 else q.position
                                    end
                                order by position desc
                                limit 1
                            )
                            union all
                            (
                                select
                                    user_message_id,
                                    options,
                                    position
                                from generations
                                where
                                    conversation_id = :conversation_id
                                    and position > case when cast(:answer_id as uuid) is not null then q.position end
                                order by position
                                limit 1
                            )
                        ) as o
                        order by o.user_message_id = q.id desc, o.position desc
                        limit 1
                    ) as g on q.id = g.user_message_id
                    where cast(:kind as varchar) <> 'send'
                ), '{}') || coalesce(cast(:options as jsonb), '{}') || coalesce(s.options, '{}'), '{}'
            ) as json)
        end as options
    from (
        select
            case
                when instructions is not null or options is not null
                    then jsonb_build_object(
                        'conversation',
                        jsonb_strip_nulls(jsonb_build_object(
                            'instructions', instructions, 'options', cast(options as jsonb)
                        ))
                    )
            end as options
        from conversation
    ) as s
),

running as (
    select
        g.id,
        g.user_message_id,
        g.left_at is not null as has_left,
        g.read_at between now() - interval '5 s' and now() + interval '5 s' as is_read_elsewhere
    from conversation as c
    cross join lateral (
        select
            id,
            user_message_id,
            left_at,
            read_at
        from generations
        where conversation_id = c.id and status = 'running'
        offset 0 -- noqa: AM09
    ) as g
),

-- Newest first, each with the number of characters from it to the newest. One more than may be sent is read, which
-- shows whether something is left out.
recent as (
    select
        m.role,
        m.content,
        m.tool_calls,
        m.tool_call_id,
        m.position,
        m.reasoning,
        octet_length(m.content)
        + coalesce(octet_length(cast(m.tool_calls as text)), 0)
        + coalesce(octet_length(m.reasoning), 0) as bytes,
        row_number() over (order by m.position desc nulls first) as place,
        sum(
            char_length(m.content)
            + coalesce(char_length(cast(m.tool_calls as text)), 0)
            + coalesce(char_length(m.reasoning), 0)
        ) over (order by m.position desc nulls first) as characters,
        count(*) filter (where m.role = 'user') over (
            order by m.position desc nulls first
            rows between unbounded preceding and 1 preceding
        ) as newer_questions
    from (
        select
            'user' as role,
            content,
            cast(null as json) as tool_calls,
            cast(null as text) as tool_call_id,
            position,
            cast(null as text) as reasoning
        from question
        where position is null
        union all
        select
            stored.role,
            stored.content,
            stored.tool_calls,
            stored.tool_call_id,
            stored.position,
            stored.reasoning
        from question as q
        cross join lateral (
            select
                role,
                content,
                tool_calls,
                tool_call_id,
                position,
                case
                    when
                        (
                            select coalesce(nullif(c.model_tag, ''), 'default')
                            from conversation as c
                        ) = any(cast(:with_reasoning as text[]))
                        then reasoning
                end as reasoning
            from messages
            where
                conversation_id = :conversation_id
                and position <= case when q.last_position is null then 9223372036854775807 else q.last_position end -- noqa: ST02
                and not (q.position is null and cast(:is_root as boolean))
                and (content <> '' or tool_calls is not null or role = 'tool')
                and (is_refused is not true or position between q.position and coalesce(q.after_position, q.position))
            order by position desc
            -- A message of calls comes before each group of results.
            limit
                cast(:max_messages as integer)
                + case when q.position is null then 0 else 1 end
                + case when cast(:kind as varchar) = 'continue' then 1 else 0 end
                + 2 * q.results
        ) as stored
    ) as m
),

history as (
    select
        json_agg(json_build_array(role, content, tool_calls, tool_call_id, position, reasoning) order by place)
        filter (where fits) as messages,
        min(position) filter (where fits) as first_position,
        sum(bytes) filter (where fits) as bytes,
        bool_or(not fits) as is_cut
    from (
        select
            role,
            content,
            tool_calls,
            tool_call_id,
            position,
            reasoning,
            bytes,
            place,
            newer_questions = 0 or (place <= :max_messages and characters <= :max_characters) as fits
        from recent
    ) as r
),

billed as (
    select
        case when b.billed is null then b.tag else b.billed ->> 'model' end as model_tag,
        b.billed -> 'price' as price
    from (
        select
            t.tag,
            cast(:prices as json) -> t.tag as billed
        from (
            select coalesce(nullif(model_tag, ''), 'default') as tag
            from conversation
        ) as t
    ) as b
),

-- Not called where there is no budget, or where the answer can't start anyway.
afforded as materialized (
    select
        case when a.is_crowded then 'crowded' else 'budget' end as limited_by,
        a.refused_by as budget
    from conversation as c
    left join earlier as e on true
    cross join billed as b
    cross join
        lateral chat_afford(
            :user_id, c.id, case when e.id is null then :idempotency_key end, b.model_tag
        ) as a
    where
        exists (select from budgets)
        and exists (select from question)
        and (e.id is null or e.is_untried)
        and not exists (select from running)
        and (a.is_crowded or a.refused_by is not null)
),

-- Not called where nothing is limited, or where the answer can't start anyway.
verdict as materialized (
    select
        limited_by,
        cast(null as double precision) as seconds_to_wait,
        budget
    from afforded
    union all
    select
        v.limited_by,
        v.seconds_to_wait,
        null as budget
    from conversation as c
    left join earlier as e on true
    cross join
        lateral chat_admit(
            :user_id, c.id, case when e.id is null then :idempotency_key end, :max_running, :limits
        ) as v
    where
        (cast(:limits as json) is not null or cast(:max_running as integer) > 0)
        and not exists (select from afforded)
        and exists (select from question)
        and (e.id is null or e.is_untried)
        and not exists (select from running)
),

-- What is asked with, and how much that is.
weighed as (
    select
        w.options,
        case
            when w.options ->> 'max_tokens' is not null then cast(w.options ->> 'max_tokens' as integer)
            when w.options #>> '{conversation,options,max_tokens}' is not null
                then cast(w.options #>> '{conversation,options,max_tokens}' as integer)
            else cast(:max_tokens as integer)
        end as max_tokens,
        (
            select
                cast(
                    (
                        h.bytes
                        + coalesce(
                            octet_length(w.options #>> '{conversation,instructions}'),
                            cast(i.bytes ->> coalesce(nullif(c.model_tag, ''), 'default') as integer),
                            cast(i.bytes ->> '' as integer),
                            0
                        )
                        + coalesce(octet_length(w.options ->> 'tools'), 0)
                        + 3
                    ) / 4 as integer
                )
            from history as h
            cross join conversation as c
            cross join (select cast(:instruction_bytes as json) as bytes) as i
        ) as prompt_estimate
    from asked_with as w
),

-- The update changes nothing. It only returns the generation that won, which this snapshot can't see.
entered as (
    insert into generations as g (
        id, conversation_id, kind, user_message_id, call_message_id, idempotency_key, worker_id, holder_id, options,
        model_tag, price, prompt_estimate, max_tokens, parent_position
    )
    select
        p.id,
        c.id,
        :kind,
        q.id,
        (select d.id from called as d),
        :idempotency_key,
        :worker_id,
        :user_id,
        w.options,
        b.model_tag,
        b.price,
        w.prompt_estimate,
        w.max_tokens,
        case
            when cast(:kind as varchar) = 'continue' or cast(:answer_id as uuid) is not null then q.after_position
        end
    from conversation as c
    cross join proposed as p
    cross join question as q
    cross join weighed as w
    cross join billed as b
    where
        not exists (select from earlier)
        and not exists (select from running)
        and not exists (
            select from verdict as v
            where v.limited_by is not null
        )
    on conflict (conversation_id) where status = 'running'
    do update set status = g.status
    returning
        g.id,
        g.conversation_id,
        g.user_message_id,
        g.idempotency_key,
        g.call_message_id,
        g.model_tag,
        g.price,
        g.prompt_estimate,
        g.max_tokens
),

-- The row of an attempt that never reached the model becomes that of the new attempt, so its key is never free.
renewed as (
    update generations as g
    set
        id = p.id,
        position = default,
        status = 'running',
        worker_id = :worker_id,
        holder_id = :user_id,
        options = w.options,
        model_tag = b.model_tag,
        price = b.price,
        prompt_estimate = w.prompt_estimate,
        max_tokens = w.max_tokens,
        started_at = default,
        finished_at = null,
        stop_requested_at = null,
        finish_reason = null,
        error_code = null,
        token_count = default,
        inference_time_ms = default,
        last_seq = default,
        usage = null,
        tries = null,
        left_at = null,
        read_at = null
    from earlier as e
    cross join proposed as p
    cross join weighed as w
    cross join billed as b
    where
        g.id = e.id
        and e.is_untried
        and g.status = 'failed'
        and exists (select from question) -- there is none if the model is gone
        and not exists (select from running)
        and not exists (
            select from verdict as v
            where v.limited_by is not null
        )
    returning g.id, g.conversation_id, g.user_message_id, g.model_tag, g.price, g.prompt_estimate, g.max_tokens
),

started as (
    select
        e.id,
        e.conversation_id,
        e.user_message_id,
        e.model_tag,
        e.price,
        e.prompt_estimate,
        e.max_tokens
    from entered as e
    inner join proposed as p on e.id = p.id
    union all
    select
        id,
        conversation_id,
        user_message_id,
        model_tag,
        price,
        prompt_estimate,
        max_tokens
    from renewed
),

-- Locked before its messages are, in the same order as by a switch: otherwise the two could deadlock.
held as materialized (
    select c.id
    from conversations as c
    where
        c.id = (
            select s.conversation_id
            from started as s
            where cast(:parent_id as uuid) is not null or cast(:is_root as boolean)
        )
    for no key update
),

-- What stands where the question goes leaves the active path. For other sends, no row is read.
leaving as (
    delete from messages as m
    using held as s
    where
        m.conversation_id = s.id
        and m.position > case
            when cast(:is_root as boolean) then -9223372036854775808
            when cast(:parent_id as uuid) is not null then (select n.position from named as n)
        end
        and cast(:kind as varchar) = 'send'
        and not exists (select from renewed)
    returning
        m.id,
        m.conversation_id,
        m.role,
        m.content,
        m.token_count,
        m.model_tag,
        m.inference_time_ms,
        m.created_at,
        m.finish_reason,
        m.position,
        m.reasoning,
        m.tool_calls,
        m.tool_call_id,
        m.usage,
        m.is_refused,
        m.parent_position
),

set_aside as (
    insert into inactive_messages (
        id,
        conversation_id,
        role,
        content,
        token_count,
        model_tag,
        inference_time_ms,
        created_at,
        finish_reason,
        position,
        reasoning,
        tool_calls,
        tool_call_id,
        usage,
        is_refused,
        parent_position
    )
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
        l.position,
        l.reasoning,
        l.tool_calls,
        l.tool_call_id,
        l.usage,
        l.is_refused,
        coalesce(
            l.parent_position,
            lag(l.position) over (order by l.position),
            (select n.position from named as n),
            0
        )
    from leaving as l
),

-- clock_timestamp(), not now(): this statement may have waited until the previous answer was stored. For the same
-- reason position, a default, is taken here: after that wait.
asked as (
    insert into messages (id, conversation_id, role, content, created_at, parent_position)
    select
        q.id,
        c.id,
        'user',
        q.content,
        clock_timestamp(),
        case when exists (select from leaving) then coalesce((select n.position from named as n), 0) end
    from started as s
    inner join question as q on s.user_message_id = q.id
    cross join conversation as c
    where cast(:kind as varchar) = 'send' and q.position is null
),

dequeued as (
    delete from queued_messages as w
    using started as s
    where w.id = :queued_id and w.conversation_id = s.conversation_id
),

-- In the order of the calls. Those of an attempt that is tried again are stored.
resulted as (
    insert into messages (id, conversation_id, role, content, tool_call_id, created_at)
    select
        r.id,
        s.conversation_id,
        'tool',
        r.content,
        r.tool_call_id,
        clock_timestamp()
    from started as s
    inner join question as q on s.user_message_id = q.id
    cross join results as r
    where q.after_id is null
    order by r.place
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
        end,
        -- Another statement has stored something in the conversation, or changed its path, since this one began: what
        -- this one read is not what it would write to. It is refused, and then repeated.
        version = case
            when conversations.xmin <> c.row_version then -1
            -- What left the path is a change, of which all workers are told.
            else conversations.version + cast(exists (select from leaving) as integer)
        end
    from started
    cross join conversation as c
    where
        conversations.id = started.conversation_id
        and (select count(*) from held) < 2 -- always: it is locked first, and then updated
    returning conversations.id, conversations.version
),

-- Counted only where something is left out, in the index, and no further than two pages of it.
left_out as (
    select count(*) as messages
    from history as h
    cross join
        lateral (
            select position
            from messages
            where
                conversation_id = :conversation_id
                and position < case when h.first_position is null then 9223372036854775807 else h.first_position end -- noqa: ST02
            order by position desc
            limit 200
        ) as earliest
    where h.is_cut
),

begun as (
    select
        s.id,
        s.user_message_id,
        case when q.after_id is null then (select d.id from called as d) else e.call_message_id end as call_message_id,
        coalesce(
            q.after_id,
            (
                select r.id
                from results as r
                order by r.place desc
                limit 1
            ),
            q.id
        ) as after_id,
        case
            when q.after_id is null
                then (
                    select cast(json_agg(json_build_array(r.tool_call_id, r.id) order by r.place) as text)
                    from results as r
                )
        end as result_ids,
        cast(
            json_build_object(
                'model', s.model_tag,
                'price', s.price,
                'prompt_estimate', s.prompt_estimate,
                'max_tokens', s.max_tokens
            ) as text
        ) as billed
    from started as s
    inner join question as q on s.user_message_id = q.id
    left join earlier as e on true
)

select
    c.model_tag,
    e.is_other_content,
    case when s.id is not null then (select cast(h.messages as text) from history as h) end as history, -- read only then
    case when s.id is not null then (select l.messages from left_out as l) end as left_out,
    case when s.id is not null then (select cast(w.options as text) from asked_with as w) end as options,
    case
        when s.id is not null and cast(:kind as varchar) = 'continue'
            then (
                select cast(json_build_object('content', b.content, 'reasoning', b.reasoning) as text)
                from named as b
            )
    end as begun,
    coalesce(s.id, case when not e.is_untried then e.id end, n.id, r.id) as generation_id,
    s.after_id,
    coalesce(s.call_message_id, e.call_message_id) as call_message_id,
    s.result_ids,
    u.id as unknown_call_id,
    coalesce(
        s.user_message_id, case when not e.is_untried then e.user_message_id end, n.user_message_id, r.user_message_id
    ) as user_message_id,
    case
        when e.id is not null and e.content is null then 'no_message'
        when not e.is_untried then 'existed'
        when s.id is not null then 'started'
        when n.idempotency_key = :idempotency_key then 'existed'
        when n.call_message_id = d.id then 'existed'
        when o.outcome = 'no_model' then o.outcome
        when u.id is not null then 'no_such_call'
        when cast(:kind as varchar) = 'results' and not coalesce(d.is_waiting, false) then 'no_calls'
        when o.outcome in ('no_message', 'dequeued', 'reserved') then o.outcome
        when n.id is not null or r.id is not null then 'running'
        when o.outcome is not null then o.outcome
        when v.limited_by = 'crowded' then 'crowded'
        when v.limited_by is not null then 'limited'
        when e.is_untried then 'crowded'
        else 'nothing'
    end as outcome,
    v.limited_by,
    v.seconds_to_wait,
    cast(v.budget as text) as budget,
    s.billed,
    coalesce(r.has_left, false) as has_left,
    coalesce(r.is_read_elsewhere, false) as is_read_elsewhere,
    coalesce(t.version, c.version) as version,
    case when t.version <> c.version then t.version end as new_version
from conversation as c
left join touched as t on c.id = t.id
left join earlier as e on true
left join called as d on true
left join unknown as u on true
left join obstacle as o on true
left join entered as n on true
left join begun as s on true
left join running as r on true
left join verdict as v on true
where (select chat_for_user(:user_id, :conversation_id));

-- name: finish(generation_id, after_id, worker_id, status, finish_reason, error_code, is_refused, content, reasoning, tool_calls, usage, model_tag, token_count, inference_time_ms, tries, first_seq, last_seq, slice)^
-- Ends an answer: everything that must happen after the model has finished. Runs once per generation. Stores what was
-- said: text, thinking and tool calls (nothing at all makes no message). What a successful regeneration replaces, and what
-- stands below it, goes off the active path, into inactive_messages. So does what an answer replaces that went on. A
-- regeneration of a certain answer (generations.parent_position) that failed is itself stored off the path. Only a running generation of this worker is ended, so the statement can be repeated until its
-- commit is confirmed. A null `reasoning` or `tool_calls`: there was none. `is_refused`: the model server refused what was
-- asked itself: the question, or the results.
-- `after_id`: as start returned it; a regeneration replaces what came after it.
-- `is_queued`: a message waits for its turn now (queue.next).
-- `is_ended`: this call ended it. Otherwise the row is the end that an earlier call stored, or maintenance's
-- interrupt_orphans; null `content` with a message_id: it did so at this very moment, so call again. If it is still
-- running, call again too: another statement stored something in the conversation at this very moment, and a
-- regeneration must see it.
-- `tries`: the model servers that were asked, as generations.tries has them.
-- `slice`: the events from first_seq on that the journal doesn't have yet, or null.
-- No row: the generation is gone.
with conversation as ( -- generations.finish
    -- Locked before the generation, in the same order as a deletion: otherwise the two could deadlock.
    -- Every statement that stores something in a conversation makes a new version of its row. A regeneration that
    -- waited for such a statement doesn't see what that one stored, so it wouldn't replace all that it must. For other
    -- answers the key is null, and no row is read.
    select
        c.id,
        coalesce(c.xmin <> seen.xmin, false) as is_late
    from conversations as c
    inner join generations as g on c.id = g.conversation_id
    left join
        conversations as seen
        on seen.id = case when g.kind in ('regenerate', 'continue') then g.conversation_id end
    where g.id = :generation_id
    for no key update of c
),

ended as (
    update generations as g
    set
        status = :status,
        finish_reason = :finish_reason,
        error_code = :error_code,
        message_id = case
            when
                cast(:content as text) <> ''
                or cast(:reasoning as text) <> ''
                or cast(:tool_calls as json) is not null
                then chat_uuid7()
        end,
        token_count = :token_count,
        inference_time_ms = :inference_time_ms,
        last_seq = :last_seq,
        usage = :usage,
        tries = :tries,
        finished_at = now()
    from conversation as c
    where
        g.id = :generation_id
        and g.conversation_id = c.id
        and not c.is_late
        and g.worker_id is not distinct from :worker_id
        and g.finished_at is null
    returning
        g.id,
        g.conversation_id,
        g.kind,
        g.user_message_id,
        g.status,
        g.finish_reason,
        g.message_id,
        g.parent_position,
        g.kind = 'regenerate'
        and g.parent_position is not null
        and g.status not in ('completed', 'stopped')
        and exists (
            select from messages as other
            where other.conversation_id = g.conversation_id and other.position > g.parent_position
        ) as is_beside
),

-- The question of a successful regeneration; the position of what its answer comes after, and whether that was refused.
question as materialized (
    select
        q.id,
        q.conversation_id,
        case when q.id = cast(:after_id as uuid) then q.position else r.position end as position,
        case when q.id = cast(:after_id as uuid) then q.is_refused else r.is_refused end as is_refused
    from ended as e
    inner join messages as q on e.user_message_id = q.id and e.conversation_id = q.conversation_id
    left join messages as r on q.conversation_id = r.conversation_id and r.id = nullif(cast(:after_id as uuid), q.id)
    where
        e.message_id is not null
        and (e.kind = 'continue' or (e.kind = 'regenerate' and e.status in ('completed', 'stopped')))
),

-- What stands below the old answer goes with it: the results of its tool calls, later questions.
replaced as (
    delete from messages as old
    using question as q, ended as e
    where
        old.conversation_id = q.conversation_id
        and old.position > q.position
        -- After the last question, an adopted conversation may hold an empty one, or a system message. They stay.
        and (e.parent_position is not null or old.role in ('assistant', 'tool'))
    returning
        old.id,
        old.conversation_id,
        old.role,
        old.content,
        old.token_count,
        old.model_tag,
        old.inference_time_ms,
        old.created_at,
        old.finish_reason,
        old.position,
        old.reasoning,
        old.tool_calls,
        old.tool_call_id,
        old.usage,
        old.is_refused,
        old.parent_position
),

set_aside as (
    insert into inactive_messages (
        id,
        conversation_id,
        role,
        content,
        token_count,
        model_tag,
        inference_time_ms,
        created_at,
        finish_reason,
        position,
        reasoning,
        tool_calls,
        tool_call_id,
        usage,
        is_refused,
        parent_position
    )
    select
        r.id,
        r.conversation_id,
        r.role,
        r.content,
        r.token_count,
        r.model_tag,
        r.inference_time_ms,
        r.created_at,
        r.finish_reason,
        r.position,
        r.reasoning,
        r.tool_calls,
        r.tool_call_id,
        r.usage,
        r.is_refused,
        coalesce(
            r.parent_position,
            lag(r.position) over (order by r.position),
            (select q.position from question as q)
        )
    from replaced as r
    union all
    select
        e.message_id,
        e.conversation_id,
        'assistant',
        :content,
        :token_count,
        :model_tag,
        :inference_time_ms,
        now(),
        :finish_reason,
        nextval('chat_position'),
        :reasoning,
        :tool_calls,
        null,
        :usage,
        null,
        e.parent_position
    from ended as e
    where e.message_id is not null and e.is_beside
),

-- The answer beside which a failed one is stored has a version from now on.
other as materialized (
    select
        first.id,
        e.conversation_id,
        e.parent_position
    from ended as e
    cross join
        lateral (
            select id
            from messages
            where conversation_id = e.conversation_id and position > e.parent_position
            order by position
            limit 1
        ) as first
    where e.is_beside and e.message_id is not null
),

versioned as (
    update messages as m
    set parent_position = o.parent_position
    from other as o
    where m.id = o.id and m.conversation_id = o.conversation_id
),

answered as (
    insert into messages (
        id,
        conversation_id,
        role,
        content,
        reasoning,
        tool_calls,
        usage,
        token_count,
        model_tag,
        inference_time_ms,
        finish_reason,
        parent_position
    )
    select
        message_id,
        conversation_id,
        'assistant',
        :content,
        :reasoning,
        :tool_calls,
        :usage,
        :token_count,
        :model_tag,
        :inference_time_ms,
        :finish_reason,
        case when exists (select from replaced) then (select q.position from question as q) end
    from ended
    where message_id is not null and not is_beside
),

-- What the answer comes after: the question, or all results of the same calls.
asked as (
    select
        m.id,
        m.conversation_id,
        a.position as last_position
    from ended as e
    inner join messages as a on e.conversation_id = a.conversation_id and a.id = :after_id
    cross join
        lateral (
            select max(position) as position
            from messages
            where conversation_id = a.conversation_id and position < a.position and role <> 'tool'
        ) as calls
    inner join messages as m
        on
            a.conversation_id = m.conversation_id
            and a.position >= m.position
            and case when a.role = 'tool' then calls.position else a.position - 1 end < m.position
    where
        :is_refused
        or exists (
            select from question as q
            where q.is_refused
        )
),

answer as (
    select
        e.message_id is not null or exists (
            select from messages as m
            where
                m.conversation_id = e.conversation_id
                and m.role = 'assistant'
                and m.position > (select max(q.last_position) from asked as q)
        ) as is_there
    from ended as e
),

-- What was refused, and has no answer from before, isn't sent again with the next question, until it gets an answer.
marked as (
    update messages as m
    set is_refused = case when :is_refused then true end
    from asked as q
    where
        m.id = q.id
        and m.conversation_id = q.conversation_id
        and (not :is_refused or not (select is_there from answer))
),

-- A retry of the replaced answer's request now gets the new answer, and not the old one's events. Where nothing was
-- replaced, the conversation is null and no generation is read.
repointed as (
    update generations
    set
        message_id = (select e.message_id from ended as e),
        own_message_id = coalesce(own_message_id, message_id)
    where
        conversation_id = (select distinct r.conversation_id from replaced as r)
        and message_id in (
            select r.id
            from (
                select
                    id,
                    min(position) filter (where role = 'user') over () as next_position,
                    position
                from replaced
            ) as r
            where r.next_position is null or r.position < r.next_position
        )
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
    true as is_ended,
    status,
    finish_reason,
    null as error_code,
    message_id,
    null as content,
    null as reasoning,
    cast(null as json) as tool_calls,
    exists(
        select from queued_messages as q
        where q.conversation_id = ended.conversation_id
    ) as is_queued
from ended
where (select chat_for_everyone())
union all
select
    false as is_ended,
    s.status,
    s.finish_reason,
    s.error_code,
    s.message_id,
    m.content,
    m.reasoning,
    m.tool_calls,
    false as is_queued
from (
    select
        status,
        finish_reason,
        error_code,
        conversation_id,
        message_id
    from generations
    where id = :generation_id and not exists (select from ended)
    for share -- reads what another connection has just committed, which this snapshot doesn't contain
) as s
left join lateral (
    select
        content,
        reasoning,
        tool_calls
    from messages
    where id = s.message_id and conversation_id = s.conversation_id
    union all
    select
        content,
        reasoning,
        tool_calls
    from inactive_messages
    where id = s.message_id and conversation_id = s.conversation_id
) as m on true;

-- name: bring_in(generation_id, conversation_id, kind, question_id, question, results, call_message_id, after_id, idempotency_key, worker_id, status, finish_reason, error_code, is_refused, content, reasoning, tool_calls, usage, model_tag, token_count, inference_time_ms, tries, billed, last_seq)^
-- Brings in what a worker still holds of an answer where the database has less. Two cases: interrupt_orphans ended the
-- answer while its worker was paused or cut off; or a failover to a standby that lagged lost it, perhaps with its
-- question. Runs rarely, only after finish ended nothing; safe to repeat. The caller has seen that what it holds of text,
-- thinking and tool calls continues what is stored. Readers that come later get all of it: the journal's slices, which
-- end earlier, are deleted.
-- `is_late`: something else was stored at this very moment, so call again. `is_ended`: it was brought in. False: there
-- is nothing to bring in, because the generation has another end, its question was stored again by a retry with the
-- same key, or a later regeneration has replaced it.
-- What the answer comes after may have left the active path meanwhile, or the answer was to one that more was said after:
-- then it is stored off the path, in inactive_messages.
-- `results`: as JSON, in their order: [{"id","tool_call_id","content"}], or null. They are stored again if they were lost.
-- `call_message_id`, `after_id`, `billed`: as start returned them.
-- Primary keys; idx_messages_conversation_position. No row: the conversation is gone.
with seen as materialized ( -- generations.bring_in
    select xmin as version
    from conversations
    where id = :conversation_id
),

conversation as materialized (
    select
        id,
        user_id,
        xmin as version
    from conversations
    where id = :conversation_id
    for no key update
),

-- Every statement that stores something in a conversation makes a new version of its row. If this one waited for such a
-- statement, it doesn't see what that one stored.
fits as (
    select
        c.id,
        c.user_id,
        g.parent_position,
        g.position as generation_position
    from conversation as c
    inner join seen as s on c.version = s.version
    left join generations as g on c.id = g.conversation_id and g.id = :generation_id
    where
        (g.id is null or (g.status = 'interrupted' and g.error_code = 'worker_lost'))
        and not exists (
            select from generations as other
            where
                other.conversation_id = c.id
                and other.id <> :generation_id
                and (
                    other.idempotency_key = :idempotency_key
                    or other.call_message_id = :call_message_id
                    -- The calls that it would replace were answered.
                    or (
                        other.user_message_id = :question_id
                        and other.kind = 'results'
                        and cast(:kind as varchar) = 'regenerate'
                        and other.position > g.position
                    )
                    or (
                        other.user_message_id = :question_id
                        and other.kind = 'regenerate'
                        and (g.id is null or other.position > g.position)
                        and other.message_id is not null
                        and other.status in ('completed', 'stopped')
                    )
                )
        )
),

asked as (
    insert into messages (id, conversation_id, role, content, is_refused)
    select
        :question_id,
        id,
        'user',
        :question,
        case when :is_refused and cast(:question_id as uuid) = cast(:after_id as uuid) then true end
    from fits
    where
        not exists (
            select from messages as m
            where m.id = :question_id and m.conversation_id = fits.id
        )
        and not exists (
            select from inactive_messages as m
            where m.id = :question_id and m.conversation_id = fits.id
        )
    returning id, conversation_id, position
),

asked_or_stored as materialized (
    select
        conversation_id,
        position
    from asked
    union all
    select
        m.conversation_id,
        m.position
    from fits as f
    inner join messages as m on f.id = m.conversation_id and m.id = :question_id
    union all
    select
        m.conversation_id,
        m.position
    from fits as f
    inner join inactive_messages as m on f.id = m.conversation_id and m.id = :question_id
),

resulted as (
    insert into messages (id, conversation_id, role, content, tool_call_id, is_refused)
    select
        cast(r.value ->> 'id' as uuid),
        q.conversation_id,
        'tool',
        r.value ->> 'content',
        r.value ->> 'tool_call_id',
        case when :is_refused then true end
    from asked_or_stored as q
    cross join lateral json_array_elements(cast(:results as json)) with ordinality as r (value, place)
    where
        not exists (
            select from messages as m
            where m.id = cast(r.value ->> 'id' as uuid) and m.conversation_id = q.conversation_id
        )
        and not exists (
            select from inactive_messages as m
            where m.id = cast(r.value ->> 'id' as uuid) and m.conversation_id = q.conversation_id
        )
    order by r.place
    returning id, position
),

-- The question, or the result that the answer comes after; and what comes next, if the conversation went on. `is_aside`: the
-- answer doesn't belong on the active path.
question as materialized (
    select
        q.position,
        q.is_inactive
        or exists (
            select from messages as other
            where
                other.conversation_id = q.conversation_id
                and other.position > q.parent_position
                and case
                    when cast(:status as varchar) in ('completed', 'stopped') or cast(:kind as varchar) = 'continue'
                        then other.role = 'user' and other.position < q.generation_position
                    else true
                end
        ) as is_aside,
        (
            select min(later.position)
            from messages as later
            where
                later.conversation_id = q.conversation_id
                and later.role in ('user', 'tool')
                and later.position > q.position
        ) as next_position
    from (
        select
            o.conversation_id,
            (select f.parent_position from fits as f) as parent_position,
            (select f.generation_position from fits as f) as generation_position,
            exists(
                select from inactive_messages as a
                where a.id = :after_id and a.conversation_id = o.conversation_id
            ) as is_inactive,
            coalesce(
                (
                    select r.position
                    from resulted as r
                    where r.id = :after_id
                ),
                (
                    select r.position
                    from messages as r
                    where
                        r.id = :after_id
                        and r.conversation_id = o.conversation_id
                        and cast(:after_id as uuid) <> :question_id
                ),
                (
                    select r.position
                    from inactive_messages as r
                    where r.id = :after_id and r.conversation_id = o.conversation_id
                ),
                o.position
            ) as position
        from asked_or_stored as o
    ) as q
),

ended as (
    insert into generations as g (
        id, conversation_id, kind, user_message_id, call_message_id, idempotency_key, worker_id, message_id, status,
        finish_reason, error_code, token_count, inference_time_ms, last_seq, usage, tries, finished_at, position,
        holder_id, model_tag, price, prompt_estimate, max_tokens
    )
    select
        :generation_id,
        f.id,
        :kind,
        :question_id,
        :call_message_id,
        :idempotency_key,
        :worker_id,
        case
            when
                cast(:content as text) <> ''
                or cast(:reasoning as text) <> ''
                or cast(:tool_calls as json) is not null
                then chat_uuid7()
        end,
        :status,
        :finish_reason,
        :error_code,
        :token_count,
        :inference_time_ms,
        :last_seq,
        :usage,
        :tries,
        now(),
        q.position + 1, -- before the generations of later questions
        f.user_id,
        cast(:billed as json) ->> 'model',
        cast(:billed as json) -> 'price',
        cast(cast(:billed as json) ->> 'prompt_estimate' as integer),
        cast(cast(:billed as json) ->> 'max_tokens' as integer)
    from fits as f
    cross join question as q
    on conflict (id) do update
        set
            message_id = coalesce(g.message_id, excluded.message_id),
            status = excluded.status,
            finish_reason = excluded.finish_reason,
            error_code = excluded.error_code,
            token_count = excluded.token_count,
            inference_time_ms = excluded.inference_time_ms,
            last_seq = excluded.last_seq,
            usage = excluded.usage,
            tries = excluded.tries,
            finished_at = excluded.finished_at
        where g.status = 'interrupted' and g.error_code = 'worker_lost'
    returning g.id, g.conversation_id, g.kind, g.status, g.message_id
),

-- The shorter message goes, and the longer one takes its place and its id.
shorter as (
    delete from messages as m
    using ended as e
    where m.id = e.message_id and m.conversation_id = e.conversation_id and m.finish_reason = 'interrupted'
    returning m.id, m.created_at, m.position, m.parent_position
),

shorter_aside as (
    delete from inactive_messages as m
    using ended as e
    where m.id = e.message_id and m.conversation_id = e.conversation_id and m.finish_reason = 'interrupted'
    returning m.id, m.created_at, m.position, m.parent_position
),

-- As in finish, up to the next question.
replaced as (
    delete from messages as old
    using ended as e, question as q
    where
        e.kind in ('regenerate', 'continue')
        and (e.kind = 'continue' or e.status in ('completed', 'stopped'))
        and e.message_id is not null
        and not q.is_aside
        and not exists (select from shorter_aside)
        and old.conversation_id = e.conversation_id
        and old.id <> e.message_id
        and old.role in ('assistant', 'tool')
        and old.position > q.position
        and (q.next_position is null or old.position < q.next_position)
    returning
        old.id,
        old.conversation_id,
        old.role,
        old.content,
        old.token_count,
        old.model_tag,
        old.inference_time_ms,
        old.created_at,
        old.finish_reason,
        old.position,
        old.reasoning,
        old.tool_calls,
        old.tool_call_id,
        old.usage,
        old.is_refused,
        old.parent_position
),

answered as (
    insert into messages (
        id,
        conversation_id,
        role,
        content,
        reasoning,
        tool_calls,
        usage,
        token_count,
        model_tag,
        inference_time_ms,
        created_at,
        finish_reason,
        position,
        parent_position
    )
    select
        e.message_id,
        e.conversation_id,
        'assistant',
        :content,
        :reasoning,
        :tool_calls,
        :usage,
        :token_count,
        :model_tag,
        :inference_time_ms,
        coalesce(s.created_at, now()),
        :finish_reason,
        case
            when s.id is not null then s.position
            when q.next_position is not null then q.next_position - 1
            else nextval('chat_position')
        end,
        case when exists (select from replaced) then q.position else s.parent_position end
    from ended as e
    cross join question as q
    left join shorter as s on e.message_id = s.id
    where
        e.message_id is not null
        and not exists (select from shorter_aside)
        and (
            s.id is not null
            or (
                not q.is_aside
                and not exists (
                    select from messages as m
                    where m.id = e.message_id and m.conversation_id = e.conversation_id
                )
            )
        )
),

set_aside as (
    insert into inactive_messages (
        id,
        conversation_id,
        role,
        content,
        token_count,
        model_tag,
        inference_time_ms,
        created_at,
        finish_reason,
        position,
        reasoning,
        tool_calls,
        tool_call_id,
        usage,
        is_refused,
        parent_position
    )
    select
        r.id,
        r.conversation_id,
        r.role,
        r.content,
        r.token_count,
        r.model_tag,
        r.inference_time_ms,
        r.created_at,
        r.finish_reason,
        r.position,
        r.reasoning,
        r.tool_calls,
        r.tool_call_id,
        r.usage,
        r.is_refused,
        coalesce(
            r.parent_position,
            lag(r.position) over (order by r.position),
            (select q.position from question as q)
        )
    from replaced as r
    union all
    select
        e.message_id,
        e.conversation_id,
        'assistant',
        :content,
        :token_count,
        :model_tag,
        :inference_time_ms,
        coalesce(s.created_at, now()),
        :finish_reason,
        coalesce(s.position, nextval('chat_position')),
        :reasoning,
        :tool_calls,
        null,
        :usage,
        null,
        coalesce(s.parent_position, q.position)
    from ended as e
    cross join question as q
    left join shorter_aside as s on e.message_id = s.id
    where
        e.message_id is not null
        and not exists (select from shorter)
        and (
            s.id is not null
            or (
                q.is_aside
                and not exists (
                    select from inactive_messages as m
                    where m.id = e.message_id and m.conversation_id = e.conversation_id
                )
            )
        )
),

other as materialized (
    select
        first.id,
        e.conversation_id,
        q.position as parent_position
    from ended as e
    cross join question as q
    cross join
        lateral (
            select id
            from messages
            where conversation_id = e.conversation_id and position > q.position
            order by position
            limit 1
        ) as first
    where
        e.message_id is not null
        and q.is_aside
        and not exists (select from shorter)
        and exists (
            select from messages as parent
            where parent.conversation_id = e.conversation_id and parent.position = q.position
        )
),

versioned as (
    update messages as m
    set parent_position = o.parent_position
    from other as o
    where m.id = o.id and m.conversation_id = o.conversation_id
),

answer as (
    select
        e.conversation_id,
        case
            when cast(:question_id as uuid) = cast(:after_id as uuid) then q.position
            else calls.position + 1
        end as first_position,
        q.position as last_position,
        e.status in ('completed', 'stopped') and e.message_id is not null as is_good,
        e.message_id is not null or exists (
            select from messages as a
            where
                a.conversation_id = e.conversation_id
                and a.role = 'assistant'
                and a.position > q.position
                and (q.next_position is null or a.position < q.next_position)
        ) as is_there
    from ended as e
    cross join question as q
    cross join
        lateral (
            select max(position) as position
            from messages
            where conversation_id = e.conversation_id and position < q.position and role <> 'tool'
        ) as calls
),

-- As in finish.
marked as (
    update messages as m
    set is_refused = case when :is_refused then true end
    from answer as a
    where
        m.conversation_id = a.conversation_id
        and m.position between a.first_position and a.last_position
        and case
            when :is_refused then not a.is_there
            else m.is_refused and a.is_good
        end
),

repointed as (
    update generations
    set
        message_id = (select e.message_id from ended as e),
        own_message_id = coalesce(own_message_id, message_id)
    where
        conversation_id = (select distinct r.conversation_id from replaced as r)
        and message_id in (select r.id from replaced as r)
    returning id
),

forgotten as (
    delete from journal
    where generation_id in (
        select id from repointed
        union all
        select id from ended
    )
),

touched as (
    update conversations
    set updated_at = now()
    from ended
    where conversations.id = ended.conversation_id
)

select
    not coalesce(c.version = s.version, false) as is_late,
    e.id is not null as is_ended,
    e.message_id,
    -- Where the row was there, its trigger note_usage does this.
    case
        when e.id is not null and f.generation_position is null
            then chat_use(
                e.id, c.user_id, c.id, e.kind, cast(:billed as json) ->> 'model',
                cast(:tries as json) -> -1 ->> 'server', e.status, :error_code, now(), :inference_time_ms,
                cast(:billed as json) -> 'price', :usage, :token_count,
                cast(cast(:billed as json) ->> 'prompt_estimate' as integer)
            )
    end as used
from conversation as c
left join seen as s on true
left join fits as f on true
left join ended as e on c.id = e.conversation_id
where (select chat_for_everyone());

-- name: attach(conversation_id, user_id, generation_id)^
-- The generation that a reader asks for by id, or the conversation's newest. Runs each time a reader connects or
-- reconnects. Primary keys; idx_generations_conversation_position for the newest. No row: the conversation isn't this user's; a
-- null generation_id: there is no such generation; a null seconds_since_end: it is running.
select -- generations.attach
    c.id as conversation_id,
    c.version,
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
        order by position desc
        limit 1
    )
) as g on true
where
    c.id = :conversation_id
    and c.user_id is not distinct from :user_id
    and (select chat_for_user(:user_id, :conversation_id));

-- name: begun(conversation_ids, versions, worker_id, seconds)
-- The generations that other workers started within the last `seconds` seconds in the given conversations, oldest
-- first, and the one that is running whenever it started; and the conversations that have other versions than `versions`,
-- of which null is none. A worker runs this once a second for all conversations that its readers watch, in case it missed
-- the notification. Looks at the newest three generations of each conversation. conversations_pkey, and
-- idx_generations_conversation_position, one range per conversation. A null `generation_id`: only the version is news. A
-- null `version`: the conversation was deleted.
with watched as ( -- generations.begun
    select
        w.id,
        w.version
    from unnest(cast(:conversation_ids as uuid[]), cast(:versions as integer[])) as w (id, version)
)

select
    w.id as conversation_id,
    g.id as generation_id,
    c.version
from watched as w
left join
    lateral (
        select version
        from conversations
        where id = w.id and user_id is not null -- else its rows are being removed
        order by id
        limit 1 -- so each is looked up, however many there are
    ) as c
    on true
left join
    lateral (
        select
            id,
            position,
            started_at,
            status,
            worker_id
        from generations
        where conversation_id = w.id
        order by position desc
        limit 3
    ) as g
    on
        g.worker_id <> :worker_id
        and (g.started_at > now() - make_interval(secs => :seconds) or g.status = 'running')
where
    (g.id is not null or w.version is distinct from c.version)
    and (select chat_for_everyone())
order by g.position;

-- name: note_left(worker_id, ids, left_ids)
-- Says of a worker's generations `ids` that their readers there have left (`left_ids`) or are back (the others). Runs
-- when that changes, after a tick. Primary key. Returns those that it noted: what is locked just now waits for the next
-- tick, so that this never waits for another statement.
with mine as ( -- generations.note_left
    select id
    from generations
    where id = any(cast(:ids as uuid[])) and worker_id is not distinct from :worker_id and finished_at is null
    for no key update skip locked
)

update generations as g
set left_at = case when g.id = any(cast(:left_ids as uuid[])) then now() end
from mine as m
where g.id = m.id and (select chat_for_everyone())
returning g.id;

-- name: note_read(ids, left_ids)!
-- Says that a worker has readers of the generations `ids`, which run on other workers, and none of `left_ids` any more. A
-- worker runs this every two seconds while it has such readers, and when the last one of a generation leaves. A mark counts
-- for five seconds. Primary key. Never waits for another statement: what is locked just now is marked two seconds later.
with noted as ( -- generations.note_read
    select id
    from generations
    where
        id = any(cast(:ids as uuid[]) || cast(:left_ids as uuid[]))
        and finished_at is null
    for no key update skip locked
)

update generations as g
set read_at = case when g.id = any(cast(:ids as uuid[])) then now() end
from noted as n
where g.id = n.id and (select chat_for_everyone());

-- name: stop(conversation_id, user_id, generation_id)^
-- Asks the worker that runs a conversation's generation to stop it: whichever that is, or only `generation_id`, if given.
-- The worker sees the mark at its next tick, or is told earlier. Runs by hand, so rarely; safe to repeat.
-- uq_generations_running. No row: the conversation isn't this user's; a null: nothing is running.
with conversation as ( -- generations.stop
    select id
    from conversations
    where id = :conversation_id and user_id is not distinct from :user_id
),

marked as (
    update generations as g
    set stop_requested_at = coalesce(g.stop_requested_at, now())
    where
        g.conversation_id = (select c.id from conversation as c)
        and g.status = 'running'
        and g.id = coalesce(cast(:generation_id as uuid), g.id)
    returning g.id
)

select
    c.id as conversation_id,
    m.id as generation_id
from conversation as c
left join marked as m on true
where (select chat_for_user(:user_id, :conversation_id));
