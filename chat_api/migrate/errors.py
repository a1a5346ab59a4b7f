"""What can go wrong while the schema is changed, each in a sentence that says what to do."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from psycopg import errors

from chat_api.libraries.yoyo import FAILURES
from chat_api.migrate.lock_holders import Holders
from chat_api.postgres.session import SessionError, reason

READ_ONLY = "this is a standby, or was made read-only: let DATABASE_URL name the primary"
"""What to do where nothing can be written."""


class LockHeldError(SessionError):
    """A lock wasn't granted in time. A retry may succeed once its holder has ended."""


class NewerSchemaError(SessionError):
    """A later release has migrated the database."""


@contextmanager
def explain_errors(what: str, holders: Holders | None = None) -> Iterator[None]:
    """Turn a failure of the database or of yoyo into a SessionError that begins with `what`, which failed."""
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
    except errors.ReadOnlySqlTransaction as error:
        raise SessionError(f"{what}: {reason(error)}; {READ_ONLY}") from error
    except errors.InsufficientPrivilege as error:
        raise SessionError(
            f"{what}: {reason(error)}; this needs the role that owns the tables, not the service's: "
            "check the role in DATABASE_URL"
        ) from error
    except FAILURES as error:
        raise SessionError(f"{what}: {reason(error)}; fix that and try again") from error
