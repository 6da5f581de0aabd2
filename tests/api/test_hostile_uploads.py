"""Forms that nobody sends by mistake: each is refused with a problem and leaves nothing behind."""

from __future__ import annotations

import contextlib
import shutil
import socket
from collections.abc import Callable, Iterator

import httpx
import pytest

from tests.api.conftest import Service, assert_problem
from tests.conftest import wait_until

Files = dict[str, tuple[str, bytes]]
BOUNDARY = "boundary-of-the-test"
FORM_TYPE = f"multipart/form-data; boundary={BOUNDARY}"


def part(name: bytes, content: bytes, *, file_name: bytes | None = b"f", headers: bytes = b"") -> bytes:
    """One part of a form, byte for byte."""
    disposition = b'Content-Disposition: form-data; name="' + name + b'"'
    if file_name is not None:
        disposition += b'; filename="' + file_name + b'"'
    return b"--" + BOUNDARY.encode() + b"\r\n" + disposition + b"\r\n" + headers + b"\r\n" + content + b"\r\n"


END = f"--{BOUNDARY}--\r\n".encode()


@pytest.fixture
def source(picture: bytes) -> bytes:
    return part(b"source_image", picture)


@pytest.fixture
def driving(clip: bytes) -> bytes:
    return part(b"driving_video", clip)


def post(service: Service, body: bytes | Iterator[bytes], content_type: str = FORM_TYPE) -> httpx.Response:
    return service.http.post("/animations", content=body, headers={"Content-Type": content_type})


@pytest.mark.parametrize(
    "file_name",
    [b"../../x", b"-i", b"a\\nb", b"/etc/passwd", b"a" * 4096, b"a\x00b", b"", b"\xff\xfe", b"CON", b"x.mp4;rm"],
    ids=lambda name: repr(name[:12]),
)
def test_names_of_files_are_ignored(service: Service, picture: bytes, clip: bytes, file_name: bytes) -> None:
    body = part(b"source_image", picture, file_name=file_name) + part(b"driving_video", clip, file_name=file_name) + END

    response = post(service, body)

    assert response.status_code == 202, response.text
    stored = sorted(key.rpartition("/")[2] for key in service.storage.list_keys("animations"))
    assert stored == ["driving", "source"]


def test_declared_types_of_files_are_ignored(service: Service, picture: bytes, clip: bytes) -> None:
    lie = b"Content-Type: text/html\r\n"
    body = part(b"source_image", picture, headers=lie) + part(b"driving_video", clip, headers=lie) + END

    assert post(service, body).status_code == 202


def test_parts_missing_twice_and_unknown(service: Service, source: bytes, driving: bytes, picture: bytes) -> None:
    field = part(b"motion_transfer", b"relative", file_name=None)
    cases = [
        (source + END, "missing_part", "driving_video"),
        (driving + END, "missing_part", "source_image"),
        (END, "missing_part", "source_image"),
        (source + source + driving + END, "duplicate_part", "source_image"),
        (field + source + driving + field + END, "duplicate_part", "motion_transfer"),
        (source + driving + part(b"extra", b"1") + END, "unknown_part", "extra"),
        (source + driving + part(b"a\nb", b"1") + END, None, None),
        (source + driving + part(b"../../x", b"1", file_name=None) + END, "unknown_part", "../../x"),
        (source + driving + part(b"\xff\x00" + b"n" * 3000, b"1") + END, None, None),
    ]
    for body, code, name in cases:
        response = post(service, body)
        if code is None:
            assert response.status_code == 400, response.text
        else:
            assert_problem(response, 400, code, name)
        service.assert_nothing_left()


def test_unknown_part_names_those_that_exist(service: Service, source: bytes, driving: bytes) -> None:
    problem = assert_problem(
        post(service, part(b"motoin", b"x", file_name=None) + source + driving + END), 400, "unknown_part", "motoin"
    )

    assert "motion_transfer" in str(problem["hint"])


def test_ten_thousand_parts(service: Service) -> None:
    assert_problem(
        post(service, part(b"motion_transfer", b"") * 10_001 + END), 400, "duplicate_part", "motion_transfer"
    )
    service.assert_nothing_left()


def test_more_parts_than_allowed(serve: Callable[..., Service], source: bytes, driving: bytes) -> None:
    service = serve(max_parts=2)

    assert_problem(post(service, source + driving + part(b"motion_transfer", b"relative") + END), 400, "too_many_parts")
    service.assert_nothing_left()


def test_malformed_forms(service: Service, source: bytes, driving: bytes) -> None:
    whole = source + driving
    header_bomb = part(b"source_image", b"x", headers=b"".join(b"X-%d: y\r\n" % i for i in range(5000)))
    bodies = [
        b"",
        b"no form at all",
        whole,  # no end
        whole[: len(whole) // 2],
        b"--" + BOUNDARY.encode() + b"\r\n\r\ncontent without a name\r\n" + END,
        part(b"source_image", b"x").replace(b"form-data", b"attachment") + END,
        header_bomb + END,
        part(b"source_image", b"x", headers=b"X: " + b"y" * 100_000 + b"\r\n") + END,
        part(b"motion_transfer", b"\xff\xfe", file_name=None) + whole + END,
    ]
    for body in bodies:
        response = post(service, body)
        assert response.json()["code"] == "malformed_multipart", (body[:80], response.text)
        assert response.status_code == 400
        service.assert_nothing_left()


@pytest.mark.parametrize(
    ("content_type", "status", "code"),
    [
        ("application/json", 415, "not_multipart"),
        ("", 415, "not_multipart"),
        ("multipart/mixed; boundary=x", 415, "not_multipart"),
        ("application/x-www-form-urlencoded", 415, "not_multipart"),
        ("multipart/form-data", 400, "malformed_multipart"),
        ("multipart/form-data; boundary=", 400, "malformed_multipart"),
        (f"multipart/form-data; boundary={'b' * 20_000}", 400, "malformed_multipart"),
        ("multipart/form-data; boundary=another", 400, "malformed_multipart"),
    ],
)
def test_content_types(
    service: Service, source: bytes, driving: bytes, content_type: str, status: int, code: str
) -> None:
    assert_problem(post(service, source + driving + END, content_type), status, code)
    service.assert_nothing_left()


def test_a_boundary_of_a_megabyte_does_not_reach_us(service: Service) -> None:
    # The server gives up on the headers: whether its 400 arrives before the connection is cut is not ours to decide.
    with contextlib.suppress(httpx.TransportError):
        response = post(service, END, f"multipart/form-data; boundary={'b' * 2**20}")
        assert 400 <= response.status_code < 500
    service.assert_nothing_left()


def test_a_huge_text_field(service: Service, source: bytes, driving: bytes) -> None:
    body = part(b"motion_transfer", b"x" * 20_000, file_name=None) + source + driving + END

    assert_problem(post(service, body), 413, "field_too_large", "motion_transfer")
    service.assert_nothing_left()


def test_body_too_large_with_and_without_a_length(
    serve: Callable[..., Service], source: bytes, driving: bytes, picture: bytes
) -> None:
    service = serve(body_max_bytes=8000)
    body = source + part(b"driving_video", picture + bytes(50_000)) + END

    for sent in (body, iter([body[at : at + 1000] for at in range(0, len(body), 1000)])):
        response = post(service, sent)
        assert_problem(response, 413, "body_too_large")
        assert response.headers["connection"] == "close"
        service.assert_nothing_left()
    assert post(service, source + driving + END).status_code == 202


def test_a_body_without_a_length_is_welcome(service: Service, source: bytes, driving: bytes) -> None:
    body = source + driving + END
    # Single bytes at the head: every boundary and header is cut somewhere.
    pieces = [body[at : at + 1] for at in range(300)] + [body[300:]]

    assert post(service, iter(pieces)).status_code == 202


@pytest.mark.parametrize(
    "content",
    [
        b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        b"<html><script>alert(1)</script>",
        b"PK\x03\x04" + bytes(500),
        b"#EXTM3U\n#EXT-X-VERSION:3\nfile:///etc/passwd\n",
        b"ffconcat version 1.0\nfile /etc/passwd\n",
        b"<?xml version='1.0'?><MPD/>",
        b"%PDF-1.7" + bytes(20),
        b"\x7fELF" + bytes(20),
        bytes(20),
    ],
    ids=lambda content: repr(content[:12]),
)
@pytest.mark.parametrize("name", [b"source_image", b"driving_video"])
def test_the_first_bytes_decide(service: Service, source: bytes, driving: bytes, name: bytes, content: bytes) -> None:
    other = driving if name == b"source_image" else source

    assert_problem(post(service, part(name, content) + other + END), 415, "unsupported_media_type", name.decode())
    service.assert_nothing_left()


@pytest.mark.parametrize("content", [b"\x00", b"%PDF-1.7", b"\xff\xd8\xff"])
@pytest.mark.parametrize("name", [b"source_image", b"driving_video"])
def test_too_short_to_be_anything(service: Service, source: bytes, driving: bytes, name: bytes, content: bytes) -> None:
    other = driving if name == b"source_image" else source

    assert_problem(post(service, part(name, content) + other + END), 422, "media_rejected", name.decode())
    service.assert_nothing_left()


def test_playlists_in_the_clothes_of_a_video(service: Service, source: bytes) -> None:
    playlist = b"\x00\x00\x00\x18ftypisom\n#EXTM3U\n#EXTINF:1\nfile:///etc/passwd\n"

    response = post(service, source + part(b"driving_video", playlist) + END)

    assert_problem(response, 422, "media_rejected", "driving_video")
    service.assert_nothing_left()


def test_a_picture_head_with_another_tail(service: Service, picture: bytes, driving: bytes) -> None:
    cut = part(b"source_image", picture[:60] + b"<script>")

    assert_problem(post(service, cut + driving + END), 422, "media_rejected", "source_image")
    service.assert_nothing_left()


def test_empty_files(service: Service, source: bytes, driving: bytes) -> None:
    assert_problem(post(service, part(b"source_image", b"") + driving + END), 422, "media_rejected", "source_image")
    assert_problem(post(service, source + part(b"driving_video", b"") + END), 422, "media_rejected", "driving_video")
    service.assert_nothing_left()


# -- what only a socket can do --------------------------------------------------------------------------------------


def open_request(service: Service, *headers: str) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", service.port), timeout=20)
    lines = ["POST /animations HTTP/1.1", "Host: localhost", f"Content-Type: {FORM_TYPE}", *headers, "", ""]
    connection.sendall("\r\n".join(lines).encode())
    return connection


def read_all(connection: socket.socket) -> bytes:
    received = b""
    while chunk := connection.recv(65536):
        received += chunk
    return received


def test_the_upload_ends_at_the_first_wrong_bytes(service: Service) -> None:
    with open_request(service, "Content-Length: 50000000") as connection:
        connection.sendall(part(b"source_image", b"<html>" + bytes(8000)))
        answer = read_all(connection)  # while 49 MB are still announced

    assert answer.startswith(b"HTTP/1.1 415 ")
    assert b"connection: close" in answer.lower()
    service.assert_nothing_left()


def test_a_refused_client_that_goes_on_sending_still_gets_the_answer(service: Service) -> None:
    with open_request(service, "Content-Length: 3000000") as connection:
        connection.sendall(part(b"source_image", b"<html>" + bytes(2_900_000)))
        answer = read_all(connection)

    assert answer.startswith(b"HTTP/1.1 415 ")


def test_expect_continue_is_refused_before_the_body(service: Service) -> None:
    with open_request(service, "Content-Length: 500000000", "Expect: 100-continue") as connection:
        answer = connection.recv(65536)

    assert answer.startswith(b"HTTP/1.1 413 ")


def test_a_client_that_leaves_in_the_middle(service: Service, source: bytes) -> None:
    connection = open_request(service, "Content-Length: 1000000")
    connection.sendall(source + part(b"driving_video", b"\x00\x00\x00\x18ftypisom" + bytes(5000))[:-2])
    wait_until(lambda: len(service.uploaded_files()) >= 3, "both files are being written")
    connection.close()

    service.assert_nothing_left()


def test_a_body_shorter_than_announced(service: Service, source: bytes) -> None:
    with open_request(service, "Content-Length: 1000000") as connection:
        connection.sendall(source)
        connection.shutdown(socket.SHUT_WR)
        read_all(connection)

    service.assert_nothing_left()


def test_an_upload_that_is_too_slow(serve: Callable[..., Service], source: bytes) -> None:
    service = serve(upload_grace_s=0.3, upload_min_bytes_per_s=10**6)
    with open_request(service, "Content-Length: 1000000") as connection:
        connection.sendall(source)
        answer = read_all(connection)

    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b"upload_too_slow" in answer
    service.assert_nothing_left()


def test_a_trickle_without_a_length_is_cut_off(serve: Callable[..., Service]) -> None:
    service = serve(upload_grace_s=0.5)
    trickle = part(b"source_image", bytes(10**6))
    with open_request(service, "Transfer-Encoding: chunked") as connection:
        connection.settimeout(0.02)
        answer = b""
        for at in range(5000):  # far longer than the grace time, and never silent
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                connection.sendall(b"1\r\n" + trickle[at : at + 1] + b"\r\n")
            with contextlib.suppress(TimeoutError):
                answer = connection.recv(65536)
                break

    assert answer.startswith(b"HTTP/1.1 408 ")
    service.assert_nothing_left()


def test_an_upload_that_takes_too_long(serve: Callable[..., Service], source: bytes) -> None:
    service = serve(upload_total_timeout_s=0.3)
    with open_request(service, "Content-Length: 1000000") as connection:
        connection.sendall(source)
        answer = read_all(connection)

    assert answer.startswith(b"HTTP/1.1 408 ")
    service.assert_nothing_left()


def test_uploads_under_way_count_before_they_are_on_the_disk(serve: Callable[..., Service], source: bytes) -> None:
    service = serve(body_max_bytes=2**60, disk_reserve_bytes=0)
    announced = f"Content-Length: {int(0.6 * shutil.disk_usage(service.settings.data_dir).free)}"
    with open_request(service, announced) as first:
        first.sendall(source)
        wait_until(lambda: bool(service.uploaded_files()), "the first upload is on its way")
        with open_request(service, announced) as second:
            second.sendall(source)
            answer = read_all(second)

    assert answer.startswith(b"HTTP/1.1 503 ")
    assert b"disk_full" in answer
    wait_until(lambda: not service.uploaded_files(), "the first upload has been given up")
    with open_request(service, announced) as third:
        third.sendall(source)
        wait_until(lambda: bool(service.uploaded_files()), "there is room again")


def test_too_many_uploads_at_once(serve: Callable[..., Service], files: Files, source: bytes) -> None:
    service = serve(uploads_at_once=1)
    first = open_request(service, "Content-Length: 1000000")
    first.sendall(source)
    wait_until(lambda: bool(service.uploaded_files()), "the first upload is on its way")

    assert_problem(service.post(files), 503, "too_many_uploads")
    first.close()
    wait_until(lambda: service.post(files).status_code == 202, "there is room again")
