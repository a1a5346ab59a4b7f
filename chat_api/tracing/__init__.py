"""OpenTelemetry traces, an extra: docs/operations/traces.md.

Only `app` knows this package, which makes the traced versions of other parts. Without tracing, nothing of
OpenTelemetry is imported, and nothing is checked at run time. With tracing, nothing runs for each token.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING

import structlog

if TYPE_CHECKING:
    from chat_api.tracing.tracing import Tracing

log = structlog.get_logger(__name__)

ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")


def is_wanted(environment: Mapping[str, str]) -> bool:
    """Whether OpenTelemetry's own variables ask for traces, by naming an exporter or an endpoint."""
    exporter = environment.get("OTEL_TRACES_EXPORTER", "")
    if environment.get("OTEL_SDK_DISABLED", "").strip().lower() == "true" or exporter == "none":
        return False
    return bool(exporter) or any(environment.get(name) for name in ENDPOINTS)


def load_tracing() -> Tracing | None:
    """The tracing that the environment asks for; None if it doesn't.

    If traces can't be sent, the service logs a warning and runs without them.
    """
    if not is_wanted(os.environ):
        return None
    try:
        from chat_api.tracing.export import make_provider  # noqa: PLC0415 - not before it is wanted
        from chat_api.tracing.tracing import Tracing  # noqa: PLC0415

        return Tracing(make_provider(os.environ))
    except ImportError as error:
        log.warning(
            "tracing_unavailable",
            reason=str(error),
            do='pip install "samosachaat-chat-api[opentelemetry]"',
        )
        return None
