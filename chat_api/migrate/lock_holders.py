"""Who holds the locks that a migration waits for: looked at meanwhile, as they may be gone afterwards."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg

from chat_api.migrate.backend import CHAT_LOCK, SESSION_LOCK
from chat_api.postgres.session import connect
from chat_api.settings.database_url import Dsn

LOOK_SECONDS = 0.25

# Only sessions that run migrations share SESSION_LOCK. Of sessions of other roles, a role without
# pg_read_all_stats sees no more than who they are; a prepared transaction has no session, its pid is 0.
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
    """The latest ones, in words; empty while nothing was waited for."""

    def __init__(self) -> None:
        self.words: list[str] = []

    def look(self, connection: psycopg.Connection[Any]) -> None:
        """Who is in the way now."""
        rows = connection.execute(_HOLDERS, (CHAT_LOCK, SESSION_LOCK)).fetchall()
        if rows:
            self.words = [_in_words(*row) for row in rows]

    def __str__(self) -> str:
        return "; ".join(self.words) or "pg_stat_activity may show which"


@contextmanager
def watched(dsn: Dsn) -> Iterator[Holders]:
    """Look every LOOK_SECONDS, on a session of its own, until left."""
    holders = Holders()
    over = threading.Event()

    def watch(connection: psycopg.Connection[Any]) -> None:
        while not over.wait(LOOK_SECONDS):
            try:
                holders.look(connection)
            except psycopg.Error:  # the migration's own session tells what is wrong with the database
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
