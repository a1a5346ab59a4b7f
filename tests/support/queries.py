"""The named queries of sql/, run on a connection of the test's own."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass, field
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


# No query takes more than these kinds; a value that finds nothing does.
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
    "json": "[]",
    "int4[]": [],
    "json[]": [],
}


# What holds something of a user, in which order.
TABLES = {
    "conversations": "id",
    "messages": "id",
    "generations": "id",
    "journal": "generation_id, next_seq",
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
    """Run a query with values that find nothing."""
    statement = await connection.prepare(load_queries()[name].text)
    assert len(statement.get_parameters()) == len(load_queries()[name].parameters), name
    await statement.fetch(*(ANYTHING[kind.name] for kind in statement.get_parameters()))


async def one(connection: Connection, name: str, **parameters: Any) -> asyncpg.Record | None:
    """The only row of a query, or None."""
    rows = await run(connection, name, **parameters)
    assert len(rows) <= 1
    return rows[0] if rows else None


async def dump(sql: Connection) -> dict[str, list[asyncpg.Record]]:
    """Every row of every table that holds something of a user."""
    return {
        table: await sql.fetch(f"select * from {table} order by {order}") for table, order in TABLES.items()
    }


async def blocked(connection: Connection, pid: int) -> None:
    """Until the backend `pid` waits for a lock that another holds."""
    async with asyncio.timeout(5):
        while not await connection.fetchval("select cardinality(pg_blocking_pids($1))", pid):
            pass  # each look is a round trip


async def meet(
    sql: Connection,
    first: Connection,
    second: Connection,
    late: Coroutine[Any, Any, asyncpg.Record | None],
    end: str = "commit",
) -> asyncpg.Record | None:
    """Run `late` on `second` until it waits for `first`, end that one's transaction; what `late` returns."""
    task = asyncio.create_task(late)
    await blocked(sql, second.get_server_pid())
    await first.execute(end)
    async with asyncio.timeout(5):
        return await task


@dataclass
class Chat:
    """A conversation of a user in the database, and the statements that its answers are made of."""

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
        """Store a message, `at` seconds after the first of January 2025."""
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
        """Send a message; `kind="regenerate"` asks for another answer."""
        regenerate = changes.get("kind") == "regenerate"
        parameters = {
            "conversation_id": self.id,
            "user_id": self.user_id,
            "kind": "send",
            "content": None if regenerate else "hello",
            "title": "" if regenerate else "hello",
            "idempotency_key": None,
            "worker_id": self.worker_id,
            "max_messages": 50,
            "max_characters": 6000,
            "notify": True,
            "max_running": 0,
            "limits": None,
        }
        return await one(connection, "generations.start", **{**parameters, **changes})

    async def begin(self, connection: Connection, **changes: Any) -> UUID:
        """`start` that must succeed; the generation's id."""
        row = await self.start(connection, **changes)
        assert row is not None
        assert row["outcome"] == "started"
        generation_id: UUID = row["generation_id"]
        return generation_id

    async def finish(
        self, connection: Connection, generation_id: UUID, **changes: Any
    ) -> asyncpg.Record | None:
        """End an answer, well unless told otherwise."""
        parameters = {
            "generation_id": generation_id,
            "worker_id": self.worker_id,
            "status": "completed",
            "finish_reason": "stop",
            "error_code": None,
            "content": "an answer",
            "model_tag": "d20",
            "token_count": 2,
            "inference_time_ms": 40,
            "first_seq": None,
            "last_seq": 3,
            "slice": None,
            "notify": True,
        }
        return await one(connection, "generations.finish", **{**parameters, **changes})

    async def speak(self, connection: Connection, *slices: tuple[UUID, int, list[Any]]) -> asyncpg.Record:
        """A tick of this conversation's worker."""
        return await tick(connection, self.worker_id, *slices)

    async def texts(self, connection: Connection) -> list[str]:
        """What is stored, oldest first."""
        rows = await connection.fetch(
            "select content from messages where conversation_id = $1 order by created_at, id", self.id
        )
        return [row["content"] for row in rows]


async def tick(
    connection: Connection, worker_id: UUID, *slices: tuple[UUID, int, list[Any]], **changes: Any
) -> asyncpg.Record:
    """A worker's lease for a minute, and slices (generation, first number, events); no notification."""
    parameters = {
        "worker_id": worker_id,
        "seconds": 60.0,
        "start_seconds": 60.0,
        "live": [generation_id for generation_id, _, _ in slices],
        "ids": [generation_id for generation_id, _, _ in slices],
        "first_seqs": [first_seq for _, first_seq, _ in slices],
        "next_seqs": [first_seq + len(events) for _, first_seq, events in slices],
        "slices": [orjson.dumps(events).decode() for _, _, events in slices],
        "notification": "",
    }
    row = await one(connection, "journal.tick", **{**parameters, **changes})
    assert row is not None
    return row


async def prune(
    connection: Connection, seconds: float = 0.0, max_rows: int = 5000, after: UUID = BEGINNING
) -> asyncpg.Record:
    """Take what ended so long ago out of the journal: how many rows went, and where to go on."""
    row = await one(connection, "journal.prune", after=after, seconds=seconds, max_rows=max_rows)
    assert row is not None
    return row


def history(row: asyncpg.Record | None) -> list[list[str]]:
    """What the model is to be sent, oldest first, as `start` chose it."""
    assert row is not None
    turns: list[list[str]] = orjson.loads(row["history"])
    return turns[::-1]
