-- Parameters to try a query with: a name, or `<query>.<name>` where one query needs another value; the value as text; and
-- whether it was drawn from the data. If a name has a drawn value, that one counts.
-- The values drawn are the newest ended answer, its conversation and its user; the last message there, and the newest
-- message off the active path, to which a switch leads; for statements on running answers, a running answer. By primary
-- keys, by positions, and by an index that holds only running answers: quick, however long the history is.
with newest as (
    select
        id,
        conversation_id,
        worker_id
    from generations
    where status <> 'running'
    order by id desc
    limit 1
),

running as (
    select
        g.id,
        g.conversation_id,
        g.worker_id,
        c.user_id
    from generations as g
    inner join conversations as c on g.conversation_id = c.id
    where g.status = 'running'
    order by g.worker_id
    limit 1
),

-- If nothing was asked yet, any conversation will do.
conversation as (
    select
        c.id,
        c.user_id
    from conversations as c
    where c.id = coalesce(
        (select n.conversation_id from newest as n),
        (
            select any_one.id
            from conversations as any_one
            order by any_one.id desc
            limit 1
        )
    )
),

message as (
    select m.id
    from conversation as c
    inner join messages as m on c.id = m.conversation_id
    order by m.position desc
    limit 1
),

other_version as (
    select m.id
    from conversation as c
    inner join inactive_messages as m on c.id = m.conversation_id
    order by m.position desc
    limit 1
),

drawn as (
    select
        v.name,
        v.value
    from (select) as always -- noqa: ST11
    left join conversation as c on true
    left join newest as n on true
    left join running as r on true
    left join message as m on true
    left join other_version as o on true
    cross join lateral (
        values
        ('id', cast(c.id as text)),
        ('conversation_id', cast(c.id as text)),
        ('conversation_ids', '{' || c.id || '}'),
        ('user_id', cast(c.user_id as text)),
        ('message_id', cast(m.id as text)),
        ('active_message_id', cast(o.id as text)),
        ('generation_id', cast(n.id as text)),
        ('ids', '{' || n.id || '}'),
        ('worker_id', cast(coalesce(r.worker_id, n.worker_id) as text)),
        ('generations.finish.generation_id', cast(r.id as text)),
        ('generations.stop.conversation_id', cast(r.conversation_id as text)),
        ('generations.stop.user_id', cast(r.user_id as text)),
        ('generations.stop.generation_id', cast(r.id as text)),
        ('generations.note_left.ids', '{' || r.id || '}'),
        ('generations.note_read.ids', '{' || r.id || '}'),
        ('journal.tick.live', '{' || r.id || '}'),
        ('journal.tick.live_in', '{' || r.conversation_id || '}'),
        ('journal.tick.ids', '{' || r.id || '}'),
        ('journal.disown.ids', '{' || r.id || '}')
    ) as v (name, value)
),

usual (name, value) as (
    values
    ('id', '00000000-0000-0000-0000-000000000000'),
    ('conversation_id', '00000000-0000-0000-0000-000000000000'),
    ('conversation_ids', '{00000000-0000-0000-0000-000000000000}'),
    ('user_id', '00000000-0000-0000-0000-000000000000'),
    ('generation_id', '00000000-0000-0000-0000-000000000000'),
    ('ids', '{00000000-0000-0000-0000-000000000000}'),
    ('worker_id', '00000000-0000-0000-0000-000000000000'),
    ('left_ids', '{}'),
    ('live', '{00000000-0000-0000-0000-000000000000}'),
    ('live_in', '{00000000-0000-0000-0000-000000000000}'),
    -- conversations
    ('before_updated_at', null),
    ('before_login_at', null),
    ('before_id', null),
    ('max_rows', '51'),
    ('max_bytes', '131072'),
    ('after_position', '-9223372036854775808'),
    ('end_position', '9223372036854775807'),
    ('skip', '0'),
    ('title', 'Samosa chaat'),
    ('model_tag', 'default'),
    ('is_favorited', null),
    ('old_title', 'Samosa'),
    ('conversations.untitled.max_characters', '2000'),
    ('versions', '{0}'),
    ('version', null),
    ('request', '{}'),
    ('max_waiting', '10'),
    ('instructions', 'Answer like a cook.'),
    ('conversations.update.options', '{"temperature": 0.5}'),
    ('active_message_id', null),
    -- responses
    ('metadata', '{"ticket": "4711"}'),
    ('messages', '[{"role": "user", "content": "What goes into samosa chaat?"}]'),
    ('only_first', 'false'),
    ('newest_first', 'true'),
    ('after_id', null),
    ('responses.open.id', null),
    -- messages
    ('message_id', '00000000-0000-0000-0000-000000000000'),
    -- generations
    ('kind', 'send'),
    ('content', 'What goes into samosa chaat?'),
    ('reasoning', 'They ask for a recipe.'),
    ('tool_calls', null),
    ('usage', '{"prompt_tokens": 9, "completion_tokens": 6, "reasoning_tokens": null, "cached_tokens": null}'),
    ('options', null),
    ('parent_id', null),
    ('is_root', 'false'),
    ('answer_id', null),
    ('queued_id', null),
    ('waits_its_turn', 'false'),
    ('idempotency_key', null),
    ('after_id', '00000000-0000-0000-0000-000000000000'),
    ('call_message_id', null),
    ('results', null),
    ('question_id', '00000000-0000-0000-0000-000000000000'),
    ('question', 'What goes into samosa chaat?'),
    ('max_messages', '50'),
    ('max_characters', '6000'),
    ('status', 'completed'),
    ('finish_reason', 'stop'),
    ('error_code', null),
    ('is_refused', 'false'),
    ('token_count', '6'),
    ('inference_time_ms', '100'),
    ('tries', '[{"server":"near","outcome":"answered","milliseconds":100}]'),
    ('seconds', '15'),
    ('notifications', '{many}'),
    -- limits: as in a service without limits
    ('max_running', '0'),
    ('max_conversations', '0'),
    ('limits', null),
    -- models: as in a service without MODELS_FILE
    ('models', null),
    ('with_reasoning', '{}'),
    ('prices', null),
    ('instruction_bytes', null),
    ('max_tokens', '512'),
    -- usage, and budgets that no service has
    ('billed', '{"model": "default", "prompt_estimate": 9}'),
    ('server', 'near'),
    ('milliseconds', '100'),
    ('first_day', null),
    ('last_day', null),
    ('scope', 'each'),
    ('budgets.put.user_id', null),
    ('budgets.put.model_tag', null),
    ('period', 'day'),
    ('unit', 'tokens'),
    ('currency', null),
    ('amount', '1000000000'),
    ('budgets.remove.id', '00000000-0000-0000-0000-000000000000'),
    -- keys and tickets that no service has
    ('digest', '\x0000000000000000000000000000000000000000000000000000000000000000'),
    ('keys.note_use.id', '00000000-0000-0000-0000-000000000000'),
    ('token_expires_at', 'infinity'),
    -- journal: numbers beyond those of any answer
    ('first_seq', '1000000'),
    ('last_seq', '1000001'),
    ('slice', '[{"token": "chickpeas"}]'),
    ('first_seqs', '{1000000}'),
    ('next_seqs', '{1000001}'),
    ('slices', '{"[{\"token\": \"chickpeas\"}]"}'),
    ('journal.read.next_seqs', '{0}'),
    ('journal.prune.seconds', '600'),
    ('journal.prune.max_rows', '5000'),
    -- retention
    ('after', '00000000-0000-0000-0000-000000000000'),
    ('days', '365'),
    ('generation_days', '365'),
    ('favourites', 'false'),
    ('users.export.conversation_id', null),
    ('line', '{"type": "conversation", "id": "00000000-0000-0000-0000-000000000000", "is_favorited": false,
        "created_at": "2026-01-01T00:00:00Z", "updated_at": "2026-01-01T00:00:00Z", "version": 0}'),
    ('first_block', '0'),
    ('blocks', '1000')
)

select
    name,
    value,
    true as is_drawn
from drawn
union all
select
    name,
    value,
    false as is_drawn
from usual;
