"""The sessions in which migrations run: unattended, in containers, at any time, several at once."""

from __future__ import annotations

from typing import Any

import psycopg

from chat_api.postgres.session import connect
from chat_api.settings.database_url import Dsn

CHAT_LOCK = 0x63686174
"""The first key of all our advisory locks ("chat" in ASCII). The second key is one of the following."""
TURN_LOCK = 1
"""Held by the process whose turn it is to migrate."""
SESSION_LOCK = 2
"""Shared by every session that runs migrations, until the server has noticed its end."""


LOCK_TIMEOUT = "5s"
"""How long a migration waits for a lock if its file doesn't say. Whoever comes later waits behind it."""


def open_session(dsn: Dsn, service_role: str) -> psycopg.Connection[Any]:
    """Open a session that shares SESSION_LOCK, and in which migrations can read the service's role."""
    connection = connect(dsn)
    try:
        connection.execute("select pg_advisory_lock_shared(%s, %s)", (CHAT_LOCK, SESSION_LOCK))
        connection.execute("select set_config('chat.service_role', %s, false)", (service_role,))
        # For a migration that says nothing; those of a release say it themselves.
        connection.execute("select set_config('lock_timeout', %s, false)", (LOCK_TIMEOUT,))
        # yoyo's first session is idle while a second one runs a migration, which may take hours.
        connection.execute("set idle_session_timeout = 0")
    except BaseException:
        connection.close()
        raise
    return connection
