"""The arguments of `chat-api sql`. Every command loads this module, so it imports no psycopg."""

from __future__ import annotations

import argparse
from typing import Any

from chat_api.commands.numbers import whole_number
from chat_api.commands.output import print_result

LONGEST_SECONDS = 86_400
MOST_PERCENT = 10_000


def add_sql_command(commands: Any) -> None:
    """Add `sql` to argparse's subparsers. Its option `action` is a name in ACTIONS."""
    parser = commands.add_parser(
        "sql",
        help="for DBAs: the queries, and the state of the database",
        description="Show and change the named queries that the service sends, check whether the database "
        "fits them, and look at its state.",
        epilog="sql/README.md explains how to read a query, and how to run one with psql.",
    )
    parser.set_defaults(command=sql_command)
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)

    every = _action(
        actions, "list", "list all queries: name, file and line, callers, how often each runs, what it does"
    )
    every.description = (
        "List all queries, two lines each: first the query's name, its file and line, the modules that call "
        "it and how often it runs; then what it does."
    )

    show = _action(
        actions, "show", "show a query exactly as written in its file, and how to run it with psql"
    )
    show.add_argument("name", metavar="NAME", help="name of a query, such as generations.stop")

    diff = _action(actions, "diff", "show what your own queries change; exit status 1 if anything")
    diff.description = (
        "Show the unified diff from the packaged query to the one in SQL_DIR, or of all that are there."
    )
    diff.add_argument("name", metavar="NAME", nargs="?", help="name of a query; without it, all own ones")

    copy = _action(actions, "copy", "copy a packaged query to SQL_DIR, to change it there")
    copy.description = (
        "Append a packaged query to the file of its name in SQL_DIR. From then on it is used instead. A line "
        "in its comment says of what it is a copy, so that `check` can say when a release changes that."
    )
    copy.add_argument("name", metavar="NAME", help="name of a query, such as generations.stop")

    check = _action(actions, "check", "check whether the database fits the queries; exit status 1 if not")
    check.description = (
        "Prepare every query against DATABASE_URL, and compare columns, indexes and constraints with those "
        "that the migrations make, and the parameters and columns of your own queries in SQL_DIR with those "
        "of the packaged ones. Changes nothing. Prints a line for each difference. If there is any, the exit "
        "status is 1."
    )

    explain = _action(actions, "explain", "show a query's plan and buffers on the real data")
    explain.description = (
        "Execute a query on DATABASE_URL with parameters drawn from its data, in a transaction that is "
        "rolled back, and show the plan and the buffers. Nothing is kept and nobody is notified. While it "
        "runs, the rows that it writes are locked."
    )
    explain.add_argument("name", metavar="NAME", help="name of a query, such as conversations.page")
    explain.add_argument(
        "--param",
        action="append",
        default=[],
        metavar="name=value",
        help="use this value instead of a sample; null means SQL NULL; may be repeated",
    )
    _add_timeout(explain, "give up after this time (default: %(default)s)")
    explain.add_argument(
        "--generic",
        action="store_true",
        help="show the generic plan, which PostgreSQL may switch to after five executions",
    )

    plans = _action(
        actions, "plans", "save all plans, or compare with saved ones; exit status 1 if something changed"
    )
    plans.description = (
        "Execute every query on DATABASE_URL as `explain` does, at typical and at the worst parameters that "
        "the data has, in its custom and its generic plan, and roll it back. Save the plans with the buffers "
        "that they touch, or report what differs from saved ones: a new sequential scan, another index, "
        "another plan, more buffers. If anything does, or a query fails, the exit status is 1."
    )
    file = plans.add_mutually_exclusive_group(required=True)
    file.add_argument("--save", metavar="FILE", help="write the plans to this file")
    file.add_argument("--compare", metavar="FILE", help="compare with the plans in this file")
    plans.add_argument(
        "--tolerance",
        type=whole_number(0, MOST_PERCENT, what="percent,"),
        default=25,
        metavar="PERCENT",
        help="how many more buffers are no change, beside ten that never are (default: %(default)s)",
    )
    _add_timeout(plans, "give a query up after this time (default: %(default)s)")

    health = _action(
        actions, "health", "look for what slows the database down; exit status 1 if something is wrong"
    )
    health.description = (
        "Look at DATABASE_URL for unused, duplicate, half-built and sparse indexes, dead rows, old "
        "transactions, forgotten replication slots, WAL and the lag of standbys. Changes nothing. Prints a "
        "line for each, with what to do below it: ok, note (worth knowing), wrong, or unseen (this role or "
        "server can't tell). If anything is wrong, the exit status is 1."
    )

    describe = _action(actions, "describe", "write the data dictionary: each table, view and column")
    describe.description = (
        "Write what each table, view and column of DATABASE_URL is for, from the comments in the database, "
        "as Markdown. Needs no right on any table."
    )
    describe.add_argument(
        "--mermaid",
        action="store_true",
        help="write a diagram of the tables and their foreign keys (Mermaid)",
    )


def sql_command(options: argparse.Namespace) -> int:
    """Run the chosen action. Returns the exit status. Raises MisusedError, FailedError, SettingsError."""
    from chat_api.commands.sql.actions import ACTIONS  # noqa: PLC0415 - serve needs no psycopg

    return print_result(ACTIONS[options.action], options)


def _action(actions: Any, name: str, text: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = actions.add_parser(name, help=text, description=f"{text.capitalize()}.")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(action=name)
    return parser


def _add_timeout(parser: argparse.ArgumentParser, text: str) -> None:
    parser.add_argument(
        "--timeout",
        type=whole_number(1, LONGEST_SECONDS, what="seconds,"),
        default=30,
        metavar="SECONDS",
        help=text,
    )
