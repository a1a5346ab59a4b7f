"""Why a database refused a command's statement, and what to do: the database is asked itself."""

from __future__ import annotations

from typing import Any

import psycopg
from psycopg import errors

from chat_api.commands.sql.rights import read_rights
from chat_api.migrate.errors import READ_ONLY
from chat_api.postgres.session import reason

MISSING = (
    errors.UndefinedTable,
    errors.UndefinedColumn,
    errors.UndefinedFunction,
    errors.UndefinedObject,
    errors.InvalidSchemaName,
)
REFUSALS = (*MISSING, errors.InsufficientPrivilege, errors.FeatureNotSupported)
"""The errors that can be explained. The transaction in which one came must have ended."""


def explain_refusal(connection: psycopg.Connection[Any], error: psycopg.Error) -> str:
    """Say what is wrong and what to do, in a sentence. `error` is one of REFUSALS."""
    if isinstance(error, errors.FeatureNotSupported):
        return f"{reason(error)}; {READ_ONLY}" if is_standby(connection) else reason(error)
    rights = read_rights(connection)
    if rights is None:
        return no_tables(connection)
    if rights.closed:
        (closed,) = rights.closed
        return f"the {closed.kind} {closed.name} {closed.problem}: {closed.remedy}"
    if isinstance(error, errors.InsufficientPrivilege):
        return (
            f"{reason(error)}; {rights.role} lacks that right: use the DATABASE_URL of a role that has it, "
            f"such as the owner of the tables, {rights.owner}"
        )
    return (
        f"{reason(error)}; the database lacks what this release needs: run `chat-api migrate`, and "
        "`chat-api sql check` shows everything that is wrong"
    )


def no_tables(connection: psycopg.Connection[Any]) -> str:
    """That the database was never migrated."""
    return (
        f"there are no tables of the service in the database {connection.info.dbname}: run `chat-api "
        "migrate` first, or let DATABASE_URL name another one"
    )


def is_standby(connection: psycopg.Connection[Any]) -> bool:
    """Whether this server follows another one."""
    row = connection.execute("select pg_is_in_recovery()").fetchone()
    return row is not None and bool(row[0])
