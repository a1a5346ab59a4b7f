"""Import what `user export` wrote, one conversation after the other: memory doesn't grow with the file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any, BinaryIO
from uuid import UUID

import orjson
import psycopg

from chat_api.commands.data.erase import Amount
from chat_api.commands.data.queries import Queries
from chat_api.commands.errors import FailedError
from chat_api.commands.numbers import counted

KINDS = {
    "conversation": "conversations",
    "message": "messages",
    "queued_message": "messages",
    "generation": "generations",
    "usage": "usage",
}
"""The types of lines, and what each is counted as."""

USAGE_ROWS = 100
"""How many rows of usage a transaction adds: it holds the sums of the budgets that they count in."""

LONGEST_LINE = 256 * 1024 * 1024
"""Bytes: far more than a message has. Without a limit, a device such as /dev/zero takes all memory."""

_REFUSALS = {
    "another_user": "the conversation {id} belongs to another user, or is just being deleted",
    "no_parent": "no line above is the message that {id} comes after (parent_id)",
    "taken": "the id {id} is already used elsewhere",
}


@dataclass(slots=True)
class Imported:
    """How much was added, how many rows of usage, and how many conversations were there already."""

    added: Amount = field(default_factory=Amount)
    usage: int = 0
    there: int = 0


@dataclass(frozen=True, slots=True)
class _Line:
    number: int
    text: str
    kind: str
    id: Any
    conversation_id: Any
    user_id: Any
    part: int
    """Which of the parts that are imported in a transaction each: a conversation, or some rows of usage."""


@contextmanager
def opened(path: Path) -> Iterator[BinaryIO]:
    """Open the file of an export.

    Raises:
        FailedError: it can't be read, then or within the block, or is empty.
    """
    try:
        with path.open("rb") as file:
            if not file.peek(1):
                raise FailedError(f"{path} is empty: there is nothing to import; perhaps its export failed")
            yield file
    except OSError as error:
        raise FailedError(f"cannot read {path}: {error.strerror or error}") from error


def bring_back(session: Queries, user_id: UUID, file: BinaryIO) -> Imported:
    """Add the conversations of an export that aren't there yet, each in a transaction of its own, and usage.

    A conversation or a row of usage that is there stays as it is: importing twice is the same as once, and if
    it was interrupted, it may be run again.

    Raises:
        FailedError: a line can't be read, or isn't this user's. What was before its conversation is imported.
    """
    done = Imported()
    kept = (0, 0)
    try:
        for (is_usage, _), lines in groupby(_read(file), lambda line: (line.kind == "usage", line.part)):
            with session.transaction():
                (_usage if is_usage else _conversation)(session, user_id, lines, done)
            kept = (done.added.conversations, done.usage)
    except FailedError as error:
        raise FailedError(f"{error}; {_in_words(*kept)}") from error
    return done


def _in_words(conversations: int, usage: int) -> str:
    if not conversations and not usage:
        return "nothing was imported"
    rows = f" and {counted(usage, 'row')} of usage" if usage else ""
    was = "was" if conversations == 1 and not usage else "were"
    return f"{counted(conversations, 'conversation')}{rows} before it {was} imported"


def _usage(session: Queries, user_id: UUID, lines: Iterator[_Line], done: Imported) -> None:
    for line in lines:
        _check_owner(line, user_id)
        done.usage += _add(session, user_id, line) == "added"


def _conversation(session: Queries, user_id: UUID, lines: Iterator[_Line], done: Imported) -> None:
    first = next(lines)
    if first.kind != "conversation":
        raise _broken(first.number, 'a conversation\'s line ("type": "conversation") has to come first')
    _check_owner(first, user_id)
    outcome = _add(session, user_id, first)
    if outcome == "there":
        done.there += 1
        for _ in lines:  # read, so that the next conversation follows
            pass
        return
    counts: Counter[str] = Counter()
    for line in lines:
        if line.conversation_id != first.id:
            raise _broken(line.number, f"it isn't of the conversation {first.id} above it")
        _add(session, user_id, line)
        counts[KINDS[line.kind]] += 1
    done.added.conversations += 1
    done.added.messages += counts["messages"]
    done.added.generations += counts["generations"]


def _check_owner(line: _Line, user_id: UUID) -> None:
    if line.user_id != str(user_id):
        raise _broken(line.number, f"the {line.kind} {line.id} is of the user {line.user_id}")


def _add(session: Queries, user_id: UUID, line: _Line) -> str:
    try:
        outcome: str = session.row("users.bring_back", user_id=user_id, line=line.text)["outcome"]
    except (psycopg.DataError, psycopg.IntegrityError) as error:
        raise _broken(line.number, error.diag.message_primary or str(error)) from error
    if outcome in _REFUSALS:
        raise _broken(line.number, _REFUSALS[outcome].format(id=line.id))
    return outcome


def _read(file: BinaryIO) -> Iterator[_Line]:
    part = usage = 0
    for number, raw in enumerate(iter(lambda: file.readline(LONGEST_LINE + 1), b""), start=1):
        if len(raw) > LONGEST_LINE:
            raise _broken(number, f"it is longer than {LONGEST_LINE} bytes")
        try:
            text = raw.decode()
            value = orjson.loads(text)
        except ValueError as error:
            raise _broken(number, f"it isn't JSON ({error}), perhaps because the file was cut") from error
        kind = value.get("type") if isinstance(value, dict) else None
        if kind not in KINDS:
            raise _broken(number, f"it has no known type ({', '.join(KINDS)})")
        if kind == "conversation":
            part += 1
            if value.get("format") != 2:
                raise _broken(number, "it is of an export without all fields: export again with this release")
        elif kind == "usage":
            part += usage % USAGE_ROWS == 0
            usage += 1
        owner = value.get("conversation_id")
        yield _Line(number, text, kind, value.get("id"), owner, value.get("user_id"), part)


def _broken(number: int, problem: str) -> FailedError:
    return FailedError(f"line {number}: {problem}")
