"""The command line: parse it, run the command, return its exit status."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence

from chat_api import __version__
from chat_api.commands.budget.arguments import add_budget_command
from chat_api.commands.data.arguments import add_data_commands
from chat_api.commands.dev import add_dev_command
from chat_api.commands.docs import add_docs_command
from chat_api.commands.errors import INTERRUPTED, MISUSED, FailedError, MisusedError, fail
from chat_api.commands.hold.arguments import add_hold_command
from chat_api.commands.key.arguments import add_key_command
from chat_api.commands.migrate import add_migrate_command
from chat_api.commands.models.arguments import add_models_command
from chat_api.commands.serve import add_serve_command
from chat_api.commands.sql.arguments import add_sql_command
from chat_api.commands.standard_streams import open_closed_streams
from chat_api.settings import SettingsError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command. Returns its exit status: 0, 1 (failed), 2 (usage or settings) or the command's own."""
    open_closed_streams()
    options = make_parser().parse_args(arguments)
    command: Callable[[argparse.Namespace], int] = options.command
    try:
        return command(options)
    except (SettingsError, MisusedError) as error:
        return fail(str(error), MISUSED)
    except FailedError as error:
        return fail(str(error))
    except KeyboardInterrupt:
        return INTERRUPTED


def make_parser() -> argparse.ArgumentParser:
    """Make the parser for all commands. Its option `command` is the function that runs the chosen one."""
    parser = argparse.ArgumentParser(
        prog="chat-api",
        description="The chat backend between the browser and the model.",
        epilog="Settings come from the environment and from .env; `chat-api docs settings` lists them.",
    )
    parser.add_argument("--version", action="version", version=f"chat-api {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    add_dev_command(commands)
    add_serve_command(commands)
    add_migrate_command(commands)
    add_models_command(commands)
    add_sql_command(commands)
    add_data_commands(commands)
    add_budget_command(commands)
    add_hold_command(commands)
    add_key_command(commands)
    add_docs_command(commands)
    return parser
