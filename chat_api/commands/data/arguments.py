"""The commands on the command line. Loaded with every other one, so it knows nothing of the database."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any
from uuid import UUID

from chat_api.commands.numbers import whole_number
from chat_api.commands.output import print_result

MOST_DAYS = 36_500


def add_data_commands(commands: Any) -> None:
    """Add `user` and `retention` to argparse's subparsers; the option `action` is a name in ACTIONS."""
    user = commands.add_parser(
        "user",
        help="everything that is stored about one user: export it, delete it",
        description="Export or delete everything that the database holds about one user: conversations, "
        "messages, records of answers. The account itself belongs to the auth service.",
        epilog="docs/operations/retention.md says more, and shows how to do the same with psql.",
    )
    actions = user.add_subparsers(title="actions", metavar="ACTION", required=True)

    export = actions.add_parser(
        "export",
        help="write everything as JSON Lines",
        description="Write everything that is stored about a user as UTF-8 JSON Lines, one object a line, "
        'with its "type": each conversation, oldest first, then its messages, then the records of its '
        "answers (generation). If nothing is stored, nothing is written, and the exit status is 0.",
    )
    _add_user(export)
    export.add_argument(
        "--output",
        type=Path,
        metavar="FILE",
        help="write to this file instead of the standard output, and print how much; the file appears when "
        "it is complete, readable only by its owner, and replaces one of that name",
    )
    export.add_argument("--json", action="store_true", help="with --output: print how much as JSON")
    export.set_defaults(command=data_command, action="export")

    delete = actions.add_parser(
        "delete",
        help="delete everything, for good",
        description="Delete everything that is stored about a user, and print how much it was. Answers "
        "that are being written are stopped first. Safe to repeat: then there is nothing to delete. End the "
        "user's sign-in first: anything that they send afterwards is stored as usual.",
    )
    _add_user(delete)
    delete.add_argument("--yes", action="store_true", help="don't ask; required where there is no terminal")
    delete.add_argument("--json", action="store_true", help="print how much as JSON")
    delete.set_defaults(command=data_command, action="delete")

    days = whole_number(0, MOST_DAYS, what="a number of days")
    retention = commands.add_parser(
        "retention",
        help="what RETENTION_DAYS and GENERATION_DAYS would delete now",
        description="Count what retention would delete now, with the environment's settings or others. "
        "Deletes nothing: the service does that, once an hour, where its settings say so.",
    )
    retention.add_argument("--days", type=days, help="instead of RETENTION_DAYS; 0: never")
    retention.add_argument("--generation-days", type=days, metavar="DAYS", help="instead of GENERATION_DAYS")
    retention.add_argument("--favourites", choices=("keep", "delete"), help="instead of RETENTION_FAVOURITES")
    retention.add_argument("--json", action="store_true", help="print JSON")
    retention.set_defaults(command=data_command, action="retention")


def data_command(options: argparse.Namespace) -> int:
    """Run the chosen action; the exit status. Raises MisusedError, FailedError, SettingsError."""
    from chat_api.commands.data.actions import ACTIONS  # noqa: PLC0415 - serve needs no psycopg

    return print_result(ACTIONS[options.action], options)


def _add_user(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "user_id", type=_uuid, metavar="UUID", help="the user's id, as the auth service has it"
    )


def _uuid(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r} isn't a user id: give a UUID such as 00000000-0000-4000-8000-000000000001"
        ) from None
