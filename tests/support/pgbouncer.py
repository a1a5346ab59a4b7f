"""A real pgbouncer in transaction mode."""

from __future__ import annotations

import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import psycopg

from chat_api.dev.postgres.installation import run_as
from chat_api.dev.tether import tethered
from tests.support.processes import free_port
from tests.support.programs import program

CONFIGURATION = """
[databases]
* = host={host} port={port} user={user}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {listen_port}
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = 3
"""


@contextmanager
def pooled(database_url: str, user: str = "postgres") -> Iterator[str]:
    """The database through pgbouncer, with three server connections for all clients; skips without it."""
    pgbouncer = program("pgbouncer")
    query = {name: value[0] for name, value in parse_qs(urlsplit(database_url).query).items()}
    with tempfile.TemporaryDirectory(prefix="chat-") as folder:
        Path(folder).chmod(0o755)
        port = free_port()
        configuration = Path(folder, "pgbouncer.ini")
        configuration.write_text(CONFIGURATION.format(**query, user=user, listen_port=port))
        process = subprocess.Popen(
            tethered([pgbouncer, str(configuration)], signal.SIGINT, run_as(Path(folder))),
            stdin=subprocess.DEVNULL,
        )
        url = f"postgresql://{user}@127.0.0.1:{port}{urlsplit(database_url).path}"
        try:
            answers(url)
            yield f"{url}?pgbouncer=true"
        finally:
            process.send_signal(signal.SIGTERM)  # at once, even if clients are connected
            process.wait(10)


def answers(url: str) -> None:
    """Wait until a server accepts connections there."""
    deadline = time.monotonic() + 10
    while True:
        try:
            psycopg.connect(url).close()
            return
        except psycopg.OperationalError:
            if time.monotonic() > deadline:
                raise
        time.sleep(0.02)
