"""Where requests on behalf of clients may go: judged by the address that is really connected to."""

from __future__ import annotations

import socket
import ssl
import subprocess
import threading
import time
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest

from api.outbound import Answer, DestinationRefused, OutboundPolicy, Unanswered, check_url, post
from api.public_addresses import is_public
from tests.api.receiver import Receiver, local, receiving

BAD = [
    *("127.0.0.1", "127.8.8.8", "0.0.0.0", "10.1.2.3", "172.16.0.1", "192.168.1.1", "100.64.0.1", "169.254.169.254"),
    *("192.0.0.8", "192.0.2.1", "198.18.0.1", "198.51.100.7", "203.0.113.7", "224.0.0.1", "239.1.1.1", "240.0.0.1"),
    *("255.255.255.255", "192.88.99.1", "::", "::1", "fe80::1", "fec0::1", "fc00::1", "fd12:3456::1", "ff02::1"),
    *("::ffff:127.0.0.1", "::ffff:10.0.0.1", "::127.0.0.1", "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "64:ff9b:1::1"),
    *("2002:7f00:1::1", "2001:0:4136:e378::1", "2001:db8::1", "100::1"),
]
GOOD = ["1.1.1.1", "93.184.216.34", "::ffff:8.8.8.8", "2606:4700:4700::1111"]


@pytest.mark.parametrize("text", BAD)
def test_addresses_that_are_not_public(text: str) -> None:
    assert not is_public(ip_address(text))
    # Whatever the name: what it resolves to is judged, and nothing is connected to.
    with pytest.raises(DestinationRefused):
        post("https://innocent.example/", b"", {}, OutboundPolicy(resolve=lambda *_: ["1.1.1.1", text]))


@pytest.mark.parametrize("text", GOOD)
def test_public_addresses(text: str) -> None:
    assert is_public(ip_address(text))


@pytest.mark.parametrize(
    "url",
    [
        *("http://example.org/", "ftp://example.org/", "//example.org/", "example.org", "", "https://", "https:///x"),
        *("https://user:secret@example.org/", "https://user@example.org/", "https://example.org:8443/"),
        *("https://example.org:22/", "https://example.org:0/", "https://example.org:99999/", "https://[::1]/"),
        *("https://127.0.0.1/", "https://10.0.0.1/", "https://[::ffff:169.254.169.254]/", "https://exa\nmple.org/"),
        *("https://[fe80::1%25eth0]/", "https://example.org/" + "x" * 2048, "file:///etc/passwd", "https://exa mple/"),
    ],
)
def test_urls_that_are_refused_as_they_are(url: str) -> None:
    with pytest.raises(DestinationRefused):
        check_url(url, OutboundPolicy())


@pytest.mark.parametrize("url", ["https://example.org/hook?x=1#y", "https://1.1.1.1/", "HTTPS://Example.ORG:443/a"])
def test_urls_that_may_be(url: str) -> None:
    assert check_url(url, OutboundPolicy()).host


@pytest.mark.parametrize("host", ["2130706433", "0x7f.1", "127.1", "0177.0.0.1"])
def test_other_spellings_of_an_address_are_judged_when_resolved(host: str) -> None:
    """The system's resolver reads them as 127.0.0.1; or as no name at all."""
    with pytest.raises((DestinationRefused, Unanswered)):
        post(f"https://{host}/", b"", {}, OutboundPolicy())


@pytest.mark.parametrize(
    ("host", "allowed"),
    [
        *(
            ("media.example.org", True),
            ("MEDIA.example.org", True),
            ("a.cdn.example.net", True),
            ("a.b.cdn.example.net", True),
        ),
        *(
            ("cdn.example.net", False),
            ("evilcdn.example.net", False),
            ("example.org", False),
            ("x.media.example.org", False),
        ),
        *(("media.example.org.evil.org", False), ("media.example.org.", False), ("1.1.1.1", False)),
    ],
)
def test_only_listed_hosts(host: str, allowed: bool) -> None:
    policy = OutboundPolicy(hosts=("media.example.org", "*.cdn.example.net"))
    if allowed:
        assert check_url(f"https://{host}/", policy).host == host.lower()
    else:
        with pytest.raises(DestinationRefused, match="not one of those"):
            check_url(f"https://{host}/", policy)


def test_of_the_private_networks_only_those_that_are_named() -> None:
    policy = OutboundPolicy(networks=(ip_network("10.1.2.0/24"), ip_network("fd00::/64")))
    for address in ("10.1.2.3", "[fd00::1]", "1.1.1.1"):
        assert check_url(f"https://{address}/", policy)
    for address in ("10.1.3.1", "127.0.0.1", "[fd00:0:0:1::1]", "[::ffff:10.1.2.3]"):
        with pytest.raises(DestinationRefused, match="not a public address"):
            check_url(f"https://{address}/", policy)


def test_what_is_sent_arrives_under_the_name() -> None:
    with receiving() as receiver:
        receiver.headers = {"Retry-After": "17"}
        answer = post(f"http://hooks.example.org:{receiver.port}/a?b=c#d", b"body", {"X-One": "1"}, local(receiver))

    assert answer == Answer(204, 17)
    [(method, path, headers, body)] = receiver.seen
    assert (method, path, body) == ("POST", "/a?b=c", b"body")
    assert headers["host"] == f"hooks.example.org:{receiver.port}"
    assert headers["x-one"] == "1"


def test_proxies_of_the_environment_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy would resolve the name again, beyond the reach of the guard."""
    for name in ("http_proxy", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    with receiving() as receiver:
        assert post(f"http://hooks.example.org:{receiver.port}/", b"x", {}, local(receiver)).status == 204


def test_a_redirect_is_an_answer() -> None:
    with receiving() as receiver:
        receiver.status, receiver.headers = 307, {"Location": f"http://127.0.0.1:{receiver.port}/other"}
        answer = post(f"http://hooks.example.org:{receiver.port}/", b"x", {}, local(receiver))

    assert answer.status == 307
    assert len(receiver.seen) == 1


def test_a_name_is_resolved_once_and_the_judged_address_is_connected_to() -> None:
    asked: list[str] = []

    def rebinding(host: str, _port: int) -> list[str]:
        asked.append(host)
        return ["192.0.2.200"] if len(asked) == 1 else ["127.0.0.1"]

    with receiving() as receiver:
        policy = OutboundPolicy(allow_http=True, ports=frozenset({receiver.port}), resolve=rebinding)
        with pytest.raises(DestinationRefused):
            post(f"http://hooks.example.org:{receiver.port}/", b"x", {}, policy)

    assert asked == ["hooks.example.org"]
    assert receiver.seen == []


def test_the_next_address_is_tried() -> None:
    with receiving() as receiver:
        policy = local(receiver, resolve=lambda *_: ["127.0.0.2", "127.0.0.1"])
        assert post(f"http://hooks.example.org:{receiver.port}/", b"x", {}, policy).status == 204


def test_tls_goes_by_the_name(tmp_path: Path) -> None:
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=test"]
    command += ["-addext", "subjectAltName=DNS:hooks.example.org", "-keyout", "key.pem", "-out", "cert.pem"]
    try:
        subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    except FileNotFoundError:
        pytest.skip("there is no openssl")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "cert.pem", tmp_path / "key.pem")
    trusting = ssl.create_default_context(cafile=str(tmp_path / "cert.pem"))
    names: list[str] = []
    context.sni_callback = lambda _socket, name, _context: names.append(name)

    with receiving(context) as receiver:
        policy = local(receiver, ssl_context=trusting, allow_http=False)
        assert post(f"https://hooks.example.org:{receiver.port}/", b"x", {}, policy).status == 204
        with pytest.raises(Unanswered, match=r"(?i)certificate"):
            post(f"https://other.example.org:{receiver.port}/", b"x", {}, policy)
        with pytest.raises(Unanswered, match=r"(?i)certificate"):
            post(f"https://hooks.example.org:{receiver.port}/", b"x", {}, local(receiver))

    assert names[0] == "hooks.example.org"
    assert len(receiver.seen) == 1


def test_a_destination_that_answers_byte_by_byte_gains_nothing() -> None:
    stop = threading.Event()

    def drip(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        with connection:
            connection.sendall(b"HTTP/1.1 200 OK\r\nX: ")
            while not stop.wait(0.05):
                try:
                    connection.sendall(b"x")
                except OSError:
                    return

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=drip, args=[listener])
        thread.start()
        port = listener.getsockname()[1]
        started_s = time.monotonic()
        with pytest.raises(Unanswered):
            post(f"http://hooks.example.org:{port}/", b"x", {}, local(Receiver(port), timeout_s=0.5))
        took_s = time.monotonic() - started_s
        stop.set()
        thread.join(10)
    assert took_s < 20  # not as long as it drips


def test_nobody_there() -> None:
    with pytest.raises(Unanswered):
        post("http://hooks.example.org:9/", b"x", {}, local(Receiver(9)))
    with pytest.raises(Unanswered):
        post("http://hooks.example.org:9/", b"x", {}, local(Receiver(9), resolve=lambda *_: []))
