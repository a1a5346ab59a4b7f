"""Opens connections: each host of the database URL, and each address of a host, gets its own time."""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import Mapping, Sequence
from typing import Any

import asyncpg

from chat_api.errors import describe
from chat_api.libraries import asyncpg as driver
from chat_api.libraries.asyncpg import Connection
from chat_api.postgres.encoding import WrongEncoding, explain_encoding
from chat_api.settings.database_hosts import DEFAULT_PORT, Host, read_hosts, with_ports
from chat_api.settings.database_options import SOCKETS
from chat_api.settings.database_url import Dsn

# Where asyncpg looks if neither the URL nor PGHOST says.
DEFAULT_PLACES = "/run/postgresql,/var/run/postgresql,/tmp,localhost"
# A firewall that has forgotten an idle connection, and tells nobody, is found out within a minute.
KEEPALIVES = {"keepalives_idle": 30, "keepalives_interval": 10, "keepalives_count": 3}
# This server can't be had, but the next one may; as with libpq, a refused password isn't tried elsewhere.
NEXT = (
    OSError,
    asyncpg.CannotConnectNowError,
    asyncpg.ConnectionDoesNotExistError,
    asyncpg.TargetServerAttributeNotMatched,
)

Address = tuple[Any, ...]


class Connector:
    """Opens connections to the first server that can be had, trying first the one that was had last.

    The time is divided among the hosts that are left, and a host's share among its addresses, so that one
    that swallows what it is sent can't use it up. `connect_timeout` in the URL shortens what each gets.
    """

    def __init__(self, dsn: Dsn, arguments: Mapping[str, Any]) -> None:
        """`arguments` are those of `asyncpg.connect`; hosts and time-outs are the URL's."""
        self._hosts = dsn.hosts if dsn.hosts and dsn.hosts[0][0] else _default_hosts(dsn)
        self._longest = dsn.connect_timeout or float("inf")
        given = {name: int(value) for name, value in dsn.libpq_options if name in SOCKETS}
        self._options = {**KEEPALIVES, **given}
        self._arguments = {
            name: value for name, value in arguments.items() if name not in ("timeout", "port")
        }
        wanted = dict(dsn.options).get("target_session_attrs") or os.environ.get("PGTARGETSESSIONATTRS")
        self._rounds = ("standby", "any") if wanted == "prefer-standby" else (wanted,)
        self._last: tuple[Host, Address | None] | None = None

    async def connect(self, seconds: float) -> Connection:
        """Open a connection within this time. The caller closes it.

        Raises what the server said or, if there are several, a ConnectionError with what each said.
        """
        failures: list[tuple[str, Exception]] = []
        deadline = time.monotonic() + seconds
        tries = [(attributes, host) for attributes in self._rounds for host in self._ordered_hosts()]
        for number, (attributes, host) in enumerate(tries):
            end = _share(deadline, len(tries) - number)
            try:
                async with asyncio.timeout(end - time.monotonic()):
                    addresses = await self._addresses(host)
            except OSError as error:
                failures.append((_name(host), error))
                continue
            for place, address in enumerate(addresses):
                share = min(_share(end, len(addresses) - place) - time.monotonic(), self._longest)
                try:
                    connection = await self._connect(host, address, attributes, share)
                except NEXT as error:
                    failures.append((_name(host), error))
                else:
                    self._last = host, address
                    return connection
        if len(failures) == 1:
            raise failures[0][1]
        raise ConnectionError("; ".join(f"{name}: {describe(error)}" for name, error in failures))

    async def _connect(
        self, host: Host, address: Address | None, attributes: str | None, seconds: float
    ) -> Connection:
        name, port = host
        try:
            connection = await driver.connect(
                name,
                port or DEFAULT_PORT,
                address,
                self._options,
                target_session_attrs=attributes,
                timeout=seconds,
                **self._arguments,
            )
        except TimeoutError:
            raise TimeoutError(f"no connection within {seconds:.3g} s") from None
        encoding = getattr(connection.get_settings(), "server_encoding", "UTF8")
        if encoding != "UTF8":
            connection.terminate()
            raise WrongEncoding(explain_encoding(encoding))
        return connection

    def _ordered_hosts(self) -> list[Host]:
        return sorted(self._hosts, key=lambda host: self._last is None or host != self._last[0])

    async def _addresses(self, host: Host) -> Sequence[Address | None]:
        name, port = host
        if name.startswith("/"):
            return [None]
        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo(name, port or DEFAULT_PORT, type=socket.SOCK_STREAM)
        return sorted(found, key=lambda address: (host, address) != self._last)


def _share(deadline: float, parts: int) -> float:
    """Until when the next of so many may try."""
    now = time.monotonic()
    return now + (deadline - now) / parts


def _name(host: Host) -> str:
    return f"{host[0]}:{host[1] or DEFAULT_PORT}"


def _default_hosts(dsn: Dsn) -> tuple[Host, ...]:
    """What libpq and asyncpg take from the environment."""
    port = str(dsn.hosts[0][1]) if dsn.hosts else os.environ.get("PGPORT") or str(DEFAULT_PORT)
    return tuple(with_ports(read_hosts(os.environ.get("PGHOST") or DEFAULT_PLACES), port))
