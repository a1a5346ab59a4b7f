"""The database's address: one URL, read once, handed to asyncpg and to psycopg in what each understands.

Understood are libpq's connection URIs (PostgreSQL documentation, 34.1.1.2) and SQLAlchemy's
`postgresql+asyncpg://` with its query options. No message and no `repr` holds the password, nor a part that
could be one.
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, TypeVar
from urllib.parse import SplitResult, parse_qsl, quote, unquote, urlsplit

from chat_api.settings.database_hosts import DEFAULT_PORT, Host, netloc_of, read_hosts, with_ports

_SCHEMES = {"postgresql", "postgres", "postgresql+asyncpg", "postgres+asyncpg"}

# Options that both drivers read from a URL in the same spelling.
_SHARED = {
    "sslmode",
    "sslrootcert",
    "sslcert",
    "sslkey",
    "application_name",
    "options",
    "target_session_attrs",
}
_SSLMODES = {"disable", "allow", "prefer", "require", "verify-ca", "verify-full"}
# libpq reads `ssl=true` as sslmode=require too, for the sake of JDBC's URLs.
_SSL_WORDS = {"true": "require", "1": "require", "false": "disable", "0": "disable"}

_Number = TypeVar("_Number", int, float)


@dataclass(frozen=True, slots=True)
class Dsn:
    """A parsed database URL. What it leaves out is None or empty, and the driver's own default holds."""

    hosts: tuple[Host, ...] = ()
    """Host name, address or socket folder, with its port. An empty host means the driver's own places."""
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    database: str | None = None
    options: tuple[tuple[str, str], ...] = ()
    connect_timeout: float | None = None
    """Seconds; 0 waits for ever."""
    pool_options: tuple[tuple[str, float], ...] = ()
    """What only asyncpg knows, such as `statement_cache_size` and `command_timeout` (seconds)."""

    def asyncpg_kwargs(self) -> dict[str, Any]:
        """Arguments for `asyncpg.connect` and `asyncpg.create_pool`."""
        kwargs: dict[str, Any] = {"dsn": self._url(self.password, self.options), **dict(self.pool_options)}
        if self.connect_timeout is not None:
            kwargs["timeout"] = self.connect_timeout or None
        if self._port_alone:
            # In the URL, asyncpg would want as many ports as it has default places.
            kwargs["port"] = self._port_alone
        return kwargs

    def libpq(self) -> str:
        """A connection URI for psycopg and for PostgreSQL's own tools."""
        options = list(self.options)
        if self._port_alone:
            options.append(("port", str(self._port_alone)))
        if self.connect_timeout is not None:
            # libpq counts whole seconds.
            options.append(("connect_timeout", str(math.ceil(self.connect_timeout))))
        return self._url(self.password, options)

    def redacted(self) -> str:
        """The address for messages: who, where, which database; no password, no options."""
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
        # Every space as %20: libpq doesn't read a plus as one.
        tail = "&".join(f"{name}={quote(value, safe='/,')}" for name, value in query)
        # No bare slash: asyncpg would take it for a database without a name.
        path = f"/{quote(self.database, safe='')}" if self.database else ""
        return f"postgresql://{netloc}{path}{'?' if tail else ''}{tail}"


def parse_dsn(url: str) -> Dsn:
    """Read a database URL.

    Raises:
        ValueError: with one sentence that says what is wrong, and never quotes what may be a secret.
    """
    parts = _split(url.strip())
    auth, _, where = parts.netloc.rpartition("@")
    user, _, password = auth.partition(":")
    hosts = read_hosts(where) if where else []
    found = {"user": unquote(user), "password": unquote(password), "dbname": unquote(parts.path[1:])}
    options: dict[str, str] = {}
    timeout: float | None = None
    pool: dict[str, float] = {}
    elsewhere: list[str] = []
    port = ""
    # As SQLAlchemy and asyncpg read it: a plus is a space. SQLAlchemy names several hosts by several `host`.
    for name, value in parse_qsl(parts.query, keep_blank_values=True):
        match name:
            case "host":
                elsewhere.append(value)
            case "port":
                port = value
            case "user" | "password" | "dbname":
                found[name] = value
            case "ssl" | "sslmode":
                options["sslmode"] = _sslmode(name, value)
            case "connect_timeout" | "timeout":
                timeout = _number(name, value, float)
            case "pgbouncer":
                if _flag(name, value):
                    # In transaction mode, prepared statements stay behind in another session.
                    pool["statement_cache_size"] = 0
            case "prepared_statement_cache_size" | "statement_cache_size":
                size = _number(name, value, int)
                pool["statement_cache_size"] = min(size, pool.get("statement_cache_size", size))
            case "max_cached_statement_lifetime" | "max_cacheable_statement_size":
                pool[name] = _number(name, value, int)
            case "command_timeout":
                pool[name] = _number(name, value, float)
            case "async_fallback":
                pass  # SQLAlchemy's own affair: how it calls asyncpg from synchronous code.
            case _ if name in _SHARED:
                options[name] = value
            case _:
                # asyncpg would send it to the server as a setting, whose complaint helps nobody.
                raise ValueError(
                    f"the database URL has an option this service doesn't know: {name!r}; take it out"
                )
    if elsewhere:
        hosts = read_hosts(",".join(elsewhere))
    if port:
        hosts = with_ports(hosts, port)
    return Dsn(
        hosts=tuple(hosts),
        user=found["user"] or None,
        password=found["password"] or None,
        database=found["dbname"] or None,
        options=tuple(options.items()),
        connect_timeout=timeout,
        pool_options=tuple(pool.items()),
    )


def _split(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
    except ValueError:
        # Python's own message may quote what stands between the brackets.
        raise ValueError(
            "the database URL has brackets that hold no IPv6 address; in a password write them as %5B and %5D"
        ) from None
    if parts.scheme not in _SCHEMES:
        raise ValueError(
            "the database URL must begin with postgresql+asyncpg://, postgresql:// or postgres://"
        )
    if parts.fragment or "#" in url:
        raise ValueError("the database URL has a '#' in it; in a user name or password write it as %23")
    return parts


def _sslmode(name: str, value: str) -> str:
    mode = _SSL_WORDS.get(value.lower(), value) if name == "ssl" else value
    if mode not in _SSLMODES:
        raise ValueError(
            f"the database URL's {name} must be one of {', '.join(sorted(_SSLMODES))}, not {value!r}"
        )
    return mode


def _flag(name: str, value: str) -> bool:
    if value.lower() not in {"true", "false", "1", "0"}:
        raise ValueError(f"the database URL's {name} must be true or false, not {value!r}")
    return value.lower() in {"true", "1"}


def _number(name: str, value: str, kind: Callable[[str], _Number]) -> _Number:
    try:
        number = kind(value)
    except ValueError:
        number = kind("-1")
    if not 0 <= number < math.inf:
        raise ValueError(f"the database URL's {name} must be a number, 0 or more, not {value!r}")
    return number
