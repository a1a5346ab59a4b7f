"""What `chat-api hold` does. Each action returns an exit status.

The statements aren't in `sql/`: the service never sends them, and its role has no right to.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
from psycopg.rows import DictRow, dict_row

from chat_api.commands.errors import FailedError
from chat_api.commands.json_output import print_json
from chat_api.commands.numbers import counted
from chat_api.commands.session import connected
from chat_api.settings import load_settings

APPLICATION = "chat-api hold"
"""The application name that pg_stat_activity shows."""

_FOLDER = Path(__file__).resolve().parent


def _set(options: argparse.Namespace) -> int:
    subject = _subject(options)
    with _session() as connection:
        _require_owner(connection)
        rows = _run(connection, "set", **subject, reason=options.reason, held_by=options.by)
        if not rows:
            raise FailedError(f"{_held(subject, _run(connection, 'list'))}: lift that hold first")
    (hold,) = rows
    number = hold["conversations"]
    if options.json:
        print_json(hold)
        return 0
    absent = "" if number or options.user else ", which isn't there now"
    keeps = f", which keeps {counted(number, 'conversation')} now" if options.user else absent
    sys.stdout.write(f"set: {_in_words(hold)}{keeps}\n")
    return 0


def _subject(options: argparse.Namespace) -> dict[str, Any]:
    return {"user_id": options.user, "conversation_id": options.conversation}


def _held(subject: dict[str, Any], holds: list[DictRow]) -> str:
    """That a subject is held, and by which hold, unless somebody has just lifted it."""
    for hold in holds:
        if subject.items() <= hold.items():
            return f"there is a hold already: {_in_words(hold)}"
    return "there was a hold already"


def _list(options: argparse.Namespace) -> int:
    with _session() as connection:
        _require_table(connection)
        holds = _run(connection, "list")
    if options.json:
        print_json(holds)
        return 0
    for hold in holds:
        sys.stdout.write(f"{_in_words(hold)}\n")
    if not holds:
        sys.stdout.write("there are no holds\n")
    return 0


def _lift(options: argparse.Namespace) -> int:
    with _session() as connection:
        _require_owner(connection)
        lifted = _run(connection, "lift", **_subject(options))
    if not lifted:
        what = f"{options.conversation or options.user}"
        raise FailedError(f"there is no hold on {what}: `chat-api hold list` lists them")
    if options.json:
        print_json(lifted[0])
    else:
        sys.stdout.write(f"lifted: {_in_words(lifted[0])}\n")
    return 0


@contextmanager
def _session() -> Iterator[psycopg.Connection[Any]]:
    """A session whose times are in UTC. Raises FailedError if the database refuses something in the block."""
    with connected(load_settings().database_url, APPLICATION) as connection:
        connection.execute("set timezone to 'UTC'")
        yield connection


def _run(connection: psycopg.Connection[Any], name: str, **parameters: Any) -> list[DictRow]:
    with connection.cursor(row_factory=dict_row) as cursor:
        return cursor.execute((_FOLDER / f"{name}.sql").read_bytes(), parameters).fetchall()


def _require_table(connection: psycopg.Connection[Any]) -> DictRow:
    rows = _run(connection, "owner")
    if not rows:
        raise FailedError(
            "there is no table legal_hold here, or this role can't see it: run `chat-api migrate`, and use "
            "the DATABASE_URL of the tables' owner"
        )
    return rows[0]


def _require_owner(connection: psycopg.Connection[Any]) -> None:
    table = _require_table(connection)
    if not table["is_owner"]:
        raise FailedError(
            f"only the owner of the tables, {table['owner']}, sets and lifts holds, and this is "
            f"{table['role']}: use the owner's DATABASE_URL"
        )


def _in_words(hold: dict[str, Any]) -> str:
    """Such as: conversation 01a2… since 2026-11-30 by M. Rai: file 17/2026."""
    user = hold["user_id"]
    subject = f"conversation {hold['conversation_id']}" if user is None else f"all of user {user}"
    return f"{subject} since {hold['since']:%Y-%m-%d} by {hold['held_by']}: {hold['reason']}"


ACTIONS: dict[str, Callable[[argparse.Namespace], int]] = {"set": _set, "list": _list, "lift": _lift}
