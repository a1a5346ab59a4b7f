"""The named queries of sql/, run on a connection that belongs to the test."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, Any, TypeAlias
from uuid import UUID, uuid4

import asyncpg
import orjson

from chat_api.postgres.queries import load_queries
from chat_api.upkeep.cleaning import BEGINNING

if TYPE_CHECKING:
    Connection: TypeAlias = asyncpg.Connection[asyncpg.Record]
else:  # only its stubs are generic
    Connection = asyncpg.Connection


# Every query's parameters have one of these types; a value that finds nothing will do.
ANYTHING: dict[str, Any] = {
    "uuid": UUID(int=1),
    "uuid[]": [],
    "varchar": "send",
    "text": "x",
    "bool": True,
    "int4": 1,
    "int8": 1,
    "float8": 1.0,
    "timestamptz": None,
    "date": None,
    "numeric": Decimal(1),
    "json": "[]",
    "int4[]": [],
    "text[]": [],
    "json[]": [],
    "bytea": bytes(32),
}


# Where a constraint wants another value.
OF_ITS_KIND: dict[str, Any] = {
    "budgets.put.scope": "each",
    "budgets.put.user_id": None,
    "budgets.put.period": "day",
    "budgets.put.unit": "tokens",
    "budgets.put.currency": None,
    "usage.add_title.status": "failed",
    "usage.add_title.billed": '{"model": "default"}',
}


# What a change of a conversation leaves as it is.
UNCHANGED = dict.fromkeys(
    ["version", "title", "is_favorited", "model_tag", "instructions", "options", "active_message_id"]
)

# The tables with a user's data, and their order.
TABLES = {
    "conversations": "id",
    "messages": "id",
    "inactive_messages": "id",
    "queued_messages": "id",
    "generations": "id",
    "journal": "generation_id, next_seq",
    "usage": "id",
    "api_keys": "id",
    "tickets": "digest",
}


async def run(connection: Connection, name: str, **parameters: Any) -> list[asyncpg.Record]:
    """All rows of a query."""
    query = load_queries()[name]
    assert set(parameters) == set(query.parameters)
    rows: list[asyncpg.Record] = await connection.fetch(
        query.text, *(parameters[parameter] for parameter in query.parameters)
    )
    return rows


async def call_with_anything(connection: Connection, name: str) -> None:
    """Run a query with parameters that match nothing."""
    statement = await connection.prepare(load_queries()[name].text)
    assert len(statement.get_parameters()) == len(load_queries()[name].parameters), name
    names = load_queries()[name].parameters
    kinds = [kind.name for kind in statement.get_parameters()]
    given = [
        OF_ITS_KIND.get(f"{name}.{each}", ANYTHING[kind]) for each, kind in zip(names, kinds, strict=True)
    ]
    await statement.fetch(*given)


async def one(connection: Connection, name: str, **parameters: Any) -> asyncpg.Record | None:
    """The only row of a query, or None."""
    rows = await run(connection, name, **parameters)
    assert len(rows) <= 1
    return rows[0] if rows else None


async def dump(sql: Connection) -> dict[str, list[asyncpg.Record]]:
    """Every row of every table with a user's data."""
    return {
        table: await sql.fetch(f"select * from {table} order by {order}") for table, order in TABLES.items()
    }


async def blocked(connection: Connection, pid: int) -> None:
    """Wait until the backend `pid` waits for another backend's lock."""
    async with asyncio.timeout(5):
        while not await connection.fetchval("select cardinality(pg_blocking_pids($1))", pid):
            pass  # each check is a round trip


async def meet(
    sql: Connection,
    first: Connection,
    second: Connection,
    late: Coroutine[Any, Any, asyncpg.Record | None],
    end: str = "commit",
) -> asyncpg.Record | None:
    """Run `late` on `second` until it waits for `first`, end `first`'s transaction, return the result."""
    task = asyncio.create_task(late)
    await blocked(sql, second.get_server_pid())
    await first.execute(end)
    async with asyncio.timeout(5):
        return await task


@dataclass
class Chat:
    """A user's conversation in the database, and the statements that make its answers."""

    user_id: UUID = field(default_factory=uuid4)
    id: UUID = field(default_factory=uuid4)
    worker_id: UUID = field(default_factory=uuid4)

    async def open(self, connection: Connection, title: str | None = "New conversation") -> Chat:
        """Store the conversation, empty."""
        await connection.execute(
            "insert into conversations (id, user_id, title) values ($1, $2, $3)", self.id, self.user_id, title
        )
        return self

    async def say(self, connection: Connection, role: str, content: str, at: int = 0) -> UUID:
        """Store a message, `at` seconds after the start of 2025."""
        message_id: UUID = await connection.fetchval(
            "insert into messages (conversation_id, role, content, created_at)"
            " values ($1, $2, $3, timestamptz '2025-01-01 00:00+00' + make_interval(secs => $4))"
            " returning id",
            self.id,
            role,
            content,
            at,
        )
        return message_id

    async def start(self, connection: Connection, **changes: Any) -> asyncpg.Record | None:
        """Send a message; the kinds `regenerate` and `continue` ask for another answer."""
        regenerate = changes.get("kind") in ("regenerate", "continue")
        parameters = {
            "conversation_id": self.id,
            "user_id": self.user_id,
            "kind": "send",
            "content": None if regenerate else "hello",
            "title": "" if regenerate else "hello",
            "results": None,
            "parent_id": None,
            "is_root": False,
            "answer_id": None,
            "queued_id": None,
            "waits_its_turn": False,
            "idempotency_key": None,
            "worker_id": self.worker_id,
            "options": None,
            "max_messages": 50,
            "max_characters": 6000,
            "max_running": 0,
            "limits": None,
            "models": None,
            "with_reasoning": [],
            "prices": None,
            "max_tokens": 512,
            "instruction_bytes": None,
        }
        return await one(connection, "generations.start", **{**parameters, **changes})

    async def begin(self, connection: Connection, **changes: Any) -> UUID:
        """`start`, which must succeed; returns the generation's id."""
        row = await self.start(connection, **changes)
        assert row is not None
        assert row["outcome"] == "started"
        generation_id: UUID = row["generation_id"]
        return generation_id

    async def finish(
        self, connection: Connection, generation_id: UUID, **changes: Any
    ) -> asyncpg.Record | None:
        """End an answer, as completed by default. Without `after_id`, it comes after its question."""
        parameters = {
            "generation_id": generation_id,
            "after_id": await connection.fetchval(
                "select user_message_id from generations where id = $1", generation_id
            ),
            "worker_id": self.worker_id,
            "status": "completed",
            "finish_reason": "stop",
            "error_code": None,
            "is_refused": False,
            "content": "an answer",
            "reasoning": None,
            "tool_calls": None,
            "usage": None,
            "model_tag": "d20",
            "token_count": 2,
            "inference_time_ms": 40,
            "tries": None,
            "first_seq": None,
            "last_seq": 3,
            "slice": None,
        }
        return await one(connection, "generations.finish", **{**parameters, **changes})

    async def update(self, connection: Connection, **changes: Any) -> asyncpg.Record | None:
        """Change the conversation, or switch to another path."""
        return await one(
            connection, "conversations.update", id=self.id, user_id=self.user_id, **{**UNCHANGED, **changes}
        )

    async def queue(self, connection: Connection, content: str, **changes: Any) -> asyncpg.Record | None:
        """Let a message wait for its turn."""
        parameters = {
            "conversation_id": self.id,
            "user_id": self.user_id,
            "content": content,
            "request": "{}",
            "idempotency_key": None,
            "max_waiting": 10,
            "limits": None,
        }
        return await one(connection, "queue.add", **{**parameters, **changes})

    async def take_back(self, connection: Connection, message_id: UUID) -> asyncpg.Record | None:
        """Delete a message, and what stands below it."""
        given = {"conversation_id": self.id, "user_id": self.user_id, "message_id": message_id}
        return await one(connection, "messages.delete", **given)

    async def fork(self, connection: Connection, message_id: UUID) -> asyncpg.Record | None:
        """Copy the conversation up to a message."""
        given = {"id": self.id, "user_id": self.user_id, "message_id": message_id, "max_conversations": 0}
        return await one(connection, "conversations.fork", **given)

    async def speak(self, connection: Connection, *slices: tuple[UUID, int, list[Any]]) -> asyncpg.Record:
        """Run a tick of this conversation's worker."""
        return await tick(connection, self.worker_id, *slices)

    async def texts(self, connection: Connection) -> list[str]:
        """The stored texts, oldest first."""
        rows = await connection.fetch(
            "select content from messages where conversation_id = $1 order by position", self.id
        )
        return [row["content"] for row in rows]


async def tick(
    connection: Connection, worker_id: UUID, *slices: tuple[UUID, int, list[Any]], **changes: Any
) -> asyncpg.Record:
    """Renew a worker's lease for a minute, and write slices (generation, first number, events).

    `live` are by default those that it writes; one that isn't there is in any conversation.
    """
    live = changes.get("live", [generation_id for generation_id, _, _ in slices])
    parameters = {
        "worker_id": worker_id,
        "seconds": 60.0,
        "live": live,
        "live_in": await connection.fetchval(
            "select coalesce(array_agg(coalesce(g.conversation_id, (select id from conversations limit 1))"
            " order by place), '{}') from unnest($1::uuid[]) with ordinality as l (id, place)"
            " left join generations as g using (id)",
            live,
        ),
        "ids": [generation_id for generation_id, _, _ in slices],
        "first_seqs": [first_seq for _, first_seq, _ in slices],
        "next_seqs": [first_seq + len(events) for _, first_seq, events in slices],
        "slices": [orjson.dumps(events).decode() for _, _, events in slices],
        "notifications": [],
    }
    row = await one(connection, "journal.tick", **{**parameters, **changes})
    assert row is not None
    return row


async def opened(
    connection: Connection, conversation_id: UUID, user_id: UUID, **changes: Any
) -> asyncpg.Record | None:
    """A conversation with all its messages, in one piece."""
    parameters = {"before_id": None, "max_rows": None, "max_bytes": 1_000_000, **changes}
    return await one(connection, "conversations.get", id=conversation_id, user_id=user_id, **parameters)


def shown(row: asyncpg.Record | None) -> list[dict[str, Any]]:
    """The messages in a piece of a conversation."""
    assert row is not None
    messages: list[dict[str, Any]] = orjson.loads(f"[{row['messages'] or ''}]")
    return messages


async def kill_workers(connection: Connection) -> None:
    """Leave one worker that has had its lease for long without a gap: all others are dead to it."""
    await connection.execute(
        "with dead as (delete from workers)"
        " insert into workers (id, started_at, lease_until, lease, steady_since)"
        " select gen_random_uuid(), 'infinity', now() + lease, lease, now() - 2 * lease"  # never the oldest
        " from (select interval '1 minute' as lease) as l"
    )


async def prune(
    connection: Connection, seconds: float = 0.0, max_rows: int = 5000, after: UUID = BEGINNING
) -> asyncpg.Record:
    """Prune answers that ended so long ago. Returns how many rows were deleted, and where to go on."""
    row = await one(connection, "journal.prune", after=after, seconds=seconds, max_rows=max_rows)
    assert row is not None
    return row


def history(row: asyncpg.Record | None) -> list[list[str]]:
    """The history for the model that `start` returned, oldest first: role and text of each message."""
    assert row is not None
    turns: list[list[Any]] = orjson.loads(row["history"])
    return [turn[:2] for turn in turns[::-1]]
