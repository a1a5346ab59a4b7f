"""The arguments of `user` and `retention`. Every command loads this module, so it imports no psycopg."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from chat_api.commands.ids import uuid_of
from chat_api.commands.numbers import whole_number
from chat_api.commands.output import print_result

MOST_DAYS = 36_500


def add_data_commands(commands: Any) -> None:
    """Add `user` and `retention` to argparse's subparsers. Their option `action` is a name in ACTIONS."""
    user = commands.add_parser(
        "user",
        help="export or delete everything that is stored about one user",
        description="Export or delete everything that the database holds about one user: conversations, "
        "messages, records of answers. The account itself belongs to the auth service.",
        epilog="docs/operations/retention.md has the details, and shows how to do the same with psql.",
    )
    actions = user.add_subparsers(title="actions", metavar="ACTION", required=True)

    export = actions.add_parser(
        "export",
        help="write everything as JSON Lines",
        description="Write everything that is stored about a user as UTF-8 JSON Lines. Each line is an "
        'object with a "type". Conversations come oldest first; each is followed by its messages and then '
        'by the records of its answers (type "generation"). At last comes what the user used (type "usage"). '
        "If nothing is stored about the user, nothing is written, and the exit status is 0. If the user "
        "doesn't have the conversation that --conversation names, it is 1, and there is no file.",
    )
    _add_user(export)
    export.add_argument(
        "--output",
        type=Path,
        metavar="FILE",
        help="write to this file instead of standard output, and print how much was written; the file "
        "appears when it is complete, is readable only by its owner, and replaces any existing file of that "
        "name",
    )
    export.add_argument(
        "--conversation",
        type=uuid_of("a conversation"),
        metavar="UUID",
        help="export this conversation of the user only",
    )
    export.add_argument("--json", action="store_true", help="with --output: print the counts as JSON")
    export.set_defaults(command=data_command, action="export")

    bring_back = actions.add_parser(
        "import",
        help="import what export wrote",
        description="Add the conversations of an export that the user doesn't have, each with its messages, "
        "versions and records of answers, in a transaction of its own, and the rows of usage, which count in "
        "the budgets of the current periods. What is there stays as it is, so importing twice is the same as "
        "once. A line that can't be imported is named, and ends the "
        "import with exit status 1; the conversations before it are imported. Needs the rights of the owner "
        "of the tables.",
    )
    _add_user(bring_back)
    bring_back.add_argument("file", type=Path, metavar="FILE", help="the export")
    bring_back.add_argument("--json", action="store_true", help="print the counts as JSON")
    bring_back.set_defaults(command=data_command, action="import")

    delete = actions.add_parser(
        "delete",
        help="delete everything for good",
        description="Delete everything that is stored about a user, and print how much was deleted. "
        "Answers that are being written are stopped first. Safe to run again: it deletes whatever has been "
        "added since. Revoke the user's access in the auth service first, because anything that they send "
        "afterwards is stored as usual.",
    )
    _add_user(delete)
    delete.add_argument(
        "--yes", action="store_true", help="don't ask for confirmation; required when there is no terminal"
    )
    delete.add_argument("--json", action="store_true", help="print the counts as JSON")
    delete.set_defaults(command=data_command, action="delete")

    days = whole_number(0, MOST_DAYS, what="a number of days")
    retention = commands.add_parser(
        "retention",
        help="count what RETENTION_DAYS and GENERATION_DAYS would delete now",
        description="Count what retention would delete now, with the environment's settings or those given "
        "as options. Deletes nothing: the service deletes once an hour, if its settings say so.",
    )
    retention.add_argument("--days", type=days, help="use this instead of RETENTION_DAYS (0: never)")
    retention.add_argument(
        "--generation-days", type=days, metavar="DAYS", help="use this instead of GENERATION_DAYS (0: never)"
    )
    retention.add_argument(
        "--favourites", choices=("keep", "delete"), help="use this instead of RETENTION_FAVOURITES"
    )
    retention.add_argument("--json", action="store_true", help="print JSON")
    retention.set_defaults(command=data_command, action="retention")


def data_command(options: argparse.Namespace) -> int:
    """Run the chosen action. Returns the exit status. Raises MisusedError, FailedError, SettingsError."""
    from chat_api.commands.data.actions import ACTIONS  # noqa: PLC0415 - serve needs no psycopg

    return print_result(ACTIONS[options.action], options)


def _add_user(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "user_id", type=uuid_of("a user"), metavar="UUID", help="the user's id in the auth service"
    )
