"""The arguments of `chat-api migrate`. Every command loads this module, so it imports no psycopg."""

from __future__ import annotations

import argparse
import sys
from typing import Any

import orjson

from chat_api.commands.errors import FailedError, warn
from chat_api.commands.numbers import whole_number
from chat_api.commands.output import discard_output, print_result
from chat_api.migrate.newer_schema import FLAG, explain_newer, with_flag
from chat_api.settings import Settings, load_settings

PENDING = 3
LONGEST_WAIT = 86_400
MOST_AT_ONCE = 9_999


def add_migrate_command(commands: Any) -> None:
    """Add `migrate` to argparse's subparsers. Its option `action` is one of the functions below."""
    parser = commands.add_parser(
        "migrate",
        help="bring the database's schema up to date",
        description="Bring the schema of DATABASE_URL up to date, as the role that owns it. If SERVICE_ROLE "
        "is set, give that role the rights that the service needs. It is safe to run several at once, and "
        "to run it while this release or the previous one is serving. A database that a later release has "
        "migrated is left alone. Your own migrations in MIGRATIONS_DIR come after the release's.",
        epilog="docs/operations/upgrades-and-backups.md explains how to replace a release with the next one.",
    )
    parser.set_defaults(command=migrate_command, action=_apply)
    _add_apply_options(parser, wait=0, allow=False)
    actions = parser.add_subparsers(title="actions", metavar="ACTION")

    apply = actions.add_parser(
        "apply",
        help="apply the pending migrations (the default)",
        description="Apply the pending migrations, in order.",
    )
    # The same two options after the action. SUPPRESS keeps a value that was given before it.
    _add_apply_options(apply, wait=argparse.SUPPRESS, allow=argparse.SUPPRESS)
    apply.set_defaults(action=_apply)

    status = actions.add_parser(
        "status",
        help="show which migrations are applied, which are pending, and what those will lock",
        description="Show which migrations are applied. For each pending one, show which tables it locks and "
        "how, how much of the current data it reads, what waits meanwhile, when it gives up, and what going "
        "back does to the data, where it does something. Changes "
        "nothing. Exit status: 0 if nothing is pending, 3 if something is, 1 if the status can't be read or "
        "a later release has migrated the database.",
    )
    status.add_argument("--json", action="store_true", help="print JSON")
    status.set_defaults(action=_status)

    rollback = actions.add_parser(
        "rollback",
        help="roll back the newest migrations (by default, one)",
        description="Roll back the newest migrations. Conversations and messages stay; the first lines of "
        "each .rollback.sql say what is lost. Stop the newer release's servers first. Your own migrations in "
        "MIGRATIONS_DIR are among them, by the time at which they were applied.",
    )
    rollback.add_argument(
        "--count",
        type=whole_number(1, MOST_AT_ONCE),
        default=1,
        help="how many to roll back (default: %(default)s)",
    )
    rollback.set_defaults(action=_rollback)


def _add_apply_options(parser: argparse.ArgumentParser, *, wait: Any, allow: Any) -> None:
    parser.add_argument(
        "--wait",
        type=whole_number(0, LONGEST_WAIT, what="seconds,"),
        default=wait,
        metavar="SECONDS",
        help="how long to keep trying while another transaction holds a lock (default: 0, a single try)",
    )
    parser.add_argument(
        FLAG,
        action="store_true",
        default=allow,
        help="continue even if a later release has migrated the database",
    )


def migrate_command(options: argparse.Namespace) -> int:
    """Run the chosen action. Returns the exit status. Raises FailedError, SettingsError."""
    return print_result(_run, options)


def _run(options: argparse.Namespace) -> int:
    from chat_api.migrate.errors import NewerSchemaError  # noqa: PLC0415 - serve needs no yoyo
    from chat_api.postgres.session import SessionError  # noqa: PLC0415

    try:
        return int(options.action(load_settings(), options))
    except NewerSchemaError as error:
        raise FailedError(with_flag(str(error)) if options.action is _apply else str(error)) from error
    except SessionError as error:
        raise FailedError(str(error)) from error


def _apply(settings: Settings, options: argparse.Namespace) -> int:
    from chat_api.migrate.apply import apply_migrations, grant_rights  # noqa: PLC0415

    role = settings.service_role
    done = apply_migrations(
        settings.database_url,
        role,
        local=settings.migrations_dir,
        wait_seconds=options.wait,
        allow_newer=options.allow_newer_schema,
        warn=warn,
        on_done=lambda name: _say(f"applied {name}"),
    )
    if not done:
        _say("nothing to apply")
    for statement in grant_rights(settings.database_url, role) if role else ():
        _say(f"done: {statement}")
    return 0


def _rollback(settings: Settings, options: argparse.Namespace) -> int:
    from chat_api.migrate.apply import rollback_migrations  # noqa: PLC0415

    if not rollback_migrations(
        settings.database_url,
        options.count,
        local=settings.migrations_dir,
        warn=warn,
        on_done=lambda name: _say(f"rolled back {name}"),
    ):
        _say("nothing to roll back")
    return 0


def _status(settings: Settings, options: argparse.Namespace) -> int:
    from chat_api.migrate.report import as_json, as_text, read_report  # noqa: PLC0415

    report = read_report(settings.database_url, settings.migrations_dir)
    if options.json:
        text = orjson.dumps(as_json(report), option=orjson.OPT_INDENT_2).decode()
        sys.stdout.write(f"{text}\n")
    else:
        sys.stdout.writelines(f"{line}\n" for line in as_text(report))
    if newer := report.of("newer"):
        raise FailedError(explain_newer(newer))
    return PENDING if report.of("pending") else 0


def _say(line: str) -> None:
    """Write a line and flush it, so that it comes before a later failure on stderr."""
    try:
        sys.stdout.write(f"{line}\n")
        sys.stdout.flush()
    except BrokenPipeError:  # the reader has left; the work is still done
        discard_output()
