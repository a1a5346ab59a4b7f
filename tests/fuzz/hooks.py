"""What schemathesis can't know: how a page's cursor looks."""

from __future__ import annotations

from base64 import urlsafe_b64encode
from datetime import UTC, datetime
from uuid import UUID

import schemathesis
from hypothesis import strategies


def write_cursor(moment: datetime, last_id: UUID) -> str:
    """As the service writes one."""
    return urlsafe_b64encode(f"{moment.isoformat()} {last_id}".encode()).decode()


schemathesis.openapi.format(
    "cursor",
    strategies.builds(
        write_cursor,
        strategies.datetimes(timezones=strategies.just(UTC)),
        strategies.uuids(),
    )
    | strategies.text(max_size=200),
)
