"""Behind the second wall, the hot statements do the same, on the same indexes, with a few more buffers."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from bench.buffers import fill, touched
from bench.plans import MODES, Connection, Node, prepared
from bench.statements import MOST, Parameters
from chat_api.dev.postgres.installation import binaries
from chat_api.dev.postgres.server import Postgres
from tests.privileges.conftest import SERVICE, url_of
from tests.sql.test_plans import CASES, INDEXES, SHOWS_ALL
from tests.sql.test_tree_plans import INDEXES as TREE_INDEXES
from tests.support.tree_statements import TREE, grow

DATABASE, TREES = "walled_plans", "walled_tree_plans"
# A look-up of the conversation (3) wherever a statement reads, writes or checks rows that belong to it.
MORE = 18
# The functions that change the tree have more such places.
MORE_IN_TREE = 36
FIND_NOTHING = {
    "conversations.create, limited",
    "generations.begun",
    "journal.prune",
    "maintenance.interrupt_orphans",
}


@contextmanager
def walled_database(
    postgres: Postgres, template: str, checkout: Path, name: str, *more: Callable[[Connection], None]
) -> Iterator[Connection]:
    """The database of tests/sql/test_plans.py with the wall, as a superuser, who is exempt from it."""
    with psycopg.connect(postgres.dsn(), autocommit=True) as admin:
        admin.execute(
            sql.SQL("create database {} template {}").format(*map(sql.Identifier, (name, template)))
        )
        try:
            with psycopg.connect(postgres.dsn(name), autocommit=True) as connection:
                fill(connection, 1_000, 10_000)
                for each in more:
                    each(connection)
                script = checkout / "deploy" / "postgresql" / "row-security.sql"
                command = [binaries(None) / "psql", "-X", "-q", postgres.dsn(name), "-f", script]
                subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
                yield connection
        finally:
            admin.execute(sql.SQL("drop database {} with (force)").format(sql.Identifier(name)))


@pytest.fixture(scope="module")
def walled(postgres: Postgres, template: str, checkout: Path) -> Iterator[Connection]:
    with walled_database(postgres, template, checkout, DATABASE) as connection:
        yield connection


@pytest.fixture(scope="module")
def behind(walled: Connection, postgres: Postgres) -> Iterator[Connection]:
    """The same database, as the service's role."""
    with psycopg.connect(url_of(SERVICE, postgres.dsn(DATABASE)), autocommit=True) as connection:
        yield connection


@pytest.fixture(scope="module")
def walled_tree(postgres: Postgres, template: str, checkout: Path) -> Iterator[Connection]:
    """That of tests/sql/test_tree_plans.py."""
    with walled_database(postgres, template, checkout, TREES, grow) as connection:
        yield connection


@pytest.fixture(scope="module")
def behind_tree(walled_tree: Connection, postgres: Postgres) -> Iterator[Connection]:
    with psycopg.connect(url_of(SERVICE, postgres.dsn(TREES)), autocommit=True) as connection:
        yield connection


def looked_up(connection: Connection, given: Parameters) -> Parameters:
    """A case's parameters, looked up by a role that is exempt from the wall."""
    return {
        name: connection.execute(value).fetchone()[0]  # type: ignore[index]
        if isinstance(value, str) and value.startswith("select ")
        else value
        for name, value in given.items()
    }


def document(connection: Connection, statement: sql.Composed) -> Node:
    explain = sql.SQL("explain (analyze, format json) {}").format(statement)
    with connection.transaction(force_rollback=True):
        (((plan,),),) = connection.execute(explain).fetchall()
    root: Node = plan["Plan"]
    return root


def nodes(plan: Node) -> Iterator[Node]:
    yield plan
    for child in plan.get("Plans", []):
        yield from nodes(child)


def looks_first_for_whom(plan: Node) -> bool:
    """Whether nothing reads a table or joins above the filter that says for whom the statement works."""
    while "One-Time Filter" not in plan:
        below = [child for child in plan.get("Plans", []) if "Subplan Name" not in child]
        if not below or plan["Node Type"] not in ("ModifyTable", "Append", "Sort", "Limit", "Aggregate"):
            return False
        plan = below[0]
    return True


def rows(connection: Connection, statement: sql.Composed) -> list[list[bool]]:
    """Which columns of which rows have a value; ids and times differ each time."""
    with connection.transaction(force_rollback=True):
        cursor = connection.execute(statement)
        found = cursor.fetchall() if cursor.description else [(cursor.rowcount,)]
    return [[value is not None for value in row] for row in found]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("case", CASES)
def test_a_hot_statement_does_the_same_on_the_same_indexes(
    walled: Connection, behind: Connection, case: str, mode: str
) -> None:
    does_the_same(walled, behind, looked_up(walled, CASES[case]), case, mode, INDEXES[case])


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("case", TREE)
def test_so_does_what_reads_or_changes_a_tree(
    walled_tree: Connection, behind_tree: Connection, case: str, mode: str
) -> None:
    given = looked_up(walled_tree, TREE[case])
    does_the_same(walled_tree, behind_tree, given, case, mode, TREE_INDEXES[case])


def does_the_same(
    walled: Connection, behind: Connection, given: Parameters, case: str, mode: str, indexes: set[str]
) -> None:
    with prepared(behind, case, given, mode) as statement:
        plan = document(behind, statement)
        seen = rows(behind, statement)
    assert looks_first_for_whom(plan)
    plans = list(nodes(plan))
    scanned = [node for node in plans if node["Node Type"] == "Seq Scan" and node["Actual Loops"]]
    assert {node["Relation Name"] for node in scanned} <= {"workers", "budgets"}
    assert indexes - {node.get("Index Name") for node in plans} == set()
    if case not in SHOWS_ALL:
        read = [node["Actual Rows"] * node["Actual Loops"] for node in plans if "Scan" in node["Node Type"]]
        assert max(read, default=0) <= MOST
    with prepared(walled, case, given, mode) as statement:
        assert rows(walled, statement) == seen
        assert seen != [] or case in FIND_NOTHING


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("case", CASES)
def test_it_costs_a_few_buffers(walled: Connection, behind: Connection, case: str, mode: str) -> None:
    given = looked_up(walled, CASES[case])
    assert more_buffers(walled, behind, given, case, mode) <= (MORE if "user_id" in given else 2)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("case", TREE)
def test_a_tree_costs_a_few_buffers(
    walled_tree: Connection, behind_tree: Connection, case: str, mode: str
) -> None:
    given = looked_up(walled_tree, TREE[case])
    bound = MORE_IN_TREE if "user_id" in given else 2
    assert more_buffers(walled_tree, behind_tree, given, case, mode) <= bound


def more_buffers(walled: Connection, behind: Connection, given: Parameters, case: str, mode: str) -> int:
    """How many more buffers a statement touches behind the wall."""
    counted = []
    for connection in (behind, walled):
        # Of rolled-back rows.
        walled.execute("vacuum conversations, messages, inactive_messages, generations, journal, workers")
        counted.append(touched(connection, case, given, mode).buffers)
    with_wall, without = counted
    return with_wall - without
