-- The worst parameters that the data has, for `chat-api sql plans`: a name, or `<query>.<name>`, and the value as text. What
-- isn't here is as in samples.sql. Drawn are the conversation with the most messages, the user with the most
-- conversations, and up to thirty answers that run on one worker. Counts all messages and all conversations in an index.
with longest as (
    select
        c.id,
        c.user_id
    from (
        select m.conversation_id
        from messages as m
        group by m.conversation_id
        order by count(*) desc, m.conversation_id
        limit 1
    ) as counted
    inner join conversations as c on counted.conversation_id = c.id
),

busiest as (
    select c.user_id
    from conversations as c
    where c.user_id is not null
    group by c.user_id
    order by count(*) desc, c.user_id
    limit 1
),

-- A page deep in that user's list.
deep as (
    select
        c.id,
        c.updated_at
    from busiest as b
    inner join conversations as c on b.user_id = c.user_id
    order by c.updated_at desc, c.id desc
    limit
        1
        offset 250
),

watched as (
    select
        array_agg(newest.id) as ids,
        array_agg(0) as versions
    from (
        select c.id
        from busiest as b
        inner join conversations as c on b.user_id = c.user_id
        order by c.updated_at desc, c.id desc
        limit 10
    ) as newest
),

message as (
    select m.id
    from longest as l
    inner join messages as m on l.id = m.conversation_id
    order by m.position desc
    limit 1
),

generation as (
    select g.id
    from longest as l
    inner join generations as g on l.id = g.conversation_id
    where g.status <> 'running'
    order by g.position
    limit 1
),

running as (
    select
        busy.worker_id,
        array_agg(busy.id order by busy.id) as ids,
        array_agg(busy.conversation_id order by busy.id) as conversation_ids,
        array_agg(0) as from_start,
        array_agg(1000000) as first_seqs,
        array_agg(1000001) as next_seqs,
        array_agg(cast('[{"token": "chickpeas"}]' as text)) as slices
    from (
        select
            g.id,
            g.conversation_id,
            g.worker_id
        from generations as g
        where
            g.status = 'running'
            and g.worker_id = (
                select any_one.worker_id
                from generations as any_one
                where any_one.status = 'running'
                group by any_one.worker_id
                order by count(*) desc, any_one.worker_id
                limit 1
            )
        order by g.id
        limit 30
    ) as busy
    group by busy.worker_id
)

select
    v.name,
    v.value
from (select) as always -- noqa: ST11
left join longest as l on true
left join busiest as b on true
left join deep as d on true
left join watched as w on true
left join message as m on true
left join generation as g on true
left join running as r on true
cross join
    lateral (
        values
        ('conversations.get.id', cast(l.id as text)),
        ('conversations.update.id', cast(l.id as text)),
        ('conversations.delete.id', cast(l.id as text)),
        ('conversations.fork.id', cast(l.id as text)),
        ('conversations.untitled.id', cast(l.id as text)),
        ('conversations.retitle.id', cast(l.id as text)),
        ('conversation_id', cast(l.id as text)),
        ('user_id', cast(l.user_id as text)),
        ('message_id', cast(m.id as text)),
        ('generation_id', cast(g.id as text)),
        ('conversations.page.user_id', cast(b.user_id as text)),
        ('conversations.page.before_updated_at', cast(d.updated_at as text)),
        ('conversations.page.before_id', cast(d.id as text)),
        ('conversations.page.max_rows', '201'),
        ('conversations.create.user_id', cast(b.user_id as text)),
        ('max_conversations', '1000000'),
        ('generations.begun.conversation_ids', cast(w.ids as text)),
        ('generations.begun.versions', cast(w.versions as text)),
        ('usage.of_user.user_id', cast(b.user_id as text)),
        ('usage.forget.user_id', cast(b.user_id as text)),
        ('users.count.user_id', cast(b.user_id as text)),
        ('users.stop_answers.user_id', cast(b.user_id as text)),
        ('users.delete.user_id', cast(b.user_id as text)),
        ('users.export.user_id', cast(b.user_id as text)),
        ('max_running', '1000000'),
        ('journal.tick.worker_id', cast(r.worker_id as text)),
        ('journal.tick.live', cast(r.ids as text)),
        ('journal.tick.live_in', cast(r.conversation_ids as text)),
        ('journal.tick.ids', cast(r.ids as text)),
        ('journal.tick.first_seqs', cast(r.first_seqs as text)),
        ('journal.tick.next_seqs', cast(r.next_seqs as text)),
        ('journal.tick.slices', cast(r.slices as text)),
        ('journal.read.ids', cast(r.ids as text)),
        ('journal.read.next_seqs', cast(r.from_start as text))
    ) as v (name, value)
where v.value is not null
