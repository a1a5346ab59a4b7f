"""The start of an answer: one statement, repeated where others get in its way; why it may be refused."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NoReturn
from uuid import UUID

import orjson

from chat_api import errors
from chat_api.postgres.failures import was_deadlock

if TYPE_CHECKING:
    import asyncpg

    from chat_api.postgres.database import Database
    from chat_api.relay.watch import Watch

TRIES = 10  # each time another request has got through
SWITCHES = 3  # to the message that is asked about, each time another request has switched back


async def start(database: Database, watch: Watch, parameters: Mapping[str, Any]) -> asyncpg.Record:
    """The row of `generations.start`.

    Its outcome is `started`, `existed`, `running`, `waiting` or `dequeued`. A message that is asked about
    becomes part of the active path first.
    Raises ConversationNotFound, MessageNotFound, NothingToRegenerate, NothingToContinue, NoOpenCalls, Invalid
    (a call isn't known, or the key or the calls were used for something else), LimitReached, RequestRepeated,
    DatabaseUnavailable.
    """
    row = await _on_path(database, watch, parameters)
    if row is None:
        raise errors.ConversationNotFound
    outcome = row["outcome"]
    if outcome == "nothing":
        raise errors.NothingToRegenerate
    if outcome == "whole":
        raise errors.NothingToContinue
    if outcome == "no_message":
        raise errors.MessageNotFound
    if outcome == "no_calls":
        raise errors.NoOpenCalls
    if outcome == "no_such_call":
        raise errors.Invalid.of(
            "tool_call_unknown",
            ("body", "results"),
            f"there is no open call with the id {row['unknown_call_id']!r}",
        )
    if outcome == "limited":
        refuse_limited(row)
    if outcome == "crowded":
        raise errors.RequestRepeated
    if outcome == "existed" and row["is_other_content"]:
        if parameters["kind"] == "results" and row["call_message_id"] is not None:
            raise errors.Invalid.of(
                "tool_calls_answered",
                ("body", "results"),
                "these calls have been answered already, with other results",
            )
        refuse_reused_key()
    if outcome == "reserved":
        refuse_reused_key()
    return row


async def _on_path(database: Database, watch: Watch, parameters: Mapping[str, Any]) -> asyncpg.Record | None:
    for _ in range(SWITCHES):
        row = await _asked(database, parameters)
        if row is None or row["outcome"] != "inactive":
            return row
        await _switch(database, watch, parameters)
    raise errors.RequestRepeated


async def _switch(database: Database, watch: Watch, parameters: Mapping[str, Any]) -> None:
    """Show what is asked about. While an answer is written, this does nothing, and the next try says so."""
    conversation_id: UUID = parameters["conversation_id"]
    row = await database.row(
        "conversations.update",
        id=conversation_id,
        user_id=parameters["user_id"],
        active_message_id=parameters["parent_id"] or parameters["answer_id"],
        **dict.fromkeys(("version", "title", "is_favorited", "model_tag", "instructions", "options")),
    )
    if row is None:
        raise errors.ConversationNotFound
    if row["outcome"] == "no_message":
        raise errors.MessageNotFound
    watch.changed(conversation_id, row["new_version"])


async def _asked(database: Database, parameters: Mapping[str, Any]) -> asyncpg.Record | None:
    """Asked again where another request came in between: only then is seen what it did."""
    for _ in range(TRIES):
        try:
            row = await database.row("generations.start", **parameters)
        except errors.RequestRepeated:
            continue  # the generation of the same key has ended already
        except errors.DatabaseUnavailable as error:
            if not was_deadlock(error):
                raise
            continue  # generations.bring_in was storing the generation of the same key
        if row is None:
            return None
        is_late = row["outcome"] == "existed" and row["is_other_content"] is None
        if not (is_late or row["outcome"] == "crowded"):
            return row
    return await database.row("generations.start", **parameters)


def refuse_limited(row: asyncpg.Record) -> NoReturn:
    """Raise LimitReached, by what a row says of the limit."""
    if row["limited_by"] == "budget":
        raise errors.BudgetExhausted(orjson.loads(row["budget"]))
    if row["limited_by"] == errors.TooManyAnswers.limit:
        raise errors.TooManyAnswers
    by_user = row["limited_by"] == errors.SendingTooFast.limit
    raise (errors.SendingTooFast if by_user else errors.AddressSendingTooFast)(row["seconds_to_wait"])


def refuse_reused_key() -> NoReturn:
    """Raise Invalid: a retry must repeat the message."""
    raise errors.Invalid.of(
        "idempotency_key_reused",
        ("header", "Idempotency-Key"),
        "this key belongs to another message of this conversation; use a new one",
    )
