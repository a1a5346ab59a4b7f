"""How many of PostgreSQL's buffers each hot statement touches, in a history of any size."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import reduce
from pathlib import Path

import psycopg
from psycopg import sql

from bench.plans import MODES, Connection, Node, prepared
from bench.statements import HOT, OTHER_WORKER, USER, WORKER, Parameters
from chat_api.commands.sql import plans

GROWING = frozenset({"conversations", "messages", "inactive_messages", "generations", "journal"})
LONG = 1000  # messages in the one long conversation
RUNS = 3  # runs of each statement, after one that fills caches


@dataclass(frozen=True, slots=True)
class Touched:
    """What one execution touched, with a warm catalog, in the worse of its custom and its generic plan."""

    buffers: int
    """Buffers, found in memory or not, each time they were asked for."""
    relations: dict[str, int]
    """The same for each table and index; the more of both plans, so the sum may be more than `buffers`."""
    scanned: frozenset[str]
    """Tables that grow, and were read in sequence."""
    sorted_rows: int
    """The most rows that came into one sort."""

    def __or__(self, other: Touched) -> Touched:
        return Touched(
            max(self.buffers, other.buffers),
            dict(Counter(self.relations) | Counter(other.relations)),
            self.scanned | other.scanned,
            max(self.sorted_rows, other.sorted_rows),
        )


def fill(connection: Connection, conversations: int, messages: int) -> None:
    """Fill a migrated, empty database (as a superuser, in autocommit), the same way each time.

    `conversations` is a multiple of 500, the number of USER's conversations. Each has an equal and even share
    of `messages`, except one of USER's, which has LONG. The running generations and the journal don't depend
    on the sizes.
    """
    given = {"conversations": conversations, "messages": messages, "long": LONG}
    given |= {"user": str(USER), "worker": str(WORKER), "other": str(OTHER_WORKER)}
    text = Path(__file__).with_name("fill.sql").read_text()
    psycopg.ClientCursor(connection).execute(text, given)
    connection.execute("vacuum analyze")


def measure(connection: Connection) -> dict[str, Touched]:
    """Execute every hot statement in the database that `fill` filled, and roll it back."""
    return {
        case: reduce(Touched.__or__, (touched(connection, case, given, mode) for mode in MODES))
        for case, given in HOT.items()
    }


def touched(connection: Connection, case: str, given: Parameters, mode: str) -> Touched:
    with prepared(connection, case, given, mode) as statement:
        _run(connection, statement)  # fills the session's caches
        # Now and then an insert meets a full page, and touches a few more buffers to find or make another.
        return min((_run(connection, statement) for _ in range(RUNS)), key=lambda run: run.buffers)


def _run(connection: Connection, statement: sql.Composed) -> Touched:
    top, relations = plans.touched(connection, statement)
    plan = [node for _, node in plans.nodes(top)]
    return Touched(
        buffers=sum(relations.values()),
        relations=relations,
        scanned=frozenset(node["Relation Name"] for node in plan if node["Node Type"] == "Seq Scan")
        & GROWING,
        sorted_rows=max((_rows_in(node) for node in plan if "Sort" in node["Node Type"]), default=0),
    )


def _rows_in(node: Node) -> int:
    """The rows that entered a node each time it ran, as a mean, which is what PostgreSQL gives."""
    return round(sum(child["Actual Rows"] for child in node["Plans"] if "Subplan Name" not in child))
