"""What schemathesis can't know: the format of a page's cursor."""

from __future__ import annotations

from base64 import urlsafe_b64encode
from datetime import UTC, datetime
from uuid import UUID

import schemathesis
from hypothesis import strategies


def write_cursor(moment: datetime, last_id: UUID) -> str:
    """A cursor as the service writes it."""
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
