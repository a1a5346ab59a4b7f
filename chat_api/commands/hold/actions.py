"""What `chat-api hold` does. Each action returns an exit status."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from psycopg.rows import DictRow

from chat_api.commands.errors import FailedError
from chat_api.commands.json_output import print_json, print_rows
from chat_api.commands.numbers import counted
from chat_api.commands.owner import Table, owned

APPLICATION = "chat-api hold"
"""The application name that pg_stat_activity shows."""

_FOLDER = Path(__file__).resolve().parent


def _set(options: argparse.Namespace) -> int:
    subject = _subject(options)
    with _session() as table:
        table.require_owner("sets and lifts holds")
        rows = table.run("set", **subject, reason=options.reason, held_by=options.by)
        if not rows:
            raise FailedError(f"{_held(subject, table.run('list'))}: lift that hold first")
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
    with _session() as table:
        table.require()
        holds = table.run("list")
    return print_rows(holds, _in_words, "holds", as_json=options.json)


def _lift(options: argparse.Namespace) -> int:
    with _session() as table:
        table.require_owner("sets and lifts holds")
        lifted = table.run("lift", **_subject(options))
    if not lifted:
        what = f"{options.conversation or options.user}"
        raise FailedError(f"there is no hold on {what}: `chat-api hold list` lists them")
    if options.json:
        print_json(lifted[0])
    else:
        sys.stdout.write(f"lifted: {_in_words(lifted[0])}\n")
    return 0


def _session() -> AbstractContextManager[Table]:
    return owned("legal_hold", _FOLDER, APPLICATION)


def _in_words(hold: dict[str, Any]) -> str:
    """Such as: conversation 01a2… since 2026-11-30 by M. Rai: file 17/2026."""
    user = hold["user_id"]
    subject = f"conversation {hold['conversation_id']}" if user is None else f"all of user {user}"
    return f"{subject} since {hold['since']:%Y-%m-%d} by {hold['held_by']}: {hold['reason']}"


ACTIONS: dict[str, Callable[[argparse.Namespace], int]] = {"set": _set, "list": _list, "lift": _lift}
