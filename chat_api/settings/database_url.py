"""The database's address: one URL, read once, and passed to asyncpg and psycopg as each needs it.

It may be a connection URI of libpq's (PostgreSQL documentation, 34.1.1.2), or SQLAlchemy's
`postgresql+asyncpg://` with its query options. No message and no `repr` contains the password, or any part
that could be one.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import SplitResult, parse_qsl, quote, unquote, urlsplit

from chat_api.settings.database_hosts import DEFAULT_PORT, Host, netloc_of, read_hosts, with_ports
from chat_api.settings.database_options import (
    BINDINGS,
    IGNORED,
    NO_BINDING,
    SESSION_ATTRIBUTES,
    SHARED,
    SOCKETS,
    flag,
    number,
    one_of,
    sslmode,
)

_SCHEMES = {"postgresql", "postgres", "postgresql+asyncpg", "postgres+asyncpg"}


@dataclass(frozen=True, slots=True)
class Dsn:
    """A parsed database URL. What the URL leaves out is None or empty; the driver's default then applies."""

    hosts: tuple[Host, ...] = ()
    """Each host with its port. An empty host means the driver's default places."""
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    database: str | None = None
    options: tuple[tuple[str, str], ...] = ()
    connect_timeout: float | None = None
    """Seconds; 0 waits for ever."""
    pool_options: tuple[tuple[str, float], ...] = ()
    """Options that only asyncpg knows, such as `statement_cache_size` and `command_timeout` (seconds)."""
    libpq_options: tuple[tuple[str, str], ...] = ()
    """Options that asyncpg doesn't know: `channel_binding`, `keepalives…` and `tcp_user_timeout`."""
    ignored: tuple[tuple[str, str], ...] = ()
    """Options that this service leaves aside, each with the reason."""
    pooler: bool | None = None
    """Whether the URL says that this is a pooler in transaction mode; None: it doesn't say."""

    def asyncpg_kwargs(self) -> dict[str, Any]:
        """Return the arguments for `asyncpg.connect` and `asyncpg.create_pool`."""
        kwargs: dict[str, Any] = {"dsn": self._url(self.password, self.options), **dict(self.pool_options)}
        if self.connect_timeout is not None:
            kwargs["timeout"] = self.connect_timeout or None
        if self._port_alone:
            # In the URL, asyncpg would require as many ports as it has default places.
            kwargs["port"] = self._port_alone
        return kwargs

    def libpq(self) -> str:
        """Return a connection URI for psycopg and for PostgreSQL's own tools."""
        options = [*self.options, *self.libpq_options]
        if self._port_alone:
            options.append(("port", str(self._port_alone)))
        if self.connect_timeout is not None:
            # libpq counts whole seconds.
            options.append(("connect_timeout", str(math.ceil(self.connect_timeout))))
        return self._url(self.password, options)

    def redacted(self) -> str:
        """Return the address for messages: user, hosts and database, without the password and the options."""
        return self._url(None, [("port", str(self._port_alone))] if self._port_alone else [])

    @property
    def _port_alone(self) -> int | None:
        return self.hosts[0][1] if self.hosts and not self.hosts[0][0] else None

    def _url(self, password: str | None, options: Iterable[tuple[str, str]]) -> str:
        hosts = [] if self._port_alone else self.hosts
        query = list(options)
        netloc = ""
        if any(host.startswith("/") for host, _ in hosts):
            query.append(("host", ",".join(host for host, _ in hosts)))
            if any(port for _, port in hosts):
                query.append(("port", ",".join(str(port or DEFAULT_PORT) for _, port in hosts)))
        else:
            netloc = ",".join(netloc_of(host, port) for host, port in hosts)
        if self.user is not None or password is not None:
            secret = "" if password is None else f":{quote(password, safe='')}"
            netloc = f"{quote(self.user or '', safe='')}{secret}@{netloc}"
        # Write each space as %20, because libpq doesn't read a plus as a space.
        tail = "&".join(f"{name}={quote(value, safe='/,')}" for name, value in query)
        # Write no bare slash, which asyncpg would take for a database without a name.
        path = f"/{quote(self.database, safe='')}" if self.database else ""
        return f"postgresql://{netloc}{path}{'?' if tail else ''}{tail}"


def parse_dsn(url: str) -> Dsn:
    """Read a database URL.

    Raises:
        ValueError: the URL can't be used. The text is one sentence, which never quotes what may be a secret.
    """
    parts = _split(url.strip())
    auth, _, where = parts.netloc.rpartition("@")
    user, _, password = auth.partition(":")
    hosts = read_hosts(where) if where else []
    found = {"user": unquote(user), "password": unquote(password), "dbname": unquote(parts.path[1:])}
    options: dict[str, str] = {}
    timeout: float | None = None
    pool: dict[str, float] = {}
    libpq: dict[str, str] = {}
    ignored: dict[str, str] = {}
    pooler: bool | None = None
    elsewhere: list[str] = []
    port = ""
    # SQLAlchemy and asyncpg read a plus as a space. SQLAlchemy repeats `host` to name several hosts.
    for name, value in parse_qsl(parts.query, keep_blank_values=True):
        match name:
            case "host":
                elsewhere.append(value)
            case "port":
                port = value
            case "user" | "password" | "dbname":
                found[name] = value
            case "ssl" | "sslmode":
                options["sslmode"] = sslmode(name, value)
            case "connect_timeout" | "timeout":
                timeout = number(name, value, float)
            case "pgbouncer":
                pooler = flag(name, value)
                if pooler:
                    # In transaction mode, a prepared statement stays in a session that another client may
                    # get.
                    pool["statement_cache_size"] = 0
            case "prepared_statement_cache_size" | "statement_cache_size":
                size = number(name, value, int)
                pool["statement_cache_size"] = min(size, pool.get("statement_cache_size", size))
            case "max_cached_statement_lifetime" | "max_cacheable_statement_size":
                pool[name] = number(name, value, int)
            case "command_timeout":
                pool[name] = number(name, value, float)
            case "async_fallback":
                pass  # Only SQLAlchemy needs it, to call asyncpg from synchronous code.
            case "channel_binding":
                libpq[name] = one_of(name, value, BINDINGS)
                if value == "require":
                    ignored[name] = NO_BINDING
            case _ if name in IGNORED:
                ignored[name] = IGNORED[name]
            case "target_session_attrs":
                options[name] = one_of(name, value, SESSION_ATTRIBUTES)
            case _ if name in SOCKETS:
                libpq[name] = str(number(name, value, int))
            case _ if name in SHARED:
                options[name] = value
            case _:
                # asyncpg would send it to the server as a setting, and the server's complaint helps nobody.
                raise ValueError(
                    f"the database URL has an option that this service doesn't know: {name!r}; remove it"
                )
    if elsewhere:
        hosts = read_hosts(",".join(elsewhere))
    if port:
        hosts = with_ports(hosts, port)
    if len(hosts) > 1:
        # The one that takes writes is meant; libpq's default is any.
        options.setdefault("target_session_attrs", "read-write")
    if options.get("sslmode") == "verify-full":
        ignored.pop("channel_binding", None)  # the certificate has proved the server already
    return Dsn(
        hosts=tuple(hosts),
        user=found["user"] or None,
        password=found["password"] or None,
        database=found["dbname"] or None,
        options=tuple(options.items()),
        connect_timeout=timeout,
        pool_options=tuple(pool.items()),
        libpq_options=tuple(libpq.items()),
        ignored=tuple(ignored.items()),
        pooler=pooler,
    )


def _split(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
    except ValueError:
        # Python's own message may quote what is between the brackets.
        raise ValueError(
            "the database URL has brackets without an IPv6 address; in a password, write them as %5B and %5D"
        ) from None
    if parts.scheme not in _SCHEMES:
        raise ValueError(
            "the database URL must begin with postgresql+asyncpg://, postgresql:// or postgres://"
        )
    if parts.fragment or "#" in url:
        raise ValueError("the database URL contains a '#'; in a user name or password, write it as %23")
    return parts
