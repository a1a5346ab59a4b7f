"""What PostgreSQL's errors mean to callers and to operators."""

from __future__ import annotations

from typing import TYPE_CHECKING

import asyncpg
import structlog

from chat_api import errors
from chat_api.errors import describe
from chat_api.postgres.encoding import ENCODING_REMEDY, WrongEncoding
from chat_api.postgres.queries import MEND

if TYPE_CHECKING:
    from chat_api.observe.metrics import Metrics
    from chat_api.postgres.queries import Query

log = structlog.get_logger(__name__)

# The database is unavailable for now: a retry may help.
UNREACHABLE = (
    OSError,
    TimeoutError,
    asyncpg.PostgresConnectionError,
    asyncpg.CannotConnectNowError,
    asyncpg.OperatorInterventionError,  # shut down during the statement
    asyncpg.InsufficientResourcesError,  # out of connections, memory or disk
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.InvalidCatalogNameError,
    asyncpg.ReadOnlySQLTransactionError,  # a standby, until the failover is complete
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    asyncpg.LockNotAvailableError,  # a lock_timeout that a DBA has set
    asyncpg.TransactionRollbackError,  # a deadlock with a DBA's transaction
)
# The connection broke. Whether the statement was executed isn't known.
LOST = (ConnectionError, asyncpg.ConnectionDoesNotExistError)
NOT_MIGRATED = (asyncpg.UndefinedTableError, asyncpg.UndefinedColumnError, asyncpg.UndefinedFunctionError)
# A prepared statement stayed in a session that another client has now.
POOLED = (asyncpg.DuplicatePreparedStatementError, asyncpg.InvalidSQLStatementNameError)
ERRORS = (
    OSError,
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    WrongEncoding,
)
"""Everything that a statement may fail with."""

# Constraints whose violation means something to the caller.
CONSTRAINTS: dict[str, type[errors.ChatError]] = {
    "ck_conversations_version": errors.RequestRepeated,
    "conversations_user_id_fkey": errors.UnknownUser,
    "generations_conversation_id_fkey": errors.ConversationNotFound,
    "messages_conversation_id_fkey": errors.ConversationNotFound,
    "uq_generations_call_message": errors.RequestRepeated,
    "uq_generations_idempotency_key": errors.RequestRepeated,
    "uq_generations_running": errors.RequestRepeated,
}


def refuses_writes(error: BaseException | None) -> bool:
    """Whether the server refused a statement because it takes no writes: SQLSTATE 25006, nothing was done."""
    return isinstance(error, asyncpg.ReadOnlySQLTransactionError)


def was_deadlock(error: errors.ChatError) -> bool:
    """Whether the statement was undone because it and another one waited for each other."""
    return isinstance(error.__cause__, asyncpg.DeadlockDetectedError)


class Failures:
    """Tells operators what a query failed with, and what callers see instead."""

    def __init__(self, database: str, metrics: Metrics) -> None:
        """`database` is its address for the log."""
        self._database = database
        self._counter = metrics.database_errors

    def tell(self, name: str, query: Query, error: Exception) -> errors.ChatError | None:
        """Log and count what a query failed with. Returns what callers see; None: the error itself.

        An error that callers see itself has no values in it any more.
        """
        database, reason = self._database, describe(error)
        if isinstance(error, POOLED):
            self._counter.labels("unavailable").inc()
            log.error(
                "database_pooler_unmarked",
                database=database,
                query=name,
                reason=reason,
                do="add ?pgbouncer=true to DATABASE_URL",
            )
            return errors.DatabaseUnavailable()
        if isinstance(error, UNREACHABLE):
            self._counter.labels("unavailable").inc()
            log.warning("database_unavailable", database=database, query=name, reason=reason)
            return errors.DatabaseUnavailable()
        if query.is_own and isinstance(error, asyncpg.SyntaxOrAccessError):
            self._counter.labels("failed").inc()
            place = query.place_at(int(error.position or 0))
            do = f"{MEND}; then send SIGHUP, or restart"
            log.error("own_query_failed", database=database, query=name, place=place, reason=reason, do=do)
            return errors.QueryBroken()
        if isinstance(error, (*NOT_MIGRATED, WrongEncoding)):
            self._counter.labels("not_migrated").inc()
            do = "chat-api migrate; if nothing is pending, `chat-api sql check` names the line"
            if isinstance(error, WrongEncoding):
                do = ENCODING_REMEDY
            log.error("database_not_migrated", database=database, query=name, reason=reason, do=do)
            return errors.DatabaseNotMigrated()
        if isinstance(error, asyncpg.InsufficientPrivilegeError):
            self._counter.labels("right_missing").inc()
            do = "chat-api sql check"
            log.error("database_right_missing", database=database, query=name, reason=reason, do=do)
            return errors.DatabaseNotMigrated()
        if isinstance(error, asyncpg.IntegrityConstraintViolationError):
            if (known := CONSTRAINTS.get(error.constraint_name or "")) is not None:
                return known()
            error.detail = None  # it quotes the row, which may hold a message that mustn't be logged
        elif isinstance(error, asyncpg.DataError):
            error.args = (f"{type(error).__name__} in {name}",)  # its text quotes the value
        self._counter.labels("failed").inc()
        return None
