"""The statements that read or change a conversation's tree, with parameters for one that `grow` made."""

from __future__ import annotations

from bench.plans import Connection
from bench.statements import HOT, UNCHANGED, USER, WORKER, Parameters

# Two conversations of 1,000 messages. The tenth answer and the last one have twenty other versions each, and
# one of the tenth has two messages below it. The last answer was cut; in the second conversation, the tenth
# is being done again.
_GROW = """
insert into conversations (user_id, title) values ('{user}', 'grown'), ('{user}', 'grown, running');

insert into messages (conversation_id, role, content, finish_reason, created_at)
select
    c.id,
    case when mod(place, 2) = 0 then 'user' else 'assistant' end,
    repeat('word ', 20),
    case when place = 999 then 'length' when mod(place, 2) = 1 then 'stop' end,
    now()
from conversations as c
cross join generate_series(0, 999) as place
where c.title ~ '^grown'
order by place, c.id;

create temporary table places as
select
    m.id,
    m.conversation_id,
    m.position,
    row_number() over w - 1 as place,
    lag(m.id) over w as question_id,
    lag(m.position) over w as parent_position
from messages as m
inner join conversations as c on m.conversation_id = c.id
where c.title ~ '^grown'
window w as (partition by m.conversation_id order by m.position);

insert into inactive_messages (
    id, conversation_id, role, content, finish_reason, created_at, position, parent_position
)
select
    chat_uuid7(), conversation_id, 'assistant', 'other', 'stop', now(), nextval('chat_position'),
    parent_position
from places
cross join generate_series(1, 20)
where place in (19, 999);

insert into inactive_messages (id, conversation_id, role, content, created_at, position, parent_position)
select chat_uuid7(), p.conversation_id, 'user', 'below', now(), nextval('chat_position'), min(m.position)
from places as p
inner join inactive_messages as m using (conversation_id, parent_position)
where p.place = 19
group by p.conversation_id;

insert into inactive_messages (id, conversation_id, role, content, created_at, position, parent_position)
select chat_uuid7(), conversation_id, 'assistant', 'below', now(), nextval('chat_position'), position
from inactive_messages
where role = 'user' and content = 'below';

update messages as m
set parent_position = p.parent_position
from places as p
where m.id = p.id and p.place in (19, 999);

insert into generations (conversation_id, kind, user_message_id, message_id, status, worker_id, finished_at)
select p.conversation_id, 'send', p.question_id, p.id, 'completed', '{worker}', now()
from places as p
where mod(p.place, 2) = 1
order by p.position;

insert into generations (conversation_id, kind, user_message_id, message_id, status, worker_id, finished_at)
select m.conversation_id, 'regenerate', p.question_id, m.id, 'completed', '{worker}', now()
from inactive_messages as m
inner join places as p using (conversation_id, parent_position)
order by m.position;

insert into generations (conversation_id, kind, user_message_id, worker_id, parent_position)
select p.conversation_id, 'regenerate', p.question_id, '{worker}', p.parent_position
from places as p
inner join conversations as c on p.conversation_id = c.id
where c.title = 'grown, running' and p.place = 19;

drop table places;
vacuum analyze;
"""


def grow(connection: Connection) -> None:
    """Add the conversations to a database that `bench.buffers.fill` filled, in autocommit."""
    for statement in _GROW.format(user=USER, worker=WORKER).split(";\n"):
        if statement.strip():
            connection.execute(statement.encode())


CHAT = "select id from conversations where title = 'grown'"


def _message(place: int) -> str:
    return (
        f"select id from messages where conversation_id = ({CHAT}) order by position offset {place} limit 1"
    )


# Of the last answer.
VERSION = f"select id from inactive_messages where conversation_id = ({CHAT}) and content = 'other' \
order by parent_position desc, position limit 1"
_GENERATION = "select id from generations where message_id = ({})"
_RUNNING = "select g.id from generations as g inner join conversations as c on g.conversation_id = c.id \
where c.title = 'grown, running' and g.status = 'running'"

_SEND = {**HOT["generations.start"], "conversation_id": CHAT}
_AGAIN = {**_SEND, "kind": "regenerate", "content": None}
_CONTINUE = {**_SEND, "kind": "continue", "content": None}
_FAILED = {
    **HOT["generations.finish"],
    "generation_id": _RUNNING,
    "after_id": f"select user_message_id from generations where id = ({_RUNNING})",
    "status": "failed",
    "finish_reason": "error",
}
_GET = {**HOT["conversations.get, newest"], "id": CHAT}
_OF_CHAT = {"id": CHAT, "user_id": USER}

TREE: dict[str, Parameters] = {
    "conversations.get, versions": _GET,
    "conversations.update, switch": {**_OF_CHAT, **UNCHANGED, "active_message_id": VERSION},
    "conversations.fork": {**_OF_CHAT, "message_id": _message(49), "max_conversations": 0},
    "generations.start, edit": {**_SEND, "parent_id": _message(997)},
    "generations.start, certain answer": {**_AGAIN, "answer_id": _message(19)},
    "generations.start, version": {**_AGAIN, "answer_id": VERSION},
    "generations.start, continue": _CONTINUE,
    "generations.start, continue certain": {**_CONTINUE, "answer_id": _message(999)},
    "generations.finish, beside": _FAILED,
    "journal.read, version": {"ids": f"select array[({_GENERATION.format(VERSION)})]", "next_seqs": [0]},
    "messages.delete": {"conversation_id": CHAT, "user_id": USER, "message_id": _message(999)},
    "messages.exchange, early": {"generation_id": _GENERATION.format(_message(19))},
    "messages.exchange, version": {"generation_id": _GENERATION.format(VERSION)},
}
