"""The plans of all queries on the real data, each with the buffers that it touches."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import Any

import psycopg
from psycopg import sql

from chat_api.commands.errors import FailedError
from chat_api.commands.refusals import no_tables
from chat_api.commands.session import connected
from chat_api.commands.sql.catalog import NamedQuery, read_catalog
from chat_api.commands.sql.explain import executed, prepared
from chat_api.commands.sql.samples import find_worst
from chat_api.commands.sql.schema import FOLDER
from chat_api.settings import Settings

TYPICAL, WORST = "typical", "worst"
CUSTOM, GENERIC = "custom", "generic"
CASES = tuple(product((TYPICAL, WORST), (CUSTOM, GENERIC)))
"""At which parameters, and in which kind of plan, each query is executed."""

RUNS = 2  # runs of each query, after one that fills caches


@dataclass(frozen=True, slots=True)
class Plan:
    """A query's plan at some parameters."""

    shape: list[str]
    """A line per node, indented by its depth: its type, relation and index, without costs and rows."""
    scanned: list[str]
    """Tables that are read in sequence."""
    indexes: list[str]
    buffers: int
    """Buffers of tables and indexes, found in memory or not, each time they were asked for."""
    relations: dict[str, int]
    """The same for each table and index."""


@dataclass(frozen=True, slots=True)
class Saved:
    """The plans of all queries, and on which database they were made."""

    server: str
    """The server's version, such as 18.1."""
    migrations: list[str]
    """All that were applied, oldest first."""
    texts: dict[str, str]
    """Each query's fingerprint."""
    plans: dict[str, dict[str, Plan]]
    """By query, then by case, such as `worst, generic`."""
    failed: dict[str, str]
    """Why a query has no plans."""

    @property
    def about(self) -> dict[str, Any]:
        """What they were made on, for programs."""
        return {"server": self.server, "migrations": self.migrations, "queries": len(self.plans)}


def take_plans(settings: Settings, *, seconds: float) -> Saved:
    """Execute every query, each for at most `seconds`, in transactions that are rolled back.

    Raises:
        FailedError: the database can't be reached, or was never migrated.
        SettingsError: a file of SQL_DIR can't be used.
    """
    catalog = read_catalog(settings.sql_dir)
    plans: dict[str, dict[str, Plan]] = {}
    failed: dict[str, str] = {}
    with connected(settings.database_url) as connection:
        version = connection.info.parameter_status("server_version") or ""
        migrations = _applied(connection, catalog["maintenance.applied_migrations"])
        worst = find_worst(connection)
        # What only reads comes first: a write that is rolled back leaves dead rows, which readers then meet.
        for name, query in sorted(catalog.items(), key=lambda item: not item[1].sent.only_reads):
            try:
                plans[name] = dict(_plans(connection, query, worst, seconds))
            except FailedError as error:
                failed[name] = str(error)
    texts = {name: query.sent.fingerprint for name, query in catalog.items()}
    return Saved(version.split()[0], migrations, texts, plans, failed)


def nodes(plan: dict[str, Any], depth: int = 0) -> Iterator[tuple[int, dict[str, Any]]]:
    """Each node of a plan, from the top, with its depth."""
    yield depth, plan
    for child in plan.get("Plans", []):
        yield from nodes(child, depth + 1)


def touched(
    connection: psycopg.Connection[Any], statement: sql.Composed
) -> tuple[dict[str, Any], dict[str, int]]:
    """Execute a statement, and roll it back. Returns its plan, and the buffers of each table and index."""
    only_plan = sql.SQL("explain {}").format(statement)
    with connection.transaction(force_rollback=True):
        # The planner looks at an index's ends, and passes over dead entries there only once.
        connection.execute(only_plan)
        before = _fetched(connection)
        connection.execute(only_plan)
        planned = _fetched(connection)
        plan = executed(connection, statement)[0]["Plan"]
        after = _fetched(connection)
    # The last `explain` repeats the planning of the one before, and then executes. Many dead entries are
    # passed over in several goes, so the planning before may have cost more: then the count is unknown.
    relations = {name: (after[name] - planned[name]) - (planned[name] - before[name]) for name in after}
    return plan, {name: count for name, count in sorted(relations.items()) if count > 0}


def _applied(connection: psycopg.Connection[Any], query: NamedQuery) -> list[str]:
    rows = connection.execute(query.sent.text.encode()).fetchall()
    if not rows:
        raise FailedError(no_tables(connection))
    return sorted(name for (name,) in rows)


def _plans(
    connection: psycopg.Connection[Any], query: NamedQuery, worst: dict[str, str], seconds: float
) -> Iterator[tuple[str, Plan]]:
    for parameters, kind in CASES:
        drawn = worst if parameters == WORST else None
        with prepared(connection, query, {}, seconds=seconds, generic=kind == GENERIC, worst=drawn) as (
            _,
            statement,
        ):
            _run(connection, statement)  # fills the caches
            runs = [_run(connection, statement) for _ in range(RUNS)]
        # Now and then an insert meets a full page, and touches a few more buffers to find or make another.
        plan, relations = min(runs, key=lambda run: sum(run[1].values()))
        yield f"{parameters}, {kind}", _plan(plan, relations)


def _run(
    connection: psycopg.Connection[Any], statement: sql.Composed
) -> tuple[dict[str, Any], dict[str, int]]:
    with connection.transaction(force_rollback=True):  # so that it can insert the same row again
        return touched(connection, statement)


def _plan(top: dict[str, Any], relations: dict[str, int]) -> Plan:
    found = list(nodes(top))
    return Plan(
        shape=[f"{'  ' * depth}{_in_words(node)}" for depth, node in found],
        scanned=sorted({node["Relation Name"] for _, node in found if node["Node Type"] == "Seq Scan"}),
        indexes=sorted({node["Index Name"] for _, node in found if "Index Name" in node}),
        buffers=sum(relations.values()),
        relations=relations,
    )


def _in_words(node: dict[str, Any]) -> str:
    kind = (node.get("Operation"), node.get("Strategy"), node.get("Join Type"), node["Node Type"])
    words = [" ".join(word for word in kind if word)]
    if what := node.get("Relation Name") or node.get("CTE Name") or node.get("Function Name"):
        words.append(f"on {what}")
    if index := node.get("Index Name"):
        words.append(f"using {index}")
    return " ".join(words)


def _fetched(connection: psycopg.Connection[Any]) -> dict[str, int]:
    return dict(connection.execute((FOLDER / "touched.sql").read_bytes()).fetchall())
