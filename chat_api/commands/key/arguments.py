"""The arguments of `chat-api key`. Every command loads this module, so it imports no psycopg."""

from __future__ import annotations

import argparse
from typing import Any

from chat_api.commands.ids import uuid_of
from chat_api.commands.output import print_result

SCOPES = ("read", "chat", "admin")


def add_key_command(commands: Any) -> None:
    """Add `key` to argparse's subparsers. Its option `action` is a name in ACTIONS."""
    key = commands.add_parser(
        "key",
        help="make, list and revoke API keys, for programs",
        description="Make, list and revoke API keys. Where AUTH names keys, they sign their users in, as "
        "tokens do. The database has only digests of keys.",
        epilog="docs/sign-in.md says what keys are for, and what each scope allows.",
    )
    actions = key.add_subparsers(title="actions", metavar="ACTION", required=True)

    create = actions.add_parser(
        "create",
        help="make a key, and print it once",
        description="Make a key. Prints the key alone on standard output, and what it is on standard error. "
        "Only the owner of the tables makes keys.",
    )
    whose = create.add_mutually_exclusive_group(required=True)
    whose.add_argument("--user", type=uuid_of("a user"), metavar="UUID", help="whom it signs in")
    whose.add_argument(
        "--subject",
        type=_text,
        metavar="TEXT",
        help="the same, by the name that the identity provider (AUTH_ISSUER) or the proxy has for them",
    )
    create.add_argument(
        "--name", type=_name, required=True, metavar="TEXT", help="what it is for, such as a program's name"
    )
    create.add_argument(
        "--scopes",
        type=_scopes,
        default=["read", "chat"],
        metavar="LIST",
        help="what it may be used for, comma-separated: read (reading), chat (sending, changing, deleting), "
        "admin (what administrators may) (default: read,chat)",
    )
    create.add_argument(
        "--days", type=_days, metavar="N", help="days until it expires (default: it doesn't expire)"
    )
    _finish(create, "create")

    listed = actions.add_parser(
        "list",
        help="list the keys",
        description="List keys, with what they may be used for and when they were last used. The keys "
        "themselves aren't known any more, only how each begins.",
    )
    listed.add_argument("--user", type=uuid_of("a user"), metavar="UUID", help="only this user's")
    _finish(listed, "list")

    revoke = actions.add_parser(
        "revoke",
        help="revoke a key",
        description="Revoke a key, for good. A worker that has used it within the last minute believes it "
        "until that minute is over.",
    )
    revoke.add_argument(
        "id", type=uuid_of("a key"), metavar="ID", help="its id, as `chat-api key list` shows it"
    )
    _finish(revoke, "revoke")


def key_command(options: argparse.Namespace) -> int:
    """Run the chosen action. Returns the exit status. Raises MisusedError, FailedError, SettingsError."""
    from chat_api.commands.key.actions import ACTIONS  # noqa: PLC0415 - serve needs no psycopg

    return print_result(ACTIONS[options.action], options)


def _finish(parser: argparse.ArgumentParser, action: str) -> None:
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(command=key_command, action=action)


def _text(text: str) -> str:
    if not text.strip() or not text.isprintable() or len(text) > 255:
        raise argparse.ArgumentTypeError(f"{text!r}: give a text in one line")
    return text.strip()


def _name(text: str) -> str:
    if len(_text(text)) > 100:
        raise argparse.ArgumentTypeError("give at most 100 characters")
    return _text(text)


def _scopes(text: str) -> list[str]:
    given = {each.strip() for each in text.split(",") if each.strip()}
    if not given or given - set(SCOPES):
        raise argparse.ArgumentTypeError(f"{text!r}: give one or more of {', '.join(SCOPES)}, by commas")
    return [each for each in SCOPES if each in given]


def _days(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 3650:
        raise argparse.ArgumentTypeError(f"{text!r}: give a number of days from 1 to 3650")
    return int(text)
