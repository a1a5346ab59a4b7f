"""A message that comes while an answer is being written: refused, or in that answer's place."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, Literal, NamedTuple
from uuid import UUID

import structlog

from chat_api import errors
from chat_api.generation.start import start

if TYPE_CHECKING:
    import asyncpg

    from chat_api.postgres.database import Database
    from chat_api.relay import Relay

logger = structlog.get_logger(__name__)

WhenRunning = Literal["", "reject", "supersede", "queue"]
LOOK_SECONDS = 1.0  # a browser closes its last stream and sends at once: the order of arrival isn't certain
LOOKS = {True: 0.02, False: 0.2}  # seconds between two looks: at a log of this worker, at the database
MOST_STOPPED = 3  # answers that one message takes the place of, if others come in between


class Stop(NamedTuple):
    """Which generation was asked to stop, if one was running, and whether it is known to have ended."""

    generation_id: UUID | None
    is_confirmed: bool


async def ask_to_stop(
    database: Database, user_id: UUID, conversation_id: UUID, generation_id: UUID | None
) -> UUID | None:
    """Ask a conversation's running generation to stop, or only `generation_id`. Returns which one that is.

    Raises ConversationNotFound, DatabaseUnavailable.
    """
    row = await database.row(
        "generations.stop", conversation_id=conversation_id, user_id=user_id, generation_id=generation_id
    )
    if row is None:
        raise errors.ConversationNotFound
    running: UUID | None = row["generation_id"]
    return running


async def succeed(
    database: Database,
    relay: Relay,
    parameters: Mapping[str, Any],
    when_running: WhenRunning,
    stop: Callable[[UUID], Awaitable[Stop]],
) -> asyncpg.Record:
    """The row of `generations.start`, as `start.start` returns it, once no other answer is in the way.

    `reject` refuses while one is running, `supersede` stops it, and with `queue` the row says that one is
    running, or that other messages wait. By default one is stopped if nobody reads
    it; whether that is so is watched for a second. `stop` stops a generation of this conversation.
    Raises GenerationRunning, and what `start.start` raises.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + LOOK_SECONDS
    stopped = 0
    while (row := await start(database, relay.watch, parameters))["outcome"] == "running":
        if when_running == "queue":
            return row
        generation_id: UUID = row["generation_id"]
        refusal = errors.GenerationRunning(generation_id=str(generation_id))
        if when_running == "reject" or stopped == MOST_STOPPED:
            raise refusal
        if when_running == "supersede" or _is_unread(relay, row):
            stopped += 1
            logger.info("generation_superseded", generation_id=str(generation_id))
            ended, is_confirmed = await stop(generation_id)
            if ended is not None and not is_confirmed:
                raise refusal
        elif loop.time() >= deadline:
            raise refusal
        else:
            await _look(relay, row, deadline)
    return row


def _is_unread(relay: Relay, row: asyncpg.Record) -> bool:
    return relay.is_unread(
        row["generation_id"], has_left=row["has_left"], is_read_elsewhere=row["is_read_elsewhere"]
    )


async def _look(relay: Relay, row: asyncpg.Record, deadline: float) -> None:
    """Wait until something may have changed: at once where the answer runs here, else for a moment."""
    loop = asyncio.get_running_loop()
    log = relay.running_log(row["generation_id"])
    pause = LOOKS[log is not None]
    await asyncio.sleep(pause)
    # Polled, because a connection's end calls nothing here.
    while (  # noqa: ASYNC110
        log is not None and not log.closed and not _is_unread(relay, row) and loop.time() < deadline
    ):
        await asyncio.sleep(pause)
