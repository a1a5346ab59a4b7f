"""`chat-api sql` on the command line. Loaded with every command, so it knows nothing of the database."""

from __future__ import annotations

import argparse
from typing import Any

from chat_api.commands.numbers import whole_number
from chat_api.commands.output import print_result

LONGEST_SECONDS = 86_400


def add_sql_command(commands: Any) -> None:
    """Add `sql` to argparse's subparsers; the option `action` is a name in ACTIONS."""
    parser = commands.add_parser(
        "sql",
        help="for DBAs: list, show, check and explain the queries",
        description="Look at the named queries that the service sends, and at how they fit the database.",
        epilog="sql/README.md explains how to read a query, and how to run one with psql.",
    )
    parser.set_defaults(command=sql_command)
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)

    every = _action(actions, "list", "all queries: name, place, callers, how often, and what each does")
    every.description = (
        "List all queries, two lines each: name, file and line, modules that call it; what it does."
    )

    show = _action(actions, "show", "one query as its file has it, and how to run it with psql")
    show.add_argument("name", metavar="NAME", help="such as generations.stop")

    check = _action(actions, "check", "whether the database fits the queries; exit status 1 if not")
    check.description = (
        "Prepare every query against DATABASE_URL, and compare columns, indexes and constraints with those "
        "that the migrations make. Changes nothing. Prints a line for each "
        "difference; then the exit status is 1."
    )

    explain = _action(actions, "explain", "a query's plan and buffers on the real data")
    explain.description = (
        "Execute a query on DATABASE_URL with parameters drawn from its data, in a transaction that is "
        "rolled back, and show the plan and the buffers. Nothing is kept, nobody is notified; rows that it "
        "writes are locked for that moment."
    )
    explain.add_argument("name", metavar="NAME", help="such as conversations.page")
    explain.add_argument(
        "--param",
        action="append",
        default=[],
        metavar="name=value",
        help="a parameter's value instead of a sample; null is SQL's null; may be repeated",
    )
    explain.add_argument(
        "--timeout",
        type=whole_number(1, LONGEST_SECONDS, what="seconds,"),
        default=30,
        metavar="SECONDS",
        help="when to give up, in seconds (default: %(default)s)",
    )
    explain.add_argument(
        "--generic",
        action="store_true",
        help="the plan for any values, as PostgreSQL may choose after five calls",
    )


def sql_command(options: argparse.Namespace) -> int:
    """Run the chosen action; the exit status. Raises MisusedError, FailedError, SettingsError."""
    from chat_api.commands.sql.actions import ACTIONS  # noqa: PLC0415 - serve needs no psycopg

    return print_result(ACTIONS[options.action], options)


def _action(actions: Any, name: str, text: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = actions.add_parser(name, help=text, description=f"Show {text}.")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(action=name)
    return parser
