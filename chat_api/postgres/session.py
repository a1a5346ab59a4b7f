"""A DBA's session: psycopg with autocommit, and an error message if it can't be opened."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg

from chat_api.postgres.encoding import ENCODING_REMEDY, explain_encoding
from chat_api.settings.database_url import Dsn

_OLDEST_SERVER = 14
CONNECT_SECONDS = 10
"""How long to try to reach the server if the URL doesn't say."""


class SessionError(Exception):
    """The database can't be reached or refuses a request. The text says why, and what to do."""


def connect(dsn: Dsn, application: str = "chat-api migrate") -> psycopg.Connection[Any]:
    """Open an autocommit session; DBAs see it under the name `application`."""
    return psycopg.connect(
        dsn.libpq(),
        autocommit=True,
        fallback_application_name=application,
        connect_timeout=CONNECT_SECONDS if dsn.connect_timeout is None else None,
    )


@contextmanager
def connected(dsn: Dsn, application: str = "chat-api migrate") -> Iterator[psycopg.Connection[Any]]:
    """An autocommit session; DBAs see it under the name `application`.

    Raises:
        SessionError: the server can't be reached or is too old, or the database isn't UTF8. The text is for
            the user.
    """
    try:
        connection = connect(dsn, application)
    except psycopg.OperationalError as error:
        raise SessionError(
            f"cannot connect to the database at {dsn.redacted()}: {reason(error)}; "
            "check DATABASE_URL, and that PostgreSQL runs there"
        ) from error
    with connection:
        if connection.info.server_version // 10000 < _OLDEST_SERVER:
            raise SessionError(f"PostgreSQL {_OLDEST_SERVER} or newer is needed")
        encoding = connection.info.parameter_status("server_encoding")
        if encoding not in (None, "UTF8"):  # a pooler may not say
            raise SessionError(f"{explain_encoding(encoding)}: {ENCODING_REMEDY}")
        yield connection


def reason(error: Exception) -> str:
    """The first line of the server's or the driver's message; the rest is context."""
    return next(iter(str(error).splitlines()), type(error).__name__)
