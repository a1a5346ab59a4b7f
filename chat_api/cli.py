"""The commands: dev, serve, migrate and those for DBAs. Exit status 0, 1 (failed), 2 (usage or settings)."""

from __future__ import annotations

import argparse
import asyncio
import errno
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from chat_api import __version__
from chat_api.commands.data.arguments import add_data_commands
from chat_api.commands.sql.arguments import add_sql_command
from chat_api.migrate.newer_schema import FLAG
from chat_api.migrate_command import add_migrate_command
from chat_api.migrate_command import run as run_migrate
from chat_api.settings import SettingsError, load_settings

FAILED, MISUSED = 1, 2
DISK_TROUBLE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)
UNREAD = 128 + 13  # as a shell tells that SIGPIPE ended a command


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; its exit status."""
    options = _parser().parse_args(arguments)
    command: Callable[[argparse.Namespace], int] = options.command
    try:
        return command(options)
    except SettingsError as error:
        return _fail(str(error), MISUSED)
    except KeyboardInterrupt:
        return 130


def _dev(options: argparse.Namespace) -> int:
    from chat_api.dev.stack import DevOptions, run  # noqa: PLC0415 - nothing but this command knows of it

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


def _serve(options: argparse.Namespace) -> int:
    from chat_api.observe.logs import configure_logging  # noqa: PLC0415
    from chat_api.serving.listeners import ServeError  # noqa: PLC0415 - the others start without a server's weight

    settings = load_settings()
    configure_logging(settings)
    from chat_api.serving.schema_guard import SchemaGuard  # noqa: PLC0415

    where = {
        "host": options.host,
        "port": options.port,
        "unix_socket": options.unix_socket,
        "guard": None if options.allow_newer_schema else SchemaGuard(settings),
    }
    try:
        if options.workers > 1:
            from chat_api.serving.supervisor import supervise  # noqa: PLC0415 - which knows nothing of the server

            return supervise(options.workers, settings.drain_seconds, **where)
        from chat_api.serving.server import run, serve  # noqa: PLC0415

        run(serve(settings, **where))
    except ServeError as error:
        return _fail(str(error))
    return 0


def _sql(options: argparse.Namespace) -> int:
    from chat_api.commands.sql.actions import ACTIONS  # noqa: PLC0415 - serve needs no psycopg

    return _act(ACTIONS[options.action], options)


def _data(options: argparse.Namespace) -> int:
    from chat_api.commands.data.actions import ACTIONS  # noqa: PLC0415 - serve needs no psycopg

    return _act(ACTIONS[options.action], options)


def _migrate(options: argparse.Namespace) -> int:
    return _act(run_migrate, options)


def _act(action: Callable[[argparse.Namespace], int], options: argparse.Namespace) -> int:
    from chat_api.commands.errors import FailedError, MisusedError  # noqa: PLC0415

    try:
        status = action(options)
        sys.stdout.flush()
        return status
    except BrokenPipeError:  # `| head`, or a pager that was left; the interpreter's end would complain too
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return UNREAD
    except OSError as error:
        if error.errno not in DISK_TROUBLE:
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _fail(f"cannot write all of it to the standard output: {error.strerror}")
    except MisusedError as error:
        return _fail(str(error), MISUSED)
    except FailedError as error:
        return _fail(str(error))


def _fail(reason: str, status: int = FAILED) -> int:
    sys.stderr.write("".join(f"chat-api: {line}\n" for line in reason.splitlines()))
    return status


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 0 < int(text) < 65536):
        raise argparse.ArgumentTypeError(f"{text!r} is no port: give a number from 1 to 65535")
    return int(text)


def _count(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) > 0):
        raise argparse.ArgumentTypeError(f"{text!r} is no count: give a number from 1 on")
    return int(text)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="chat-api",
        description="The chat backend between the browser and the model.",
        epilog="Settings come from the environment and .env: see the README's table.",
    )
    parser.add_argument("--version", action="version", version=f"chat-api {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    dev = commands.add_parser(
        "dev",
        help="everything on this machine: database, model, sign-in and server",
        description="Run everything on this machine, nothing else installed: PostgreSQL, migrations, a local "
        "model, a development auth service and the server. Prints the web page's address, a token and a "
        "curl line.",
        epilog="Takes BASE_PATH, FRONTEND_URL and LOG_LEVEL, with --inference-url also INFERENCE_API_KEY, "
        "INFERENCE_MODEL and INTERNAL_API_KEY, and says which other settings it ignores.",
    )
    dev.add_argument("--port", type=_port, default=8002, help="port of the server (default: %(default)s)")
    dev.add_argument(
        "--data-dir",
        type=Path,
        default=Path(".chat-api"),
        metavar="DIR",
        help="where data stays (default: %(default)s)",
    )
    dev.add_argument(
        "--inference-url", metavar="URL", help="use this model server instead of the local model"
    )
    dev.add_argument("--reset", action="store_true", help="begin with an empty database")
    dev.set_defaults(command=_dev)

    serve = commands.add_parser(
        "serve",
        help="the server, from the environment",
        description="Run the server with the environment's settings. SIGTERM and SIGINT let running answers "
        "finish (DRAIN_SECONDS), a second one ends it at once.",
    )
    where = serve.add_argument_group("where it listens")
    where.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    where.add_argument("--port", type=_port, default=8002, help="port to listen on (default: %(default)s)")
    where.add_argument("--unix-socket", type=Path, metavar="PATH", help="listen on this unix socket instead")
    serve.add_argument(
        "--workers",
        type=_count,
        default=1,
        metavar="N",
        help="processes that share the work, one for each core; those that die are started again, and SIGHUP "
        "restarts one after the other (default: %(default)s)",
    )
    serve.add_argument(
        FLAG,
        action="store_true",
        help="start also where a later release has migrated the database, as its release notes may allow: "
        "for restarts of the old release in the middle of a rolling upgrade",
    )
    serve.set_defaults(command=_serve)

    add_migrate_command(commands, _migrate)
    add_sql_command(commands, _sql)
    add_data_commands(commands, _data)
    return parser
