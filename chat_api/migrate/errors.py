"""What can go wrong while the schema is changed, in a sentence with what to do."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from psycopg import errors
from yoyo.exceptions import BadMigration, LockTimeout

from chat_api.migrate.lock_holders import Holders
from chat_api.postgres.session import SessionError, reason


class LockHeldError(SessionError):
    """A lock wasn't to be had in time; the same may go well when its holder has ended."""


class NewerSchemaError(SessionError):
    """A later release has migrated the database."""


@contextmanager
def errors_told(what: str, holders: Holders | None = None) -> Iterator[None]:
    """Every failure of the database or of yoyo in here becomes a SessionError that says `what` failed."""
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
        raise SessionError(f"{what}: {reason(error)}; it is undone, and can be run again") from error
    except errors.InsufficientPrivilege as error:
        raise SessionError(
            f"{what}: {reason(error)}; this wants the role that owns the tables, not the service's: "
            "check the role in DATABASE_URL"
        ) from error
    except (psycopg.Error, BadMigration, LockTimeout) as error:
        raise SessionError(f"{what}: {reason(error)}; put that right and try again") from error
