-- Fills an empty, migrated database with the history of a service that is in use. Times count back from now, and
-- everything else is the same each time. What one query reads has the same size, and is equally scattered over its
-- table, however large the table is.

-- Without foreign keys: they would look up each row's conversation, and these are valid by construction.
set session_replication_role = replica;
set synchronous_commit = off;

-- Without WAL, which would be a gigabyte. And the figures must depend on the data, not on when autovacuum runs.
alter table journal set unlogged, set (autovacuum_enabled = off);
alter table usage set unlogged, set (autovacuum_enabled = off);
alter table generations set unlogged, set (autovacuum_enabled = off);
alter table messages set unlogged, set (autovacuum_enabled = off);
alter table queued_messages set unlogged, set (autovacuum_enabled = off);
alter table inactive_messages set unlogged, set (autovacuum_enabled = off);
alter table conversations set unlogged, set (autovacuum_enabled = off);

-- Ids as chat_uuid7() makes them, but not random.
create function pg_temp.id_at(at timestamptz, number bigint) returns uuid
language sql
as $$
    select (
        lpad(to_hex(floor(extract(epoch from at) * 1000)::bigint), 12, '0') || '70008000' || lpad(to_hex(number), 12, '0')
    )::uuid
$$;

-- A chat begins each minute, with a question every two hours. One user has 500 of them: `turn` counts these, newest
-- first. The other users have three each. Between two messages of a chat are some pages of other chats' messages,
-- but between those of the long chat only a few messages.
create temporary table chats as
select
    i,
    case when mod(i, step) = 0 then i / step end as turn,
    pg_temp.id_at(created_at, i) as id,
    case when mod(i, step) = 0 then %(user)s else md5(cast(i / 3 as text)) end as user_id,
    created_at,
    case when i = 195 * step then interval '24 seconds' else interval '1 hour' end as pace,
    case when i = 195 * step then %(long)s else %(messages)s / %(conversations)s end as messages
from generate_series(0, %(conversations)s - 1) as i
cross join (select %(conversations)s / 500 as step) as s
cross join lateral (select now() - interval '12 hours' - make_interval(mins => i) as created_at) as c;

-- Neighbours in a list are pages apart, as rows are that get a new version with each message.
insert into conversations (id, user_id, title, created_at, updated_at)
select
    id,
    cast(user_id as uuid),
    'About ' || i,
    created_at,
    created_at + pace * messages
from chats
order by mod(row_number() over (partition by user_id order by created_at + pace * messages), 4), i;

insert into messages (id, conversation_id, role, content, created_at, finish_reason)
select
    pg_temp.id_at(created_at + pace * place, 4096 * i + place),
    id,
    case when mod(place, 2) = 0 then 'user' else 'assistant' end,
    repeat('word ', 20),
    created_at + pace * place,
    case when mod(place, 2) = 1 then 'stop' end
from chats
cross join generate_series(0, messages - 1) as place
order by created_at + pace * place, i;

-- In every tenth chat of the other users, the second message has twenty other versions.
insert into inactive_messages (id, conversation_id, role, content, created_at, finish_reason, position, parent_position)
select
    pg_temp.id_at(c.created_at + c.pace, 4096 * c.i + 2048 + v),
    c.id,
    'assistant',
    repeat('word ', 20),
    c.created_at + c.pace,
    'stop',
    nextval('chat_position'),
    m.position
from chats as c
inner join messages as m on m.id = pg_temp.id_at(c.created_at, 4096 * c.i)
cross join generate_series(1, 20) as v
where mod(c.i, 10) = 1 and c.turn is null
order by c.i, v;

update messages as m
set parent_position = v.parent_position
from inactive_messages as v
inner join chats as c on v.conversation_id = c.id
where m.id = pg_temp.id_at(c.created_at + c.pace, 4096 * c.i + 1);

insert into queued_messages (conversation_id, content, request)
select
    id,
    repeat('word ', 20),
    '{}'
from chats
cross join generate_series(1, 4)
where turn is null
order by i
limit 2000;

insert into generations (
    id, conversation_id, kind, user_message_id, message_id, idempotency_key, status, finish_reason, worker_id,
    last_seq, started_at, finished_at
)
select
    pg_temp.id_at(started_at, 4096 * i + place),
    id,
    'send',
    pg_temp.id_at(started_at, 4096 * i + place),
    pg_temp.id_at(started_at + pace, 4096 * i + place + 1),
    'key ' || place,
    'completed',
    'stop',
    %(worker)s,
    100,
    started_at,
    started_at + pace
from chats
cross join generate_series(0, messages - 2, 2) as place
cross join lateral (select created_at + pace * place as started_at) as g
order by started_at, i;

-- Both have been alive for long.
insert into workers (id, lease_until, lease, steady_since)
select
    cast(id as uuid),
    now() + interval '12 hours',
    interval '12 hours',
    now() - interval '1 day'
from unnest(array[%(worker)s, %(other)s]) as id;

-- The running generations, in that user's newest conversations: a regeneration and 29 more of this worker's, and one
-- of another worker's.
insert into messages (id, conversation_id, role, content, created_at)
select
    pg_temp.id_at(now(), turn),
    id,
    'user',
    repeat('word ', 20),
    now()
from chats
where turn between 1 and 30
order by turn;

insert into generations (
    id, conversation_id, kind, user_message_id, idempotency_key, worker_id, started_at, holder_id, model_tag
)
select
    pg_temp.id_at(now(), turn),
    id,
    case when turn = 0 then 'regenerate' else 'send' end,
    case
        when turn = 0 then (
            select m.id from messages as m
            where m.conversation_id = chats.id and m.role = 'user'
            order by m.position desc
            limit 1
        )
        else pg_temp.id_at(now(), turn)
    end,
    'key now',
    cast(case when turn = 30 then %(other)s else %(worker)s end as uuid),
    now(),
    cast(user_id as uuid),
    'default'
from chats
where turn between 0 and 30
order by turn;

-- The journal keeps minutes, not years: the running answers, and those that ended lately.
insert into journal (generation_id, first_seq, next_seq, events)
select
    id,
    slice,
    slice + 1,
    '[{"token":"word "}]'
from (
    select id from generations
    order by started_at desc, id desc
    limit 100
) as g
cross join generate_series(0, 99) as slice;

insert into usage (
    id, user_id, conversation_id, kind, model_tag, server, status, started_at, ended_at, day, prompt_tokens,
    cached_tokens, reasoning_tokens, completion_tokens, is_estimated, milliseconds
)
select
    g.id,
    cast(c.user_id as uuid),
    g.conversation_id,
    g.kind,
    'default',
    'inference',
    g.status,
    g.started_at,
    g.finished_at,
    cast(g.finished_at at time zone 'utc' as date),
    40,
    0,
    0,
    25,
    false,
    900
from generations as g
inner join chats as c on g.conversation_id = c.id
where g.finished_at is not null
order by g.finished_at;

drop table chats;
reset session_replication_role;
reset synchronous_commit;
