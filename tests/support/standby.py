"""A primary and its streaming standby: two real servers."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psycopg

from chat_api.dev.postgres.installation import binaries, run_as
from chat_api.dev.postgres.server import Postgres
from chat_api.migrate.apply import apply_migrations
from tests.support.processes import children, free_port


@dataclass
class Pair:
    """A primary that commits nothing that its standby hasn't received, and the standby, which can be read."""

    primary: Postgres
    standby: Postgres

    async def kill_primary(self) -> None:
        """Kill every process of the primary at once."""
        assert self.primary.pid is not None
        for pid in [self.primary.pid, *await children(self.primary.pid)]:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.primary.wait()

    def promote(self) -> None:
        """Make the standby a primary. Blocks until it takes writes."""
        with psycopg.connect(self.standby.dsn(), autocommit=True) as admin:
            assert admin.execute("select pg_promote()").fetchone() == (True,)

    @property
    def url(self) -> str:
        """Both hosts in one address, the primary first."""
        ports = [server.dsn().rpartition(":")[2].partition("/")[0] for server in (self.primary, self.standby)]
        return f"postgresql://postgres@127.0.0.1:{ports[0]},127.0.0.1:{ports[1]}/postgres"


def copy(primary: Postgres, folder: Path) -> None:
    """Copy a running primary into a new folder: a server that is started there follows it."""
    programs = binaries(run_as(primary.data_dir))
    copied = subprocess.run(
        [programs / "pg_basebackup", "-D", folder, "-d", primary.dsn(), "-R", "-c", "fast"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert copied.returncode == 0, copied.stderr


def catch_up(primary: str, standby: str) -> None:
    """Wait until a standby shows all that its primary has. Both are URLs."""
    with (
        psycopg.connect(primary, autocommit=True) as ours,
        psycopg.connect(standby, autocommit=True) as theirs,
    ):
        there = ours.execute("select pg_current_wal_lsn()").fetchone()
        while theirs.execute("select pg_last_wal_replay_lsn() < %s", there).fetchone() == (True,):
            pass  # each check is a round trip


def make_synchronous(primary: Postgres) -> None:
    """From now on it confirms only what its standby has received."""
    with psycopg.connect(primary.dsn(), autocommit=True) as admin:
        admin.execute("alter system set synchronous_standby_names = '*'")
        admin.execute("select pg_reload_conf()")


@contextmanager
def replicated() -> Iterator[Pair]:
    """Start both, on a migrated database."""
    with tempfile.TemporaryDirectory(prefix="chat-") as name:
        folder = Path(name)
        folder.chmod(0o755)  # PostgreSQL may have to run as another user
        fast = {"fsync": "off", "max_wal_senders": "4"}
        with Postgres(folder / "primary", settings=fast, tcp_port=free_port()) as primary:
            apply_migrations(primary.dsn())
            copy(primary, folder / "standby")
            with Postgres(folder / "standby", settings=fast, tcp_port=free_port()) as standby:
                make_synchronous(primary)
                yield Pair(primary, standby)
