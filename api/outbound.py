"""Requests to addresses that clients name, without becoming their way into networks they cannot reach themselves.

The guard stands where the connection is made: the name is resolved once, all its addresses are judged, and what is
connected to is the address that was judged. So a name that changes its address between the look and the connection
gains nothing. TLS and the `Host` header go by the name as usual. Redirects are answers like any other here; who follows
one has it judged as if a client had named it. Proxies of the environment are not used.
"""

from __future__ import annotations

import re
import socket
import ssl
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Any, NamedTuple

import httpcore
import httpx
from typing_extensions import override

from api.public_addresses import Resolver, is_public, resolve_name

_URL_MAX_CHARS = 2048
_HOST = re.compile(r"[a-z0-9._:-]+")


class DestinationRefused(Exception):
    """The destination is one that this service does not speak to. The message may be shown to whoever named it."""


class Unanswered(Exception):
    """Nothing came back that is an answer: no name, no connection, no trust, no time left."""


class TooSlow(Unanswered):
    """No time was left."""


class Answer(NamedTuple):
    """What came back: the body is never read."""

    status: int
    retry_after_s: int | None


class Reply(NamedTuple):
    """What comes back, while it comes."""

    status: int
    headers: Mapping[str, str]
    """Names in lower case."""
    body: Iterator[bytes]
    """As it was sent: nothing is unpacked."""


class Deadline:
    """The time of a whole request. It can be moved while the request runs, by whoever sees how it goes."""

    def __init__(self, timeout_s: float) -> None:
        self.until_s = time.monotonic() + timeout_s
        self._socket: socket.socket | None = None
        self._stopped = False

    def left_s(self, error: type[httpcore.TimeoutException]) -> float:
        """The seconds that are left; raises `error` when there are none."""
        left_s = self.until_s - time.monotonic()
        if self._stopped or left_s <= 0:
            raise error("the time for the whole request is over")
        return left_s

    def watch(self, connection: socket.socket) -> None:
        """`connection` is what the request waits for."""
        self._socket = connection
        if self._stopped:
            self.stop()

    def stop(self) -> None:
        """End the request, from another thread."""
        self._stopped = True
        if self._socket:
            with suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)


@dataclass(frozen=True, kw_only=True, slots=True)
class OutboundPolicy:
    """Where requests may go."""

    ports: frozenset[int] = frozenset({443})
    allow_http: bool = False
    """Plain HTTP too: what is sent can be read on its way."""
    allow_private: bool = False
    """Addresses that are not public too: whoever can name a destination can then reach this network."""
    networks: tuple[IPv4Network | IPv6Network, ...] = ()
    """Of the addresses that are not public, only these."""
    hosts: tuple[str, ...] | None = None
    """Names that may be asked, `*.example.org` for all names below one; None: all."""
    timeout_s: float = 20.0
    """Of a whole request: a destination that answers byte by byte gains nothing."""
    resolve: Resolver = resolve_name
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
    if policy.hosts is not None and not any(_fits(host, pattern) for pattern in policy.hosts):
        raise DestinationRefused("Its host is not one of those that are allowed.")
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
    # Leaving the block without reading closes the connection: a body of any size costs nothing.
    with _exchange("POST", url, content, headers, policy, Deadline(policy.timeout_s)) as reply:
        wait = reply.headers.get("retry-after", "").strip()
        # An HTTP date is allowed here too; our own schedule is as good.
        return Answer(reply.status, int(wait) if wait.isdigit() and len(wait) < 7 else None)


def get(
    url: str, headers: Mapping[str, str], policy: OutboundPolicy, deadline: Deadline
) -> AbstractContextManager[Reply]:
    """Ask for `url`; its body is read as far as the caller wants it, while `deadline` has time left.

    The block raises DestinationRefused, or Unanswered, also while the body is read.
    """
    return _exchange("GET", url, None, headers, policy, deadline)


@contextmanager
def _exchange(
    method: str,
    url: str,
    content: bytes | None,
    headers: Mapping[str, str],
    policy: OutboundPolicy,
    deadline: Deadline,
) -> Iterator[Reply]:
    target = check_url(url, policy)
    length = [] if content is None else [("Content-Length", str(len(content)))]
    timeouts = dict.fromkeys(("connect", "read", "write", "pool"), policy.timeout_s)
    try:
        with (
            httpcore.ConnectionPool(
                ssl_context=policy.ssl_context or httpx.create_ssl_context(),
                network_backend=_GuardedBackend(policy, deadline),
                http2=False,
            ) as pool,
            pool.stream(
                method,
                str(target).partition("#")[0],
                headers=[("Host", target.netloc.decode()), *headers.items(), *length],
                content=content,
                extensions={"timeout": timeouts},
            ) as response,
        ):
            told = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in response.headers}
            yield Reply(response.status, told, response.iter_stream())
    except httpcore.TimeoutException as error:
        raise TooSlow(str(error) or type(error).__name__) from error
    except (httpcore.NetworkError, httpcore.ProtocolError) as error:
        raise Unanswered(str(error) or type(error).__name__) from error


def _fits(host: str, pattern: str) -> bool:
    return host.endswith(pattern[1:]) if pattern.startswith("*.") else host == pattern


def _check_address(address: IPv4Address | IPv6Address, policy: OutboundPolicy) -> None:
    if not (policy.allow_private or is_public(address) or any(address in network for network in policy.networks)):
        # The address itself stays inside: a name of ours must not tell others about our network.
        raise DestinationRefused("Its host is not a public address.")


class _GuardedBackend(httpcore.NetworkBackend):
    """Connects to judged addresses only, and lets nothing last beyond the deadline."""

    def __init__(self, policy: OutboundPolicy, deadline: Deadline) -> None:
        self._policy = policy
        self._deadline = deadline
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
            left_s = self._deadline.left_s(httpcore.ConnectTimeout)
            try:
                stream = self._sockets.connect_tcp(str(address), port, left_s, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
                continue
            self._deadline.watch(stream.get_extra_info("socket"))
            return _TimedStream(stream, self._deadline)
        raise failure

    @override
    def connect_unix_socket(self, *_: object, **__: object) -> httpcore.NetworkStream:
        raise DestinationRefused("It is not a host.")


class _TimedStream(httpcore.NetworkStream):
    """A connection whose single reads and writes also end when the time for the whole request is over."""

    def __init__(self, stream: httpcore.NetworkStream, deadline: Deadline) -> None:
        self._stream = stream
        self._deadline = deadline

    @override
    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        data = self._stream.read(max_bytes, self._deadline.left_s(httpcore.ReadTimeout))
        if not data:
            # A connection that was shut here looks like one whose other side has sent everything.
            self._deadline.left_s(httpcore.ReadTimeout)
        return data

    @override
    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, self._deadline.left_s(httpcore.WriteTimeout))

    @override
    def close(self) -> None:
        self._stream.close()

    @override
    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        left_s = self._deadline.left_s(httpcore.ConnectTimeout)
        stream = self._stream.start_tls(ssl_context, server_hostname, left_s)
        self._deadline.watch(stream.get_extra_info("socket"))
        return _TimedStream(stream, self._deadline)

    @override
    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)
