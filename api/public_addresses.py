"""Which addresses belong to everybody, and which are a way into somebody's own network."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterable
from ipaddress import IPv4Address, IPv6Address, ip_network

Resolver = Callable[[str, int], Iterable[str]]
"""The addresses of a name."""

_NEVER = tuple(
    ip_network(network)
    for network in (
        *("64:ff9b::/96", "64:ff9b:1::/48"),  # NAT64: the IPv4 address inside may be a private one
        *("2002::/16", "192.88.99.0/24", "2001::/23"),  # 6to4, Teredo: likewise
        *("::/96", "192.0.0.0/24"),  # IPv4-compatible; protocol assignments
    )
)


def is_public(address: IPv4Address | IPv6Address) -> bool:
    """Whether an address is one of the public internet, and does not stand for another one."""
    if isinstance(address, IPv6Address) and address.ipv4_mapped:
        address = address.ipv4_mapped
    if any(address in network for network in _NEVER if network.version == address.version):
        return False
    return address.is_global and not (
        address.is_multicast
        or address.is_reserved
        or address.is_unspecified
        or (isinstance(address, IPv6Address) and address.is_site_local)
    )


def resolve_name(host: str, port: int) -> list[str]:
    """All addresses of a name, as the system knows them."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(place[4][0]) for place in found]
