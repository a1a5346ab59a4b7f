"""The file of `chat-api sql plans`: JSON that reads well in a diff."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import orjson

from chat_api.commands.errors import FailedError, MisusedError
from chat_api.commands.sql.plans import Plan, Saved

MAX_BYTES = 64 * 1024 * 1024
"""Far more than all plans take. Without a limit, a device such as /dev/zero takes all memory."""

KIND, FORMAT = "chat-api sql plans", 1


def write(path: str, saved: Saved) -> None:
    """Write plans to a file, in place of what is there.

    Raises:
        FailedError: it can't be written.
    """
    document = {"kind": KIND, "format": FORMAT, **asdict(saved)}
    try:
        Path(path).write_bytes(orjson.dumps(document, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))
    except OSError as error:
        raise FailedError(f"{path} can't be written: {error.strerror}") from error


def read(path: str) -> Saved:
    """Read plans that `write` wrote.

    Raises:
        MisusedError: the file can't be read, or isn't one of these.
    """
    try:
        with Path(path).open("rb") as file:
            text = file.read(MAX_BYTES + 1)
        if len(text) > MAX_BYTES:
            raise MisusedError(f"{path} is longer than {MAX_BYTES} bytes: it has no saved plans")
        document = orjson.loads(text)
    except OSError as error:
        raise MisusedError(f"{path} can't be read: {error.strerror}") from error
    except orjson.JSONDecodeError as error:
        raise MisusedError(f"{path} isn't JSON; `chat-api sql plans --save` writes the file") from error
    if not isinstance(document, dict) or document.get("kind") != KIND:
        raise MisusedError(f"{path} has no saved plans; `chat-api sql plans --save` writes the file")
    if document.get("format") != FORMAT:
        raise MisusedError(
            f"{path} has the format {document.get('format')}, and this release reads {FORMAT}; "
            "save the plans anew"
        )
    try:
        return _saved(document)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise MisusedError(f"{path} is damaged; save the plans anew") from error


def _saved(document: dict[str, Any]) -> Saved:
    plans = {
        name: {case: _plan(plan) for case, plan in cases.items()} for name, cases in document["plans"].items()
    }
    texts, failed = dict(document["texts"]), dict(document["failed"])
    if not (document["migrations"] and plans.keys() | failed.keys() <= texts.keys()):
        raise ValueError
    return Saved(str(document["server"]), [*map(str, document["migrations"])], texts, plans, failed)


def _plan(plan: dict[str, Any]) -> Plan:
    return Plan(
        shape=[*map(str, plan["shape"])],
        scanned=[*map(str, plan["scanned"])],
        indexes=[*map(str, plan["indexes"])],
        buffers=int(plan["buffers"]),
        relations={str(name): int(count) for name, count in plan["relations"].items()},
    )
