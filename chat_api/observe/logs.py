"""Logging: one event a line, JSON for machines or text for people, with the request's ids in every line."""

from __future__ import annotations

import contextlib
import json
import logging
import sys
from types import TracebackType
from typing import Any

import orjson
import structlog
from aiohttp.http_exceptions import HttpProcessingError
from structlog.typing import EventDict, Processor

from chat_api.settings import Settings

log = structlog.get_logger(__name__)


def configure_logging(settings: Settings) -> None:
    """Send this service's and its libraries' log lines to stderr, in the form that the settings ask for.

    The service's own lines don't pass the standard library's logging, which takes longer to make one than a
    request takes for all the rest.
    """
    text = settings.log_format == "text" or (settings.log_format == "auto" and sys.stderr.isatty())
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    ending: list[Processor] = (
        # Not the default: where the library rich is installed, it shows variables, and tokens are among them.
        [
            structlog.dev.ConsoleRenderer(
                colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback
            )
        ]
        if text
        else [structlog.processors.format_exc_info, structlog.processors.JSONRenderer(serializer=_json)]
    )
    structlog.configure(
        processors=[*shared, *ending],
        logger_factory=_Lines,
        wrapper_class=structlog.make_filtering_bound_logger(settings.log_level),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *ending],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(settings.log_level)
    logging.getLogger("aiohttp.server").addFilter(_without_bytes)
    if settings.log_level != "DEBUG":
        logging.getLogger("asyncio").setLevel(logging.WARNING)
    logging.captureWarnings(True)
    sys.excepthook = _crashed


class _Lines:
    """Writes each line at once: a worker that is killed has said what it knew."""

    def __init__(self, name: str) -> None:
        self.name = name  # for add_logger_name

    def msg(self, line: str) -> None:
        """Write a line to stderr; where nobody takes it (a broken pipe, a full disk), the work goes on."""
        with contextlib.suppress(OSError, ValueError):  # it may be closed, too
            sys.stderr.write(f"{line}\n")
            sys.stderr.flush()

    debug = info = warning = error = critical = exception = msg


def _crashed(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """What ends the process is an event in one line, too."""
    if issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, trace)
    else:
        log.critical("crashed", exc_info=(kind, error, trace))


def _without_bytes(record: logging.LogRecord) -> bool:
    """aiohttp logs a request that is no HTTP as its own failure, with the bytes: a token may be there."""
    if record.exc_info and isinstance(record.exc_info[1], HttpProcessingError):
        record.levelno, record.levelname = logging.INFO, "INFO"
        record.msg, record.exc_info = "a request from %s is no HTTP", None
    return True


def _json(event: EventDict, **_: Any) -> str:
    try:
        return orjson.dumps(event, default=str).decode()
    except (
        orjson.JSONEncodeError
    ):  # half a surrogate pair, as in a file's name that is no UTF-8; a large number
        return json.dumps(event, default=str)
