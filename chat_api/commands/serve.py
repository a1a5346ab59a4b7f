"""`chat-api serve`: run the server with the environment's settings."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from chat_api.commands.errors import FailedError
from chat_api.commands.numbers import whole_number
from chat_api.migrate.newer_schema import FLAG
from chat_api.settings import Settings, contradicting_names, load_settings


def add_serve_command(commands: Any) -> None:
    """Add the command `serve` to argparse's subparsers."""
    parser = commands.add_parser(
        "serve",
        help="run the server, with the environment's settings",
        description="Run the server with the environment's settings. SIGTERM and SIGINT give running answers "
        "DRAIN_SECONDS to finish; a second signal ends the server at once.",
    )
    where = parser.add_argument_group("address")
    where.add_argument(
        "--host", default="127.0.0.1", help="host name or IP address to listen on (default: %(default)s)"
    )
    where.add_argument(
        "--port",
        type=whole_number(1, 65535, what="a port"),
        default=8002,
        help="port to listen on (default: %(default)s)",
    )
    where.add_argument("--unix-socket", type=Path, metavar="PATH", help="listen on this unix socket instead")
    parser.add_argument(
        "--workers",
        type=whole_number(1, what="a number of processes,"),
        default=1,
        metavar="N",
        help="number of worker processes; one per core is a good choice. A worker that dies is restarted, "
        "and SIGHUP restarts the workers one by one (default: %(default)s)",
    )
    parser.add_argument(
        FLAG,
        action="store_true",
        help="start even if a later release has migrated the database; for restarts of the old release "
        "during a rolling upgrade, if the release notes allow it",
    )
    parser.set_defaults(command=serve_command)


def serve_command(options: argparse.Namespace) -> int:
    """Serve until a signal ends it. Returns the exit status. Raises FailedError, SettingsError."""
    from chat_api.observe.logs import configure_logging  # noqa: PLC0415 - only this command needs it
    from chat_api.serving.listeners import ServeError  # noqa: PLC0415
    from chat_api.settings.models import load_catalogue  # noqa: PLC0415

    settings = load_settings()
    load_catalogue(settings)  # a mistake in MODELS_FILE is told now, and not by each worker
    configure_logging(settings)
    _warn_of_contradictions(settings)
    from chat_api.serving.schema_guard import SchemaGuard  # noqa: PLC0415 - its logger needs configuring

    where = {
        "host": options.host,
        "port": options.port,
        "unix_socket": options.unix_socket,
        "guard": SchemaGuard(settings, allows_newer=options.allow_newer_schema),
    }
    try:
        if options.workers > 1:
            from chat_api.serving.supervisor import supervise  # noqa: PLC0415 - it doesn't load the server

            return supervise(options.workers, settings.drain_seconds, **where)
        from chat_api.serving.server import run, serve  # noqa: PLC0415

        run(serve(settings, **where))
    except ServeError as error:
        raise FailedError(str(error)) from error
    return 0


def _warn_of_contradictions(settings: Settings) -> None:
    import structlog  # noqa: PLC0415 - only this command needs it

    from chat_api.settings.models.file import REPLACED  # noqa: PLC0415

    log = structlog.get_logger(__name__)
    for own, theirs in contradicting_names():
        log.warning("setting_ignored", setting=theirs, reason=f"{own} says something else, and counts")
    if settings.models_file:
        for name in REPLACED:
            if name in settings.model_fields_set:
                log.warning("setting_ignored", setting=name.upper(), reason="MODELS_FILE says it, and counts")
