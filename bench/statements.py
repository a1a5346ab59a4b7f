"""The hot statements of `sql/`, and parameters for each in a database that `bench.buffers.fill` filled."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from chat_api.postgres.queries import load_queries

USER, WORKER, OTHER_WORKER = UUID(int=1 << 127), UUID(int=2), UUID(int=3)
PAGE = 51  # the default page, and one more
MOST = 201  # the largest page, and one more
PIECE = 131_072  # bytes of text in a piece of a long conversation
HISTORY = 50  # the largest number of messages that a model is sent

Parameters = dict[str, Any]

# Parameters that begin with `select ` are looked up.
LONG = "select conversation_id from generations group by 1 order by count(*) desc limit 1"
KEY = f"select idempotency_key from generations where conversation_id = ({LONG}) limit 1"
RUNNING = f"select conversation_id from generations where status = 'running' and worker_id = '{WORKER}' \
and kind = 'send' order by id desc limit 1"
SENT = f"select id from generations where status = 'running' and worker_id = '{WORKER}' and kind = 'send' \
order by id desc limit 1"
REGENERATED = "select id from generations where status = 'running' and kind = 'regenerate'"
FINISHED = f"select id from generations where conversation_id = ({LONG}) order by id offset 100 limit 1"
OF_WORKER = (
    f"select array_agg(id order by id) from generations where status = 'running' and worker_id = '{WORKER}'"
)
TEN = "select (array_agg(id order by id))[:10] from generations where status = 'running'"
WATCHED = f"select array_agg(id) from (select id, row_number() over (order by updated_at) as turn \
from conversations where user_id = '{USER}') as c where mod(turn, 50) = 0"
PLACE = f"from conversations where user_id = '{USER}' order by updated_at desc, id desc offset 250 limit 1"


def requested(kind: str, user: UUID, conversation: UUID | None = None) -> tuple[str, tuple[Any, ...]]:
    """The statement behind a kind of request (list, get or create), and its arguments in order."""
    name, arguments = {
        "list": ("conversations.page", (user, None, None, PAGE, 0)),
        "get": ("conversations.get", (conversation, user, None, None, PIECE)),
        "create": ("conversations.create", (user, "x", "default", 0)),
    }[kind]
    return load_queries()[name].text, arguments


_TOP = {"user_id": USER, "before_updated_at": None, "before_id": None, "max_rows": MOST, "skip": 0}
IN_LONG = {"id": LONG, "user_id": USER}
UNCHANGED = dict.fromkeys(
    ["version", "title", "is_favorited", "model_tag", "instructions", "options", "active_message_id"]
)
_WHOLE = {"before_id": None, "max_rows": None, "max_bytes": PIECE}
_CREATE = {"user_id": USER, "title": "T", "model_tag": "default", "max_conversations": 0}
_SEND = {
    "conversation_id": LONG,
    "user_id": USER,
    "kind": "send",
    "content": "hello",
    "title": "hello",
    "results": None,
    "parent_id": None,
    "is_root": False,
    "answer_id": None,
    "queued_id": None,
    "waits_its_turn": False,
    "idempotency_key": "k",
    "worker_id": WORKER,
    "options": None,
    "max_messages": HISTORY,
    "max_characters": 6000,
    "max_running": 0,
    "limits": None,
    "models": None,
    "with_reasoning": [],
    "prices": None,
    "instruction_bytes": None,
    "max_tokens": 512,
}
_LIMITED = {
    **_SEND,
    "max_running": 100,
    "limits": f"""[
        {{"name": "sends_per_address", "subject": "203.0.113.9", "every": "2 s", "period": "60 s"}},
        {{"name": "sends_per_user", "subject": "{USER}", "every": "2 s", "period": "60 s"}}
    ]""",
}
_FINISH = {
    "generation_id": SENT,
    "after_id": f"select user_message_id from generations where id = ({SENT})",
    "worker_id": WORKER,
    "status": "completed",
    "finish_reason": "stop",
    "error_code": None,
    "is_refused": False,
    "content": "bye",
    "reasoning": None,
    "tool_calls": None,
    "usage": None,
    "model_tag": "d20",
    "token_count": 1,
    "inference_time_ms": 1,
    "tries": '[{"server":"inference","outcome":"answered","milliseconds":1}]',
    "first_seq": 100,
    "last_seq": 101,
    "slice": "[{}]",
}
_ATTACH = {"conversation_id": LONG, "user_id": USER, "generation_id": None}
_TICK = {
    "worker_id": WORKER,
    "seconds": 15.0,
    "live": OF_WORKER,
    "live_in": OF_WORKER.replace("array_agg(id", "array_agg(conversation_id"),
    "ids": OF_WORKER,
    "first_seqs": [100] * 30,
    "next_seqs": [101] * 30,
    "slices": ["[{}]"] * 30,
    "notifications": ["many"],
}

# The query's name, then the case after a comma.
HOT: dict[str, Parameters] = {
    "conversations.page": _TOP,
    "conversations.page, deep": {
        **_TOP,
        "max_rows": PAGE,
        "before_updated_at": f"select updated_at {PLACE}",
        "before_id": f"select id {PLACE}",
    },
    "conversations.get": {"id": f"select id {PLACE}", "user_id": USER, **_WHOLE},
    "conversations.get, running": {"id": RUNNING, "user_id": USER, **_WHOLE},
    "conversations.get, long": {**IN_LONG, **_WHOLE},
    "conversations.get, newest": {**IN_LONG, **_WHOLE, "max_rows": 50},
    "messages.piece": {
        "conversation_id": LONG,
        "user_id": USER,
        "after_position": f"select min(position) from messages where conversation_id = ({LONG})",
        "end_position": 1 << 62,
        "max_bytes": PIECE,
    },
    "conversations.create": _CREATE,
    "conversations.create, limited": {**_CREATE, "max_conversations": 200},
    "conversations.update": {**IN_LONG, **UNCHANGED, "title": "T"},
    "generations.start": _SEND,
    "generations.start, limited": _LIMITED,
    "generations.start, key used": {**_SEND, "idempotency_key": KEY},
    "generations.start, while one runs": {**_SEND, "conversation_id": RUNNING},
    "generations.start, regenerate": {**_SEND, "kind": "regenerate", "content": None},
    "generations.finish": _FINISH,
    "generations.finish, regenerated": {
        **_FINISH,
        "generation_id": REGENERATED,
        "after_id": f"select user_message_id from generations where id = ({REGENERATED})",
    },
    "generations.attach": _ATTACH,
    "generations.attach, by id": {**_ATTACH, "generation_id": FINISHED},
    "generations.stop": {"conversation_id": RUNNING, "user_id": USER, "generation_id": None},
    "generations.begun": {
        "conversation_ids": WATCHED,
        "versions": [0] * 10,
        "worker_id": WORKER,
        "seconds": 3600.0,
    },
    "journal.tick": _TICK,
    "journal.read": {"ids": TEN, "next_seqs": [90] * 10},
    "journal.prune": {"after": UUID(int=0), "seconds": 86400.0, "max_rows": 1000},
    "maintenance.interrupt_orphans": {},
    "messages.exchange": {"generation_id": FINISHED},
}
