"""Look for what slows a database down over the months, and say in a line each what to do."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import psycopg
from psycopg import errors

from chat_api.commands.session import connected
from chat_api.commands.sql.rights import read_rights
from chat_api.commands.sql.schema import FOLDER, expected_schema
from chat_api.postgres.query_files import Block, read_blocks

LIMITS = {"lock_timeout": "5s", "statement_timeout": "10min"}
"""For each query. pgstattuple reads large indexes to their ends."""

# A query in place of another, where the database has this function or view and the role may use it.
_BETTER = {
    "index_density": (
        "index_density_exact",
        "select coalesce(has_function_privilege(to_regprocedure('pgstatindex(regclass)'), 'execute'), false)",
    ),
}
_NEEDS = {"wal_per_answer": "pg_stat_statements"}
_SETTING_UP = 'sql/README.md, "What costs most",'

Status = Literal["ok", "note", "wrong", "unseen"]


@dataclass(frozen=True, slots=True)
class Sign:
    """What a query of health.sql says."""

    check: str
    """The name of the query."""
    status: Status
    """note: worth knowing, but nothing is wrong. unseen: this role or server can't tell."""
    subject: str | None
    """A table, index, session, slot or standby."""
    finding: str
    """What is so, in words that go on from the subject."""
    remedy: str | None
    """What to do: a statement, where there is one."""


def examine(database_url: str) -> list[Sign]:
    """Run the queries of health.sql. Changes nothing.

    Raises:
        FailedError: the database can't be reached or read.
    """
    with connected(database_url) as connection:
        rights = read_rights(connection)
        if rights is None:
            remedy = "chat-api migrate"
            return [
                Sign("schema", "wrong", None, "the tables of the service aren't in this database", remedy)
            ]
        with connection.transaction(force_rollback=True):
            for setting, value in {**LIMITS, **own_names(rights.owner)}.items():
                connection.execute("select set_config(%s, %s, true)", (setting, value))
            return [sign for query in _chosen(connection) for sign in _signs(connection, query)]


def checks() -> dict[str, Block]:
    """The queries of health.sql, by name."""
    queries = read_blocks(FOLDER / "health.sql", [])
    return {query.name.partition(".")[2]: query for query in queries}


def own_names(owner: str) -> dict[str, str]:
    """The service's tables and indexes, and the tables' owner: the settings that health.sql reads."""
    schema = expected_schema()
    tables = dict.fromkeys(name.partition(".")[0] for kind, name in schema if kind == "column")
    indexes = [name for kind, name in schema if kind == "index"]
    return {"chat.tables": " ".join(tables), "chat.indexes": " ".join(indexes), "chat.owner": owner}


def _chosen(connection: psycopg.Connection[Any]) -> Iterator[tuple[str, Block]]:
    """Each check's name, and the query that tells most here."""
    queries = checks()
    others = {better for better, _ in _BETTER.values()}
    for name in (name for name in queries if name not in others):
        better, condition = _BETTER.get(name, (name, "select true"))
        row = connection.execute(condition).fetchone()
        yield name, queries[better if row and row[0] else name]


def _signs(connection: psycopg.Connection[Any], chosen: tuple[str, Block]) -> Iterator[Sign]:
    name, query = chosen
    try:
        with connection.transaction():  # a savepoint: the other queries can still run
            rows = connection.execute(query.statement.encode()).fetchall()
    except (errors.UndefinedTable, errors.ObjectNotInPrerequisiteState) as error:
        if name not in _NEEDS:
            raise
        finding = f"needs {_NEEDS[name]}: {_in_one_line(error)}"
        yield Sign(name, "unseen", None, finding, f"{_SETTING_UP} says how to set it up")
    except (errors.InsufficientPrivilege, errors.QueryCanceled, errors.LockNotAvailable) as error:
        yield Sign(name, "unseen", None, _in_one_line(error), None)
    else:
        for status, subject, finding, remedy in rows:
            yield Sign(name, status, subject, finding, remedy)


def _in_one_line(error: psycopg.Error) -> str:
    return " ".join((error.diag.message_primary or str(error)).split())
