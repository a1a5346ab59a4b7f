"""The options of a database URL: which there are, and what they may be."""

import math
from collections.abc import Callable
from typing import TypeVar

# Options that both drivers read from a URL in the same spelling.
SHARED = {
    "sslmode",
    "sslrootcert",
    "sslcert",
    "sslkey",
    "application_name",
    "options",
}
_SSLMODES = {"disable", "allow", "prefer", "require", "verify-ca", "verify-full"}
# libpq too reads `ssl=true` as sslmode=require, for the sake of JDBC's URLs.
_SSL_WORDS = {"true": "require", "1": "require", "false": "disable", "0": "disable"}

SESSION_ATTRIBUTES = {"any", "read-write", "read-only", "primary", "standby", "prefer-standby"}
SOCKETS = {"keepalives", "keepalives_idle", "keepalives_interval", "keepalives_count", "tcp_user_timeout"}
BINDINGS = {"disable", "prefer", "require"}
NO_BINDING = (
    "asyncpg has no channel binding; sslmode=verify-full with sslrootcert proves who the server is without it"
)
# Prisma's options, which some providers' URLs have.
IGNORED = {
    "connection_limit": "DATABASE_POOL_MAX limits the connections",
    "pool_timeout": "DATABASE_TIMEOUT limits the wait for a connection",
}

_Number = TypeVar("_Number", int, float)


def sslmode(name: str, value: str) -> str:
    """How TLS is used. Raises ValueError, as all of these do, with one sentence."""
    return one_of(name, _SSL_WORDS.get(value.lower(), value) if name == "ssl" else value, _SSLMODES)


def one_of(name: str, value: str, allowed: set[str]) -> str:
    """One of these words."""
    if value not in allowed:
        raise ValueError(
            f"the database URL's {name} must be one of {', '.join(sorted(allowed))}, not {value!r}"
        )
    return value


def flag(name: str, value: str) -> bool:
    """True or false."""
    if value.lower() not in {"true", "false", "1", "0"}:
        raise ValueError(f"the database URL's {name} must be true or false, not {value!r}")
    return value.lower() in {"true", "1"}


def number(name: str, value: str, kind: Callable[[str], _Number]) -> _Number:
    """A finite number, 0 or more."""
    try:
        read = kind(value)
    except ValueError:
        read = kind("-1")
    if not 0 <= read < math.inf:
        raise ValueError(f"the database URL's {name} must be a number, 0 or more, not {value!r}")
    return read
