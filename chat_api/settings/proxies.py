"""The trusted proxies in front of the service, and what is believed of their headers."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

UNIX = "unix"  # stands for every client on the unix socket, where there are no addresses
NONE = "none"  # trust nobody; an empty variable counts as unset

# RFC 3986 section 3.2.2, as far as such hosts occur in practice. RFC 9110 section 4.2: a port is digits.
_HOST = re.compile(r"(?:[a-z0-9._-]{1,253}|\[[0-9a-f:.]{2,45}\])(?::[0-9]{1,5})?", re.ASCII | re.IGNORECASE)
# Some proxies add the client's port.
_WITH_PORT = re.compile(r"\[(?P<six>[^\]]+)\](?::\d+)?|(?P<four>[\d.]+):\d+", re.ASCII)


@dataclass(frozen=True, slots=True)
class Proxies:
    """The proxies whose X-Forwarded headers are believed. Anybody else could write anything into them."""

    networks: tuple[IPv4Network | IPv6Network, ...]
    unix: bool

    @classmethod
    def parse(cls, text: str) -> Proxies:
        """Read `none`, or a comma-separated list of addresses, networks and `unix`. Raises ValueError."""
        given = [each.strip().lower() for each in text.split(",") if each.strip()]
        if given == [NONE]:
            return cls((), unix=False)
        try:
            networks = tuple(ip_network(each) for each in given if each != UNIX)
        except ValueError as error:
            raise ValueError(
                f"{error}; must be IP addresses (10.0.0.1), networks (10.0.0.0/8) and unix, separated by "
                "commas, or none"
            ) from None
        return cls(networks, UNIX in given)

    def trust(self, peer: str | None) -> bool:
        """Whether to believe the headers of a connection from this address. A unix socket's peer has none."""
        address = _address(peer or "")
        return self.unix if address is None else self._includes(address)

    def client(self, peer: str, forwarded_for: Sequence[str]) -> str:
        """The client for whom the trusted `peer` speaks: the right-most X-Forwarded-For that isn't trusted.

        Each proxy appends the address that it saw. What is left of the first untrusted address comes from
        that client, who may have made it up. The same holds for what is left of something that isn't an
        address.
        """
        client = peer
        for hop in reversed(",".join(forwarded_for).split(",")):
            address = _address(hop.strip())
            if address is None:
                break
            client = str(address)
            if not self._includes(address):
                break
        return client

    def limit_subject(self, client: str) -> str | None:
        """What limits count for this client: its IPv4 address, or its IPv6 network of 64 bits.

        Each subscriber of a provider has at least one such network. None if the client itself is trusted:
        then it is a proxy that names no client, or a local program, and any number of users may be behind it.
        """
        address = _address(client)
        if address is None or self._includes(address):
            return None
        if isinstance(address, IPv4Address):
            return str(address)
        return str(ip_network((int(address) >> 64 << 64, 64)))

    def _includes(self, address: IPv4Address | IPv6Address) -> bool:
        return any(address in network for network in self.networks)


def scheme(forwarded_proto: Sequence[str]) -> str | None:
    """The scheme in X-Forwarded-Proto; None unless it is http or https, and the only one."""
    said = {each.strip().lower() for each in forwarded_proto}
    return said.pop() if said in ({"http"}, {"https"}) else None


def host(forwarded_host: Sequence[str]) -> str | None:
    """The host in X-Forwarded-Host; None unless it is well-formed, and the only one."""
    return forwarded_host[0] if len(forwarded_host) == 1 and _HOST.fullmatch(forwarded_host[0]) else None


@lru_cache(maxsize=1024)  # parsing costs more than everything else here does for a request
def _address(text: str) -> IPv4Address | IPv6Address | None:
    """Parse an address, with or without a port. None if it isn't one. IPv4 on an IPv6 socket becomes IPv4."""
    if port := _WITH_PORT.fullmatch(text):
        text = port["six"] or port["four"]
    try:
        address = ip_address(text)
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address
