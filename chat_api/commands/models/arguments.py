"""The arguments of `chat-api models`. Every command loads this module, so it imports no aiohttp."""

from __future__ import annotations

import argparse
from typing import Any

from chat_api.commands.output import print_result


def add_models_command(commands: Any) -> None:
    """Add `models` to argparse's subparsers."""
    parser = commands.add_parser(
        "models",
        help="check the model servers and their models",
        description="Check the model servers and models that MODELS_FILE names, or, without it, the one "
        "server of INFERENCE_SERVICE_URL.",
        epilog="docs/models.md describes MODELS_FILE.",
    )
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)
    check = actions.add_parser(
        "check",
        help="ask each server for its list, and each model for a first token; exit status 1 if any fails",
        description="Ask each server for its list of models, and each model for an answer on each of its "
        "servers, which is stopped at its first token. Prints a table: what the server is asked for, whether "
        "it lists that, how long the first token took, and in a sentence what failed. Servers are asked at "
        "once, the models of one server one after the other, each for at most its time-outs. Needs no "
        "database. The exit status is 1 if anything failed, and 2 if MODELS_FILE or a setting can't be used.",
    )
    check.add_argument("--json", action="store_true", help="print JSON")
    check.set_defaults(command=models_command)


def models_command(options: argparse.Namespace) -> int:
    """Check the models. Returns the exit status. Raises FailedError, SettingsError."""
    from chat_api.commands.models.report import check_models  # noqa: PLC0415 - serve needs none of it

    return print_result(check_models, options)
