"""Statements as PostgreSQL plans and executes them, with their effects rolled back."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg import sql

from bench.statements import Parameters
from chat_api.commands.sql import explain, plans
from chat_api.postgres.queries import load_queries

# PostgreSQL plans a prepared statement for each call's values, or once for all calls: both must be good.
MODES = ("force_custom_plan", "force_generic_plan")

Connection = psycopg.Connection[Any]
Node = dict[str, Any]


@contextmanager
def prepared(connection: Connection, case: str, given: Parameters, mode: str) -> Iterator[sql.Composed]:
    """Prepare the query that a case (`file.name, …`) names, and yield the statement that executes it.

    All this happens in a transaction that is rolled back. Parameters that begin with `select ` are looked
    up first.
    """
    query = load_queries()[case.partition(",")[0]]
    values = [_literal(connection, given[parameter]) for parameter in query.parameters]
    arguments = sql.SQL("({})").format(sql.SQL(", ").join(values)) if values else sql.SQL("")
    with connection.transaction(force_rollback=True):
        connection.execute(sql.SQL("set local plan_cache_mode = {}").format(sql.Identifier(mode)))
        connection.execute(sql.SQL("prepare planned as {}").format(sql.SQL(query.text)))
        try:
            yield sql.SQL("execute planned{}").format(arguments)
        finally:
            connection.execute("deallocate planned")


def executed(connection: Connection, statement: sql.Composed) -> list[Node]:
    """The nodes of a statement's plan, with what each did when it was executed."""
    (document,) = explain.executed(connection, statement)
    return [node for _, node in plans.nodes(document["Plan"])]


def _literal(connection: Connection, value: Any) -> sql.Literal:
    if isinstance(value, str) and value.startswith("select "):
        ((value,),) = connection.execute(value).fetchall()
    return sql.Literal(value if value is None or isinstance(value, list) else str(value))
