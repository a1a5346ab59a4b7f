"""A DBA's session, and what goes wrong with it, told in a sentence."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg import errors
from yoyo.exceptions import BadMigration, LockTimeout

from chat_api.lock_holders import Holders
from chat_api.migration_backend import connect
from chat_api.settings.database_url import Dsn

_OLDEST_SERVER = 14


class MigrationError(Exception):
    """The database couldn't be migrated; the text says why, and what to do."""


class LockHeldError(MigrationError):
    """A lock wasn't to be had in time; the same may go well when its holder has ended."""


class NewerSchemaError(MigrationError):
    """A later release has migrated the database."""


@contextmanager
def connected(dsn: Dsn, application: str = "chat-api migrate") -> Iterator[psycopg.Connection[Any]]:
    """An autocommit session, known to DBAs as `application`.

    Raises:
        MigrationError: the server can't be reached, or is too old; with the sentence to show.
    """
    try:
        connection = connect(dsn, application)
    except psycopg.OperationalError as error:
        raise MigrationError(
            f"cannot connect to the database at {dsn.redacted()}: {_reason(error)}; "
            "check DATABASE_URL, and that PostgreSQL runs there"
        ) from error
    with connection:
        if connection.info.server_version // 10000 < _OLDEST_SERVER:
            raise MigrationError(f"PostgreSQL {_OLDEST_SERVER} or newer is needed")
        yield connection


@contextmanager
def errors_told(what: str, holders: Holders | None = None) -> Iterator[None]:
    """Every failure of the database or of yoyo in here becomes a MigrationError that says `what` failed."""
    try:
        yield
    except errors.LockNotAvailable as error:
        raise LockHeldError(
            f"{what}: it waited too long for a lock that another transaction holds: {holders or Holders()}; "
            "end it, or let it end, and try again"
        ) from error
    except errors.DeadlockDetected as error:
        raise LockHeldError(
            f"{what}: it and another transaction waited for each other ({error.diag.message_detail}); "
            "try again"
        ) from error
    except errors.QueryCanceled as error:
        raise MigrationError(f"{what}: {_reason(error)}; it is undone, and can be run again") from error
    except errors.InsufficientPrivilege as error:
        raise MigrationError(
            f"{what}: {_reason(error)}; this wants the role that owns the tables, not the service's: "
            "check the role in DATABASE_URL"
        ) from error
    except (psycopg.Error, BadMigration, LockTimeout) as error:
        raise MigrationError(f"{what}: {_reason(error)}; put that right and try again") from error


def _reason(error: Exception) -> str:
    """The first line of what the server or the driver said: the rest is context."""
    return next(iter(str(error).splitlines()), type(error).__name__)
