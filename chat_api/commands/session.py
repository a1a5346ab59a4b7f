"""A DBA's connection to the configured database."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg

from chat_api.commands.errors import FailedError
from chat_api.commands.refusals import REFUSALS, explain_refusal
from chat_api.migrate.errors import explain_errors
from chat_api.postgres import session
from chat_api.postgres.session import SessionError
from chat_api.settings.database_url import parse_dsn

APPLICATION = "chat-api sql"
"""The application name that pg_stat_activity shows."""

FAILED = "cannot work with the database"


@contextmanager
def connected(database_url: str, application: str = APPLICATION) -> Iterator[psycopg.Connection[Any]]:
    """Open an autocommit session that DBAs see as `application`.

    Raises:
        FailedError: the database can't be reached, or refuses a statement within the block.
    """
    try:
        with (
            explain_errors(FAILED),
            session.connected(parse_dsn(database_url), application) as connection,
        ):
            try:
                yield connection
            except REFUSALS as error:
                raise FailedError(f"{FAILED}: {explain_refusal(connection, error)}") from error
    except SessionError as error:
        raise FailedError(str(error)) from error
