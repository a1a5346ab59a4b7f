"""`chat-api dev`: run the whole stack on this machine."""

from __future__ import annotations

import argparse
import asyncio
from pathlib import Path
from typing import Any

from chat_api.commands.numbers import whole_number


def add_dev_command(commands: Any) -> None:
    """Add the command `dev` to argparse's subparsers."""
    parser = commands.add_parser(
        "dev",
        help="run everything on this machine: database, model, sign-in and server",
        description="Run everything on this machine, with nothing else to install: PostgreSQL, migrations, a "
        "local model, a development auth service and the server. Prints the web page's URL, a token and a "
        "curl command.",
        epilog="The command takes BASE_PATH, FRONTEND_URL and LOG_LEVEL from the environment, and with "
        "--inference-url also INTERNAL_API_KEY, INFERENCE_ADD, INFERENCE_API_KEY, INFERENCE_CONTEXT_TOKENS, "
        "INFERENCE_MAX_TOKENS_FIELD, INFERENCE_MODEL and INFERENCE_OMIT. It ignores all other settings, "
        "and names those that are set.",
    )
    parser.add_argument(
        "--port",
        type=whole_number(1, 65535, what="a port"),
        default=8002,
        help="port of the server (default: %(default)s)",
    )
    parser.add_argument(
        "--data-dir",
        type=Path,
        default=Path(".chat-api"),
        metavar="DIR",
        help="where the data is kept (default: %(default)s)",
    )
    parser.add_argument(
        "--inference-url", metavar="URL", help="use this model server instead of the local model"
    )
    parser.add_argument("--reset", action="store_true", help="start with an empty database")
    parser.set_defaults(command=dev_command)


def dev_command(options: argparse.Namespace) -> int:
    """Run the stack until a signal ends it. Returns the exit status."""
    from chat_api.dev.stack import DevOptions, run  # noqa: PLC0415 - only this command needs the stack

    return asyncio.run(
        run(
            DevOptions(
                port=options.port,
                data_dir=options.data_dir,
                inference_url=options.inference_url,
                reset=options.reset,
            )
        )
    )
