"""The private parts of asyncpg that the service uses. setup.cfg allows no release later than the tested one.

A release that changes one of these names fails tests/postgres (test_connecting).
"""

from __future__ import annotations

import asyncio
import os
import select
import socket
import sys
from collections.abc import Mapping
from pathlib import Path
from secrets import token_hex
from typing import TYPE_CHECKING, Any, TypeAlias

import asyncpg
from asyncpg import connect_utils

if TYPE_CHECKING:
    Base: TypeAlias = asyncpg.Connection[asyncpg.Record]
else:
    Base = asyncpg.Connection

# SO_KEEPALIVE's figures, by libpq's names. Other systems keep their own.
_KEEPALIVES = (
    {
        "keepalives_idle": socket.TCP_KEEPIDLE,
        "keepalives_interval": socket.TCP_KEEPINTVL,
        "keepalives_count": socket.TCP_KEEPCNT,
        "tcp_user_timeout": socket.TCP_USER_TIMEOUT,
    }
    if sys.platform == "linux"
    else {}
)

_PROCESS = token_hex(4)


class Connection(Base):
    """A connection that knows whether it can still be used, and whose statements have names of their own.

    asyncpg numbers its prepared statements from 1 in each process. Behind a pooler in transaction mode that
    `?pgbouncer=true` doesn't announce, a worker would then run another worker's statement of that name.
    """

    _poll: select.poll

    def watch(self, connected: socket.socket) -> None:
        """Say by which socket it is connected."""
        self._poll = select.poll()
        self._poll.register(connected, select.POLLIN)

    def is_usable(self) -> bool:
        """Whether nothing is known against sending a statement. Only for a connection that waits for nothing.

        What has arrived on it meanwhile is its end, which the event loop may not have read yet. Whatever else
        it might be isn't worth a statement that fails.
        """
        return not self.is_closed() and not self._poll.poll(0)

    def _get_unique_id(self, prefix: str) -> str:
        name: str = super()._get_unique_id(prefix)  # type: ignore[misc]
        return f"{name}{_PROCESS}"


class _OneAddress:
    """The event loop, as asyncpg sees it: it connects to one address of a host, whatever else the host has.

    asyncpg gives the whole of a host's addresses one time-out, and has no parameter for a socket. A cancel
    request goes to the same address.
    """

    def __init__(self, address: Any, options: Mapping[str, int]) -> None:
        self._loop = asyncio.get_running_loop()
        self._address = address
        self._options = options
        self.socket: socket.socket
        # What every statement calls.
        self.create_future = self._loop.create_future
        self.call_later = self._loop.call_later

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loop, name)

    async def create_connection(self, factory: Any, host: str, port: int, **options: Any) -> Any:
        family, kind, protocol, _, address = self._address
        if options.get("ssl"):
            options["server_hostname"] = host
        made = socket.socket(family, kind, protocol)
        try:
            made.setblocking(False)
            made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, self._options.get("keepalives", 1))
            for name, number in _KEEPALIVES.items():
                if value := self._options.get(name):
                    made.setsockopt(socket.IPPROTO_TCP, number, value)
            await self._loop.sock_connect(made, address)
            connection = await self._loop.create_connection(factory, sock=made, **options)
        except BaseException:
            made.close()
            raise
        self.socket = made
        return connection

    async def create_unix_connection(self, factory: Any, path: str) -> Any:
        made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            made.setblocking(False)
            await self._loop.sock_connect(made, path)
            connection = await self._loop.create_unix_connection(factory, sock=made)
        except BaseException:
            made.close()
            raise
        self.socket = made
        return connection


async def connect(
    host: str, port: int, address: Any, options: Mapping[str, int], **arguments: Any
) -> Connection:
    """Connect to one address of a host, as getaddrinfo gives it. A folder with a unix socket has none.

    `options` are libpq's `keepalives…` and `tcp_user_timeout`, `arguments` those of `asyncpg.connect`.
    """
    loop: Any = _OneAddress(address, options)
    connection: Connection = await asyncpg.connect(
        host=host, port=port, loop=loop, connection_class=Connection, **arguments
    )
    connection.watch(loop.socket)
    return connection


def _readable(filename: str) -> Path | None:
    """Where a file of the user's `~/.postgresql` is; None if that folder is closed to this user.

    libpq leaves aside what it can't read there. asyncpg fails with a PermissionError, and has no parameter
    to look elsewhere.
    """
    try:
        path = _ANYWHERE(filename)
        return path if path is None or _is_open(path.parent) else None
    except PermissionError:
        return None


def _is_open(folder: Path) -> bool:
    """Whether what isn't in the folder, or isn't there at all, can be told from what is."""
    try:
        folder.stat()
    except FileNotFoundError:
        return True
    return os.access(folder, os.X_OK)


_ANYWHERE = connect_utils._dot_postgresql_path  # type: ignore[attr-defined]
connect_utils._dot_postgresql_path = _readable  # type: ignore[attr-defined]
