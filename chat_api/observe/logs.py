"""Logging: one event a line, as JSON or as text, with the request's ids in every line."""

from __future__ import annotations

import json
import logging
import sys
from types import TracebackType
from typing import Any

import orjson
import structlog
from aiohttp.http_exceptions import HttpProcessingError
from structlog.typing import EventDict, Processor

from chat_api.observe.lines import Lines, LoggerFactory
from chat_api.settings import Settings

log = structlog.get_logger(__name__)

SERVICE = "chat-api"


def configure_logging(settings: Settings) -> None:
    """Send this service's and its libraries' log lines to stderr, in the format that the settings ask for.

    The service's own lines bypass the standard library's logging. That would take longer for one line than
    everything else that a request needs.
    """
    lines = Lines()
    is_terminal = sys.stderr is not None and sys.stderr.isatty()
    text = settings.log_format == "text" or (settings.log_format == "auto" and is_terminal)
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    ending: list[Processor] = (
        # Not the default formatter: if the library rich is installed, it shows variables, including tokens.
        [structlog.dev.ConsoleRenderer(colors=is_terminal, exception_formatter=structlog.dev.plain_traceback)]
        if text
        else [
            _name_service,
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(serializer=_json),
        ]
    )
    structlog.configure(
        processors=[*shared, *ending],
        logger_factory=LoggerFactory(lines),
        wrapper_class=structlog.make_filtering_bound_logger(settings.log_level),
        cache_logger_on_first_use=True,
    )
    handler = _Handler(lines)
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


class _Handler(logging.Handler):
    """Writes each of the standard library's records as a line."""

    def __init__(self, lines: Lines) -> None:
        super().__init__()
        self._lines = lines

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record."""
        try:
            self._lines.write(self.format(record))
        except Exception:  # as the standard library's handlers do
            self.handleError(record)


def _crashed(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Log an exception that ends the process as one event, too."""
    if issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, trace)
    else:
        log.critical("crashed", exc_info=(kind, error, trace))


def _name_service(_: Any, __: str, event: EventDict) -> EventDict:
    """Tell this service's lines from those of others in the same place."""
    event["service"] = SERVICE
    return event


def _without_bytes(record: logging.LogRecord) -> bool:
    """Shorten what aiohttp logs of a request that isn't HTTP: an error with its bytes, maybe with a token."""
    if record.exc_info and isinstance(record.exc_info[1], HttpProcessingError):
        record.levelno, record.levelname = logging.INFO, "INFO"
        record.msg, record.exc_info = "a request from %s is not HTTP", None
    return True


def _json(event: EventDict, **_: Any) -> str:
    try:
        return orjson.dumps(event, default=str).decode()
    except orjson.JSONEncodeError:  # a large number, or a lone surrogate, as in a file name that isn't UTF-8
        return json.dumps(event, default=str)
