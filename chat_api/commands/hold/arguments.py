"""The arguments of `chat-api hold`. Every command loads this module, so it imports no psycopg."""

from __future__ import annotations

import argparse
from typing import Any

from chat_api.commands.ids import uuid_of
from chat_api.commands.output import print_result


def add_hold_command(commands: Any) -> None:
    """Add `hold` to argparse's subparsers. Its option `action` is a name in ACTIONS."""
    hold = commands.add_parser(
        "hold",
        help="keep what a court wants kept: legal holds",
        description="Set, list and lift legal holds. What is held stays, whoever deletes: users, retention, "
        "`chat-api user delete`. Only the owner of the tables sets and lifts holds.",
        epilog="docs/operations/retention.md has the details, and shows how to do the same with psql.",
    )
    actions = hold.add_subparsers(title="actions", metavar="ACTION", required=True)

    put = actions.add_parser(
        "set",
        help="keep a conversation, or all of a user's",
        description="Set a hold. It counts for every deletion that begins afterwards, and brings nothing "
        "back. What is named needn't exist yet. If it is held already, nothing changes, and the exit status "
        "is 1.",
    )
    _add_subject(
        put,
        conversation="keep this conversation, with all versions of its messages",
        user="keep all of this user's, later ones too",
    )
    put.add_argument(
        "--reason", type=_said, required=True, metavar="TEXT", help="why, such as the number of a file"
    )
    put.add_argument(
        "--by", type=_said, metavar="NAME", help="who wants it so (default: the role of DATABASE_URL)"
    )
    _finish(put, "set")

    _finish(actions.add_parser("list", help="list the holds", description="List all holds."), "list")

    lift = actions.add_parser(
        "lift",
        help="lift a hold",
        description="Lift a hold. From then on, what it kept may be deleted, and what is due goes with the "
        "next sweep, unless another hold keeps it.",
    )
    _add_subject(lift, conversation="the hold on this conversation", user="the hold on all of this user's")
    _finish(lift, "lift")


def hold_command(options: argparse.Namespace) -> int:
    """Run the chosen action. Returns the exit status. Raises FailedError, SettingsError."""
    from chat_api.commands.hold.actions import ACTIONS  # noqa: PLC0415 - serve needs no psycopg

    return print_result(ACTIONS[options.action], options)


def _add_subject(parser: argparse.ArgumentParser, *, conversation: str, user: str) -> None:
    subject = parser.add_mutually_exclusive_group(required=True)
    subject.add_argument("--conversation", type=uuid_of("a conversation"), metavar="UUID", help=conversation)
    subject.add_argument("--user", type=uuid_of("a user"), metavar="UUID", help=user)


def _finish(parser: argparse.ArgumentParser, action: str) -> None:
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(command=hold_command, action=action)


def _said(text: str) -> str:
    if not text.strip() or not text.isprintable():
        raise argparse.ArgumentTypeError(f"{text!r}: give a text in one line")
    return text.strip()
