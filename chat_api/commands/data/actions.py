"""What `chat-api user` and `chat-api retention` do. Each action returns an exit status."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from chat_api.commands.data.bring_back import bring_back, opened
from chat_api.commands.data.erase import Amount, count, erase
from chat_api.commands.data.export import export, whole_file
from chat_api.commands.data.queries import Queries, session
from chat_api.commands.errors import FailedError, MisusedError
from chat_api.commands.json_output import print_json
from chat_api.commands.numbers import counted
from chat_api.settings import load_settings
from chat_api.settings.database_url import parse_dsn

REFUSED = 1
_BLOCKS = 1000  # 8 MB of the table


def _export(options: argparse.Namespace) -> int:
    if options.json and options.output is None:
        raise MisusedError("--json needs --output FILE: without it, the output is JSON Lines anyway")
    with session(load_settings()) as db:
        if options.output is None:
            amount, usage = _exported(db, options, sys.stdout.buffer.write)
            if amount == Amount() and not usage:
                sys.stderr.write(f"chat-api: nothing is stored about {options.user_id}\n")
            return 0
        with whole_file(options.output) as file:
            amount, usage = _exported(db, options, file.write)
    sentence = f"exported {_in_words(amount)} of {options.user_id} to {options.output}, and {_rows(usage)}"
    _report(options, amount, sentence, usage=usage)
    return 0


def _exported(
    db: Queries, options: argparse.Namespace, write: Callable[[bytes], object]
) -> tuple[Amount, int]:
    amount, usage = export(db, options.user_id, write, options.conversation)
    # Usage outlives its conversation, so it alone is worth a file.
    if options.conversation is not None and amount == Amount() and not usage:
        raise FailedError(f"this user has no conversation {options.conversation}")
    return amount, usage


def _import(options: argparse.Namespace) -> int:
    with opened(options.file) as file, session(load_settings()) as db:
        done = bring_back(db, options.user_id, file)
    were = "was" if done.there == 1 else "were"
    there = f"; {counted(done.there, 'conversation')} {were} there already" if done.there else ""
    sentence = f"imported {_in_words(done.added)} of {options.user_id}, and {_rows(done.usage)}{there}"
    _report(options, done.added, sentence, usage=done.usage, already_there=done.there)
    return 0


def _delete(options: argparse.Namespace) -> int:
    settings = load_settings()
    with session(settings) as db:
        where = parse_dsn(settings.database_url).redacted()
        if not options.yes and not _confirmed(db, options, where):
            return REFUSED
        amount, held = erase(db, options.user_id)
    kept = f"; {counted(held, 'conversation')} on legal hold stayed" if held else ""
    _report(options, amount, f"deleted {_in_words(amount)} of {options.user_id}{kept}", held=held)
    return 0


def _confirmed(db: Queries, options: argparse.Namespace, where: str) -> bool:
    if not sys.stdin.isatty():
        raise MisusedError("there is no terminal on which to ask: give --yes")
    stored = count(db, options.user_id)
    # To stderr, which a person sees even if standard output goes to a program.
    sys.stderr.write(f"Delete {_in_words(stored)} of {options.user_id} in {where} for good? [y/N] ")
    sys.stderr.flush()
    if sys.stdin.readline().strip().lower() in ("y", "yes"):
        return True
    sys.stderr.write("chat-api: nothing was deleted\n")
    return False


def _retention(options: argparse.Namespace) -> int:
    settings = load_settings()
    days = settings.retention_days if options.days is None else options.days
    kept = settings.generation_days if options.generation_days is None else options.generation_days
    favourites = (options.favourites or settings.retention_favourites) == "delete"
    with session(settings) as db:
        due = _due(db, days=days, favourites=favourites, generation_days=kept)
    if options.json:
        print_json({"retention_days": days, "generation_days": kept, **due})
        return 0
    if days:
        oldest = f", the oldest from {due['oldest']:%Y-%m-%d}" if due["oldest"] else ""
        spared = f"; starred ones that are kept: {due['favourites']}" if due["favourites"] else ""
        sys.stdout.write(
            f"after {counted(days, 'day')}: {counted(due['conversations'], 'conversation')} with "
            f"{counted(due['messages'], 'message')} would be deleted{oldest}{spared}\n"
        )
    else:
        sys.stdout.write("RETENTION_DAYS is 0: conversations are kept\n")
    if kept:
        sys.stdout.write(
            f"after {counted(kept, 'day')}: {counted(due['generations'], 'answer record')} would be deleted\n"
        )
    else:
        sys.stdout.write("GENERATION_DAYS is 0: answer records are kept as long as their conversations\n")
    return 0


def _due(db: Queries, **settings: Any) -> dict[str, Any]:
    """What is due in the whole table, which is read in parts, so that no statement takes long."""
    names = ("conversations", "messages", "favourites", "generations")
    due: dict[str, Any] = {**dict.fromkeys(names, 0), "oldest": None}
    block: int | None = 0
    while block is not None:
        part = db.row("retention.due", first_block=block, blocks=_BLOCKS, **settings)
        block = part.pop("next_block")
        oldest = min(filter(None, (due["oldest"], part.pop("oldest"))), default=None)
        due = {name: due[name] + number for name, number in part.items()} | {"oldest": oldest}
    return due


def _report(options: argparse.Namespace, amount: Amount, sentence: str, **more: int) -> None:
    if options.json:
        print_json({"user_id": options.user_id, **asdict(amount), **more})
    else:
        sys.stdout.write(f"{sentence}\n")


def _in_words(amount: Amount) -> str:
    return (
        f"{counted(amount.conversations, 'conversation')}, {counted(amount.messages, 'message')} and "
        f"{counted(amount.generations, 'answer record')}"
    )


def _rows(usage: int) -> str:
    return f"{counted(usage, 'row')} of usage"


ACTIONS: dict[str, Callable[[argparse.Namespace], int]] = {
    "export": _export,
    "import": _import,
    "delete": _delete,
    "retention": _retention,
}
