"""Requests to addresses that clients name, without becoming their way into networks they cannot reach themselves.

The guard stands where the connection is made: the name is resolved once, all its addresses are judged, and what is
connected to is the address that was judged. So a name that changes its address between the look and the connection
gains nothing. TLS and the `Host` header go by the name as usual. Redirects are answers like any other: never followed.
"""

from __future__ import annotations

import re
import socket
import ssl
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Any, NamedTuple

import httpcore
import httpx
from typing_extensions import override

Resolver = Callable[[str, int], Iterable[str]]
"""The addresses of a name."""

_URL_MAX_CHARS = 2048
_HOST = re.compile(r"[a-z0-9._:-]+")
_NEVER = tuple(
    ip_network(network)
    for network in (
        *("64:ff9b::/96", "64:ff9b:1::/48"),  # NAT64: the IPv4 address inside may be a private one
        *("2002::/16", "192.88.99.0/24", "2001::/23"),  # 6to4, Teredo: likewise
        *("::/96", "192.0.0.0/24"),  # IPv4-compatible; protocol assignments
    )
)


class DestinationRefused(Exception):
    """The destination is one that this service does not speak to. The message may be shown to whoever named it."""


class Unanswered(Exception):
    """Nothing came back that is an answer: no name, no connection, no trust, no time left."""


class Answer(NamedTuple):
    """What came back: the body is never read."""

    status: int
    retry_after_s: int | None


@dataclass(frozen=True, kw_only=True, slots=True)
class OutboundPolicy:
    """Where requests may go."""

    ports: frozenset[int] = frozenset({443})
    allow_http: bool = False
    """Plain HTTP too: what is sent can be read on its way."""
    allow_private: bool = False
    """Addresses that are not public too: whoever can name a destination can then reach this network."""
    timeout_s: float = 20.0
    """Of a whole request: a destination that answers byte by byte gains nothing."""
    resolve: Resolver = field(default_factory=lambda: resolve_name)
    ssl_context: ssl.SSLContext | None = None


def check_url(text: str, policy: OutboundPolicy) -> httpx.URL:
    """The URL, when all that can be told without asking for its name allows it. Raises DestinationRefused."""
    if len(text) > _URL_MAX_CHARS or not text.isprintable():
        raise DestinationRefused(f"It is not a URL of at most {_URL_MAX_CHARS} printable characters.")
    try:
        url = httpx.URL(text)
        host = url.raw_host.decode()
        port = {"https": 443, "http": 80}.get(url.scheme) if url.port is None else url.port
    except (httpx.InvalidURL, ValueError) as error:
        raise DestinationRefused("It is not a URL.") from error
    schemes = ("https", "http") if policy.allow_http else ("https",)
    if url.scheme not in schemes or not _HOST.fullmatch(host):
        raise DestinationRefused(f"It is not of the form {' or '.join(f'{scheme}://host' for scheme in schemes)}.")
    if url.userinfo:
        raise DestinationRefused("It has a user name or a password in it.")
    if port not in policy.ports:
        raise DestinationRefused(f"Port {port} is not one of {', '.join(map(str, sorted(policy.ports)))}.")
    try:
        address = ip_address(host)
    except ValueError:
        return url
    _check_address(address, policy)
    return url


def post(url: str, content: bytes, headers: Mapping[str, str], policy: OutboundPolicy) -> Answer:
    """Send `content`; the status of the answer. Raises DestinationRefused, or Unanswered."""
    target = check_url(url, policy)
    until_s = time.monotonic() + policy.timeout_s
    backend = _GuardedBackend(policy, until_s)
    timeouts = dict.fromkeys(("connect", "read", "write", "pool"), policy.timeout_s)
    try:
        with (
            httpcore.ConnectionPool(
                ssl_context=policy.ssl_context or httpx.create_ssl_context(), network_backend=backend, http2=False
            ) as pool,
            pool.stream(
                "POST",
                str(target).partition("#")[0],
                headers=[("Host", target.netloc.decode()), *headers.items(), ("Content-Length", str(len(content)))],
                content=content,
                extensions={"timeout": timeouts},
            ) as response,
        ):
            # Leaving the block without reading closes the connection: a body of any size costs nothing.
            told = {name.lower(): value for name, value in response.headers}
            wait = told.get(b"retry-after", b"").strip()
            # An HTTP date is allowed here too; our own schedule is as good.
            return Answer(response.status, int(wait) if wait.isdigit() and len(wait) < 7 else None)
    except (httpcore.NetworkError, httpcore.TimeoutException, httpcore.ProtocolError) as error:
        raise Unanswered(str(error) or type(error).__name__) from error


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


def _check_address(address: IPv4Address | IPv6Address, policy: OutboundPolicy) -> None:
    if not policy.allow_private and not is_public(address):
        # The address itself stays inside: a name of ours must not tell others about our network.
        raise DestinationRefused("Its host is not a public address.")


class _GuardedBackend(httpcore.NetworkBackend):
    """Connects to judged addresses only, and lets nothing last beyond `until_s`."""

    def __init__(self, policy: OutboundPolicy, until_s: float) -> None:
        self._policy = policy
        self._until_s = until_s
        self._sockets = httpcore.SyncBackend()

    @override
    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        try:
            addresses = [ip_address(text.partition("%")[0]) for text in self._policy.resolve(host, port)]
        except (OSError, UnicodeError) as error:
            raise httpcore.ConnectError(f"the name cannot be resolved: {error}") from error
        # One bad address spoils the name: which of them would be used is not for its owner to play with.
        for address in addresses:
            _check_address(address, self._policy)
        failure: Exception = httpcore.ConnectError("the name has no address")
        for address in dict.fromkeys(addresses):
            left_s = _time_left(self._until_s, httpcore.ConnectTimeout)
            try:
                stream = self._sockets.connect_tcp(str(address), port, left_s, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
                continue
            return _TimedStream(stream, self._until_s)
        raise failure

    @override
    def connect_unix_socket(self, *_: object, **__: object) -> httpcore.NetworkStream:
        raise DestinationRefused("It is not a host.")


class _TimedStream(httpcore.NetworkStream):
    """A connection whose single reads and writes also end when the time for the whole request is over."""

    def __init__(self, stream: httpcore.NetworkStream, until_s: float) -> None:
        self._stream = stream
        self._until_s = until_s

    @override
    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._stream.read(max_bytes, _time_left(self._until_s, httpcore.ReadTimeout))

    @override
    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, _time_left(self._until_s, httpcore.WriteTimeout))

    @override
    def close(self) -> None:
        self._stream.close()

    @override
    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        left_s = _time_left(self._until_s, httpcore.ConnectTimeout)
        return _TimedStream(self._stream.start_tls(ssl_context, server_hostname, left_s), self._until_s)

    @override
    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


def _time_left(until_s: float, error: type[httpcore.TimeoutException]) -> float:
    left_s = until_s - time.monotonic()
    if left_s <= 0:
        raise error("the time for the whole request is over")
    return left_s
