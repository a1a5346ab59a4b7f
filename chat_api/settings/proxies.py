"""The proxies in front of the service, and what is believed of what they say."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

UNIX = "unix"  # who comes over the unix socket: there are no addresses
NONE = "none"  # believe nobody; an empty variable counts as unset

# RFC 3986 section 3.2.2, as far as hosts are seen in the wild; RFC 9110 section 4.2: a port is digits.
_HOST = re.compile(r"(?:[a-z0-9._-]{1,253}|\[[0-9a-f:.]{2,45}\])(?::[0-9]{1,5})?", re.ASCII | re.IGNORECASE)
# Some proxies tell the client's port too.
_WITH_PORT = re.compile(r"\[(?P<six>[^\]]+)\](?::\d+)?|(?P<four>[\d.]+):\d+", re.ASCII)


@dataclass(frozen=True, slots=True)
class Proxies:
    """Those whose X-Forwarded headers are believed. Anybody else could write there what he likes."""

    networks: tuple[IPv4Network | IPv6Network, ...]
    unix: bool

    @classmethod
    def parse(cls, text: str) -> Proxies:
        """Read addresses, networks and `unix`, separated by commas, or `none`. Raises ValueError."""
        given = [each.strip().lower() for each in text.split(",") if each.strip()]
        if given == [NONE]:
            return cls((), unix=False)
        try:
            networks = tuple(ip_network(each) for each in given if each != UNIX)
        except ValueError as error:
            raise ValueError(
                f"{error}; must be addresses (10.0.0.1), networks (10.0.0.0/8) and unix, separated by "
                "commas, or none"
            ) from None
        return cls(networks, UNIX in given)

    def trust(self, peer: str | None) -> bool:
        """Whether to believe what comes from this address of a connection; over a unix socket it is none."""
        address = _address(peer or "")
        return self.unix if address is None else self._know(address)

    def client(self, peer: str, forwarded_for: Sequence[str]) -> str:
        """Who the trusted `peer` speaks for: the right-most of X-Forwarded-For that isn't trusted itself.

        Each proxy adds on the right whom it saw. What lies left of the first stranger is that stranger's
        tale, and so is what lies left of something that is no address.
        """
        client = peer
        for hop in reversed(",".join(forwarded_for).split(",")):
            address = _address(hop.strip())
            if address is None:
                break
            client = str(address)
            if not self._know(address):
                break
        return client

    def limit_subject(self, client: str) -> str | None:
        """What limits count for this client: its IPv4 address, or its IPv6 network of 64 bits.

        Each subscriber of a provider has at least one such network. None: the client is itself trusted. It is
        a proxy that doesn't say for whom it speaks, or a local program, and anybody may be behind it.
        """
        address = _address(client)
        if address is None or self._know(address):
            return None
        if isinstance(address, IPv4Address):
            return str(address)
        return str(ip_network((int(address) >> 64 << 64, 64)))

    def _know(self, address: IPv4Address | IPv6Address) -> bool:
        return any(address in network for network in self.networks)


def scheme(forwarded_proto: Sequence[str]) -> str | None:
    """What X-Forwarded-Proto says, where it says one thing that can be."""
    said = {each.strip().lower() for each in forwarded_proto}
    return said.pop() if said in ({"http"}, {"https"}) else None


def host(forwarded_host: Sequence[str]) -> str | None:
    """What X-Forwarded-Host says, where it says one thing that can be."""
    return forwarded_host[0] if len(forwarded_host) == 1 and _HOST.fullmatch(forwarded_host[0]) else None


@lru_cache(maxsize=1024)  # reading one costs more than all else that is done for a request here
def _address(text: str) -> IPv4Address | IPv6Address | None:
    """An address, with or without a port; None where it is none. One of IPv4 stays so on a socket of IPv6."""
    if port := _WITH_PORT.fullmatch(text):
        text = port["six"] or port["four"]
    try:
        address = ip_address(text)
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address
