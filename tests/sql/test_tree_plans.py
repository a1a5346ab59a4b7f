"""What reads or changes a conversation's tree costs what it shows, however much was said around it."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest
from psycopg import sql

from bench.buffers import fill, touched
from bench.plans import MODES, Connection, executed, prepared
from bench.statements import MOST
from chat_api.dev.postgres.server import Postgres
from tests.sql.test_plans import GENERATIONS, KEY, MESSAGES, ONE_RUNNING, PRIMARY
from tests.support.tree_statements import TREE, grow

DATABASE = "tree_plans"
VERSIONS, POSITIONS, INACTIVE = (
    "idx_inactive_messages_parent",
    "idx_inactive_messages_position",
    "inactive_messages_pkey",
)
# The indexes that each case must use. What chat_activate, chat_copy and chat_take_back use isn't in the plan.
INDEXES: dict[str, set[str]] = {
    "conversations.get, versions": {PRIMARY[0], MESSAGES, VERSIONS, ONE_RUNNING},
    "conversations.update, switch": {PRIMARY[0]},
    "conversations.fork": {PRIMARY[0], MESSAGES, INACTIVE},
    "generations.start, edit": {PRIMARY[0], PRIMARY[1], MESSAGES, KEY},
    "generations.start, certain answer": {PRIMARY[0], PRIMARY[1], MESSAGES, KEY, GENERATIONS},
    "generations.start, version": {PRIMARY[0], PRIMARY[1], INACTIVE, KEY},
    "generations.start, continue": {PRIMARY[0], MESSAGES, KEY, GENERATIONS},
    "generations.start, continue certain": {PRIMARY[0], PRIMARY[1], MESSAGES, KEY, GENERATIONS},
    "generations.finish, beside": {PRIMARY[0], PRIMARY[1], PRIMARY[2], MESSAGES},
    "journal.read, version": {PRIMARY[1], PRIMARY[2], INACTIVE},
    "messages.delete": {PRIMARY[0]},
    "messages.exchange, early": {PRIMARY[1], PRIMARY[2], MESSAGES, VERSIONS},
    "messages.exchange, version": {PRIMARY[2], INACTIVE, MESSAGES, VERSIONS},
}
# Of 1,000 messages on the path and forty beside it. A fork of 50 messages stores them.
BUFFERS = {"conversations.fork": 800, "generations.start, edit": 150, "messages.delete": 150}


@pytest.fixture(scope="module")
def grown(postgres: Postgres, template: str) -> Iterator[Connection]:
    """The database of test_plans.py, and two conversations with versions."""
    with psycopg.connect(postgres.dsn(), autocommit=True) as admin:
        names = map(sql.Identifier, (DATABASE, template))
        admin.execute(sql.SQL("create database {} template {}").format(*names))
        try:
            with psycopg.connect(postgres.dsn(DATABASE), autocommit=True) as connection:
                fill(connection, 1_000, 10_000)
                grow(connection)
                yield connection
        finally:
            admin.execute(sql.SQL("drop database {} with (force)").format(sql.Identifier(DATABASE)))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("case", TREE)
def test_it_walks_its_indexes_and_reads_and_sorts_no_more_than_it_shows(
    grown: Connection, case: str, mode: str
) -> None:
    with prepared(grown, case, TREE[case], mode) as statement:
        plan = executed(grown, statement)
    small = {"workers", "budgets"}
    assert {node["Relation Name"] for node in plan if node["Node Type"] == "Seq Scan"} <= small
    assert INDEXES[case] - {node.get("Index Name") for node in plan} == set()
    read = [node["Actual Rows"] * node["Actual Loops"] for node in plan if "Scan" in node["Node Type"]]
    assert max(read, default=0) <= MOST
    assert max((node["Actual Rows"] for node in plan if "Sort" in node["Node Type"]), default=0) <= MOST
    grown.execute("vacuum conversations, messages, inactive_messages, generations, journal, workers")
    assert touched(grown, case, TREE[case], mode).buffers <= BUFFERS.get(case, 100)
