"""Find who holds the locks that a migration waits for. It looks meanwhile: later they may be gone."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg

from chat_api.migrate.session import CHAT_LOCK, SESSION_LOCK
from chat_api.postgres.session import connect
from chat_api.settings.database_url import Dsn

LOOK_SECONDS = 0.25

# Only sessions that run migrations share SESSION_LOCK. Without pg_read_all_stats, a role sees only who other
# roles' sessions are. A prepared transaction has no session; its pid is 0.
_HOLDERS = """
select distinct
    holder.pid,
    a.backend_type,
    a.application_name,
    a.usename,
    a.state,
    extract(epoch from clock_timestamp() - a.xact_start)::float as seconds
from pg_locks as l
cross join lateral unnest(pg_blocking_pids(l.pid)) as holder (pid)
left join pg_stat_activity as a on a.pid = holder.pid
where l.locktype = 'advisory' and l.classid = %s and l.objid = %s and l.objsubid = 2
    and l.database = (select oid from pg_database where datname = current_database())
order by holder.pid
"""


class Holders:
    """The holders that were seen last, in words; none if no migration has waited."""

    def __init__(self) -> None:
        self.words: list[str] = []

    def record(self, connection: psycopg.Connection[Any]) -> None:
        """Record who is in the way now; keep the previous record if nobody is."""
        rows = connection.execute(_HOLDERS, (CHAT_LOCK, SESSION_LOCK)).fetchall()
        if rows:
            self.words = [_in_words(*row) for row in rows]

    def __str__(self) -> str:
        return "; ".join(self.words) or "pg_stat_activity may show which"


@contextmanager
def watch_holders(dsn: Dsn) -> Iterator[Holders]:
    """Record the holders every LOOK_SECONDS, on a session of its own, until the block ends."""
    holders = Holders()
    over = threading.Event()

    def watch(connection: psycopg.Connection[Any]) -> None:
        while not over.wait(LOOK_SECONDS):
            try:
                holders.record(connection)
            except psycopg.Error:  # the migration's own session reports what is wrong with the database
                return

    with connect(dsn) as connection:
        connection.execute("set statement_timeout = '5s'")
        watcher = threading.Thread(target=watch, args=[connection], name="lock-holders", daemon=True)
        watcher.start()
        try:
            yield holders
        finally:
            over.set()
            watcher.join()


def _in_words(
    pid: int,
    kind: str | None,
    application: str | None,
    role: str | None,
    state: str | None,
    seconds: float | None,
) -> str:
    if pid == 0:
        return (
            "a prepared transaction (see pg_prepared_xacts; `rollback prepared` or `commit prepared` ends it)"
        )
    who = application or (kind if kind != "client backend" else None) or "an unnamed program"
    about = [who, *([f"role {role}"] if role else []), *([state] if state else [])]
    if seconds is not None:
        about.append(f"its transaction open for {_duration(seconds)}")
    return f"pid {pid} ({', '.join(about)})"


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.0f} h"
