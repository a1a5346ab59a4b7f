"""The hosts of a database URL: one or more names, addresses or folders of unix sockets."""

from urllib.parse import quote, unquote

DEFAULT_PORT = 5432

Host = tuple[str, int | None]
"""A name, an address or a socket folder; and the port, or None if the URL gives none."""


def read_hosts(text: str) -> list[Host]:
    """Read a comma-separated list of hosts. Raises ValueError with one sentence."""
    hosts = [_host(spec) for spec in text.split(",")]
    if len(hosts) > 1 and not all(host for host, _ in hosts):
        raise ValueError("the database URL names several hosts, and one of them is empty")
    return hosts


def _host(spec: str) -> Host:
    if spec.startswith("["):
        host, _, rest = spec[1:].partition("]")
        port = rest.removeprefix(":")
    elif spec.startswith("/") or spec.count(":") > 1:
        host, port = spec, ""
    else:
        host, _, port = spec.partition(":")
    return unquote(host), _port(port) if port else None


def with_ports(hosts: list[Host], ports: str) -> list[Host]:
    """Give the hosts the ports of a comma-separated list: one for all, or one for each. Raises ValueError."""
    numbers = [_port(port) for port in ports.split(",")]
    names = [host for host, _ in hosts] or [""]
    if len(numbers) == 1:
        numbers *= len(names)
    if len(numbers) != len(names):
        raise ValueError("the database URL must give one port, or as many ports as hosts")
    return list(zip(names, numbers, strict=True))


def _port(text: str) -> int:
    if text.isascii() and text.isdigit() and 0 < int(text) < 65536:
        return int(text)
    # Don't quote the text: if a password has a raw '/' or '@', the text is a piece of it.
    raise ValueError(
        "the database URL's port must be a number from 1 to 65535; "
        "special characters in a user name or password must be percent-encoded"
    )


def netloc_of(host: str, port: int | None) -> str:
    """Write a host and its port as a URL has them before the path."""
    name = f"[{host}]" if ":" in host else quote(host, safe="")
    return f"{name}:{port}" if port else name
