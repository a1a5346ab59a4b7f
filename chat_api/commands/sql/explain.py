"""Show a query's plan and buffers on the real data, and roll its effects back."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import errors, sql

from chat_api.commands.errors import FailedError, ParameterError
from chat_api.commands.refusals import REFUSALS, explain_refusal
from chat_api.commands.session import connected
from chat_api.commands.sql.catalog import NamedQuery
from chat_api.commands.sql.samples import Samples, draw

LOCK_SECONDS = 2
"""How long to wait for a row that the service is writing."""


@dataclass(frozen=True, slots=True)
class Explained:
    """A plan, and the parameters that it was made with."""

    samples: Samples
    plan: Any
    """As PostgreSQL returns it: lines, or an object with `as_json`."""


def explain(
    database_url: str,
    query: NamedQuery,
    given: dict[str, str | None],
    *,
    seconds: float = 30,
    generic: bool = False,
    as_json: bool = False,
) -> Explained:
    """Execute a query for at most `seconds`, in a transaction that is rolled back.

    Rows that it writes are locked meanwhile, and leave dead rows for autovacuum. Notifications are sent only
    at a commit, so no worker notices anything. `generic` shows the plan for any values, which PostgreSQL may
    choose after five calls.

    Raises:
        ParameterError: the server doesn't accept a value.
        FailedError: the database can't be reached, refuses, or takes too long.
    """
    with (
        connected(database_url) as connection,
        prepared(connection, query, given, seconds=seconds, generic=generic) as (samples, statement),
    ):
        plan = executed(connection, statement, "json" if as_json else "text")
    return Explained(samples, plan)


@contextmanager
def prepared(
    connection: psycopg.Connection[Any],
    query: NamedQuery,
    given: dict[str, str | None],
    *,
    seconds: float,
    generic: bool,
    worst: dict[str, str] | None = None,
) -> Iterator[tuple[Samples, sql.Composed]]:
    """Prepare a query in a transaction that is rolled back, and yield the statement that executes it.

    Raises:
        ParameterError: the server doesn't accept a value.
        FailedError: the server refuses, or takes longer than `seconds`.
    """
    with _failures(connection, query, seconds), connection.transaction(force_rollback=True):
        set_local = sql.SQL("set local {} = {}")
        for setting, value in {
            "statement_timeout": f"{seconds:.0f}s",
            "lock_timeout": f"{LOCK_SECONDS}s",
            "plan_cache_mode": "force_generic_plan" if generic else "force_custom_plan",
        }.items():
            connection.execute(set_local.format(sql.Identifier(setting), sql.Literal(value)))
        samples = draw(connection, query, given, worst)
        connection.execute(f"prepare explained as {query.sent.text}".encode())
        # In the order in which the statement first uses them, which may differ from that of its first line.
        values = [samples.values[name].value for name in query.sent.parameters]
        arguments = (
            sql.SQL("({})").format(sql.SQL(", ").join(map(sql.Literal, values))) if values else sql.SQL("")
        )
        try:
            with connection.transaction():  # a savepoint: after a failure, it can still deallocate
                yield samples, sql.SQL("execute explained{}").format(arguments)
        finally:
            connection.execute("deallocate explained")


def executed(connection: psycopg.Connection[Any], statement: sql.Composed, form: str = "json") -> Any:
    """Execute a statement, and return its plan: lines, or an object if the form is `json`."""
    explained = sql.SQL("explain (analyze, buffers, format {}) {}")
    rows = connection.execute(explained.format(sql.SQL(form), statement)).fetchall()
    return rows[0][0] if form == "json" else [line for (line,) in rows]


@contextmanager
def _failures(connection: psycopg.Connection[Any], query: NamedQuery, seconds: float) -> Iterator[None]:
    try:
        yield
    except errors.QueryCanceled as error:
        raise FailedError(
            f"{query.name} took longer than {seconds:.0f} s and was cancelled; allow more with --timeout"
        ) from error
    except errors.LockNotAvailable as error:
        raise FailedError(
            f"{query.name} waited {LOCK_SECONDS} s for a row or table that another transaction holds; "
            "try again"
        ) from error
    except errors.DataError as error:
        raise ParameterError(f"{query.name}: {error.diag.message_primary or error}") from error
    except psycopg.IntegrityError as error:
        raise FailedError(
            f"{query.name}: {error.diag.message_primary}; give it other values with --param"
        ) from error
    except REFUSALS as error:
        raise FailedError(f"{query.name}: {explain_refusal(connection, error)}") from error
    except psycopg.ProgrammingError as error:
        raise FailedError(
            f"{query.name}: {error.diag.message_primary}; `chat-api sql check` shows everything that is wrong"
        ) from error
