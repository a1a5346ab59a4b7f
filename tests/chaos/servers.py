"""PostgreSQL: one server, or a primary and its synchronous standby, which change places."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from pathlib import Path

import asyncpg

from chat_api.dev.postgres.server import Postgres
from chat_api.migrate.apply import apply_migrations
from tests.support.processes import free_port, until
from tests.support.standby import Pair, copy, make_synchronous

IN_STEP = """
select exists (
    select from pg_stat_replication
    where state = 'streaming' and sync_state = 'sync' and flush_lsn >= pg_current_wal_flush_lsn()
)
"""
# A standby whose primary was killed comes back at once.
SETTINGS = {"wal_retrieve_retry_interval": "200ms"}


class Servers:
    """Starts and stops them. `programs`: a folder with PostgreSQL's, if not the usual one."""

    def __init__(self, folder: Path, *, replicated: bool, programs: Path | None) -> None:
        self._folder = folder
        self._programs = programs
        self.primary = self._server("first")
        self.standby = self._server("second") if replicated else None

    def _server(self, name: str) -> Postgres:
        return Postgres(self._folder / name, settings=SETTINGS, tcp_port=free_port(), programs=self._programs)

    @property
    def all(self) -> list[Postgres]:
        """Each of them."""
        return [self.primary, *([self.standby] if self.standby else [])]

    def start(self) -> None:
        """Start them, on a migrated database."""
        self.primary.start()
        apply_migrations(self.primary.dsn())
        self._attach()

    def stop(self) -> None:
        """Stop them."""
        for server in self.all:
            server.stop()

    async def connect(self) -> asyncpg.Connection:
        """A connection to the primary, past the wires."""
        return await asyncpg.connect(self.primary.dsn())

    def kill(self) -> None:
        """Kill the primary's postmaster, wait until its children notice and end, and start it again."""
        assert self.primary.pid is not None
        os.kill(self.primary.pid, signal.SIGKILL)
        while self.primary.pid is not None:
            time.sleep(0.01)
        self.primary.start()

    async def fail_over(self, delay: float) -> None:
        """Kill the primary, and so many seconds later promote the standby. A new one then follows it.

        Begins when the standby is in step: another one may not take over.
        """
        assert self.standby is not None
        await self._in_step()
        pair = Pair(self.primary, self.standby)
        await pair.kill_primary()
        await asyncio.sleep(delay)
        await asyncio.to_thread(pair.promote)
        self.primary, self.standby = pair.standby, pair.primary
        await asyncio.to_thread(self._replace)

    def _replace(self) -> None:
        assert self.standby is not None
        self.standby.stop()
        self.standby.erase()
        self._attach()

    def _attach(self) -> None:
        if self.standby is not None:
            copy(self.primary, self.standby.data_dir)
            self.standby.start()
            make_synchronous(self.primary)

    async def _in_step(self) -> None:
        connection = await self.connect()
        await until(lambda: connection.fetchval(IN_STEP))
        await connection.close()
