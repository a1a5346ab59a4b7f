"""API keys as `chat-api key create` stores them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
from uuid import UUID, uuid4

from chat_api.access.keys import SHOWN_CHARACTERS, digest_of, new_key

if TYPE_CHECKING:
    from tests.support.queries import Connection


async def key_of(
    sql: Connection,
    user_id: UUID | None = None,
    scopes: Sequence[str] = ("read", "chat"),
    days: float | None = None,
) -> dict[str, str]:
    """The request headers of a program with a new key; `days` until it expires."""
    key = new_key()
    await sql.execute(
        "insert into api_keys (user_id, name, shown, digest, scopes, expires_at)"
        " values ($1, 'of a test', $2, $3, $4, $5)",
        user_id or uuid4(),
        key[:SHOWN_CHARACTERS],
        digest_of(key),
        list(scopes),
        None if days is None else datetime.now(UTC) + timedelta(days=days),
    )
    return {"Authorization": f"Bearer {key}"}
