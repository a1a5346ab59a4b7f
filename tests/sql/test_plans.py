"""The hot statements use the indexes that their descriptions name, however full the tables are."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest
from psycopg import sql

from bench.buffers import fill
from bench.plans import MODES, Connection, Node, executed, prepared
from bench.statements import HOT, IN_LONG, MOST, OTHER_WORKER
from chat_api.dev.postgres.server import Postgres

DATABASE = "plans"


@pytest.fixture(scope="module")
def full(postgres: Postgres, template: str) -> Iterator[Connection]:
    """A database with 1,000 conversations, one of 1,000 messages, and 31 running generations, one an orphan.

    The journal has 100 slices of each running generation, and of 69 finished ones.
    """
    with psycopg.connect(postgres.dsn(), autocommit=True) as admin:
        admin.execute(
            sql.SQL("create database {} template {}").format(*map(sql.Identifier, (DATABASE, template)))
        )
        try:
            with psycopg.connect(postgres.dsn(DATABASE), autocommit=True) as connection:
                fill(connection, 1_000, 10_000)
                connection.execute("delete from workers where id = %s", [OTHER_WORKER])
                yield connection
        finally:
            admin.execute(sql.SQL("drop database {} with (force)").format(sql.Identifier(DATABASE)))


LIST, MESSAGES = "idx_conversations_user_updated", "idx_messages_conversation_position"
GENERATIONS, ONE_RUNNING = "idx_generations_conversation_position", "uq_generations_running"
OF_WORKER, JOURNAL = "idx_generations_unfinished_worker", "journal_pkey"
KEY = "uq_generations_idempotency_key"
PRIMARY = ("conversations_pkey", "messages_pkey", "generations_pkey")

CASES = {**HOT, "conversations.delete": IN_LONG}
SHOWS_ALL = {"conversations.get, long", "messages.piece"}  # which may read a piece, of 500 messages
# The indexes that each case must use.
INDEXES: dict[str, set[str]] = {
    "conversations.page": {LIST},
    "conversations.page, deep": {LIST},
    "conversations.get": {PRIMARY[0], MESSAGES, ONE_RUNNING},
    "conversations.get, running": {PRIMARY[0], MESSAGES, ONE_RUNNING, JOURNAL},
    "conversations.get, long": {PRIMARY[0], MESSAGES, ONE_RUNNING},
    "conversations.get, newest": {PRIMARY[0], MESSAGES, ONE_RUNNING},
    "messages.piece": {PRIMARY[0], MESSAGES},
    "conversations.create": set(),
    "conversations.create, limited": {LIST},
    "conversations.update": {PRIMARY[0]},
    "conversations.delete": {PRIMARY[0]},
    "generations.start": {PRIMARY[0], MESSAGES, KEY},
    "generations.start, limited": {PRIMARY[0], MESSAGES, KEY},
    "generations.start, key used": {PRIMARY[0], PRIMARY[1], KEY},
    "generations.start, while one runs": {PRIMARY[0], KEY, ONE_RUNNING},
    "generations.start, regenerate": {PRIMARY[0], MESSAGES, KEY},
    "generations.finish": {PRIMARY[0], PRIMARY[2]},
    "generations.finish, regenerated": {*PRIMARY, MESSAGES, GENERATIONS},
    "generations.attach": {PRIMARY[0], GENERATIONS},
    "generations.attach, by id": {PRIMARY[0], PRIMARY[2]},
    "generations.stop": {PRIMARY[0], ONE_RUNNING},
    "generations.begun": {PRIMARY[0], GENERATIONS},
    "journal.tick": {OF_WORKER},
    "journal.read": {JOURNAL, *PRIMARY[1:]},
    "journal.prune": {JOURNAL},
    "maintenance.interrupt_orphans": {ONE_RUNNING, JOURNAL},
    "messages.exchange": {PRIMARY[1], PRIMARY[2]},
}


def plan_of(connection: Connection, case: str, mode: str) -> list[Node]:
    with prepared(connection, case, CASES[case], mode) as statement:
        return executed(connection, statement)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("case", CASES)
def test_a_hot_statement_walks_its_indexes_and_reads_and_sorts_no_more_than_it_shows(
    full: Connection, case: str, mode: str
) -> None:
    plan = plan_of(full, case, mode)
    small = {"workers", "budgets"}
    assert {node["Relation Name"] for node in plan if node["Node Type"] == "Seq Scan"} <= small
    assert INDEXES[case] - {node.get("Index Name") for node in plan} == set()
    if case in SHOWS_ALL:
        return
    read = [node["Actual Rows"] * node["Actual Loops"] for node in plan if "Scan" in node["Node Type"]]
    assert max(read, default=0) <= MOST
    assert max((node["Actual Rows"] for node in plan if "Sort" in node["Node Type"]), default=0) <= MOST


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("case", ["conversations.page", "conversations.page, deep"])
def test_a_page_is_not_sorted(full: Connection, case: str, mode: str) -> None:
    assert [node["Node Type"] for node in plan_of(full, case, mode) if "Sort" in node["Node Type"]] == []
