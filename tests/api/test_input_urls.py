"""`source_url` and `driving_url`: fetched before the 202, from listed hosts only, under the limits of an upload."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from pydantic import ValidationError

from api.app import create_app
from api.settings import ApiSettings
from tests.api.conftest import Service, assert_problem, make_clip, make_picture, running
from tests.api.media_host import MediaHost, media_host
from tests.conftest import wait_until
from worker.settings import MediaLimits, Settings

PRIVATE = "http://127.0.0.2:9/secret"


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MediaHost]:
    clip = make_clip(tmp_path_factory.mktemp("clip"), "testsrc=size=96x64:rate=10:duration=0.5")
    files = {
        "/face.png": make_picture(80, 72),
        "/talk.mp4": clip,
        "/text": b"<html>no picture</html>" * 300,
        "/empty": b"",
    }
    with media_host(files) as host:
        yield host


@pytest.fixture(scope="module")
def fetching_service(
    host: MediaHost, redis_socket: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Service]:
    settings = Settings(
        redis_url=f"unix://{redis_socket}?db=4010",
        data_dir=tmp_path_factory.mktemp("fetching"),
        limits=MediaLimits(image_max_bytes=100_000),
    )
    with running(settings, **allowing(host)) as service:
        yield service


@pytest.fixture
def service(fetching_service: Service, host: MediaHost) -> Service:
    """An API that fetches from the host."""
    fetching_service.reset()
    host.seen.clear()
    return fetching_service


def allowing(host: MediaHost, **changes: object) -> dict[str, Any]:
    """Settings with which the host may be asked, and one private address less than the list of names says."""
    return {
        "housekeeping_interval_s": 3600,
        "input_url_hosts": "127.0.0.1, 127.0.0.2, *.example.invalid",
        "input_url_ports": f"{host.port},9",
        "input_url_allow_http": True,
        "input_url_networks": "127.0.0.1/32",
        **changes,
    }


def post(
    service: Service, fields: dict[str, str], files: dict[str, bytes] | None = None, key: str = ""
) -> httpx.Response:
    """A multipart form, also when it has no file."""
    parts = {name: (None, text) for name, text in fields.items()} | {
        name: (name, content) for name, content in (files or {}).items()
    }
    return service.http.post("/animations", files=parts, headers={"Idempotency-Key": key} if key else {})


def test_both_files_are_fetched_before_the_answer(service: Service, host: MediaHost) -> None:
    answer = post(
        service, {"source_url": host.url("/face.png#x"), "driving_url": host.url("/talk.mp4"), "audio": "false"}
    )

    assert answer.status_code == 202, answer.text
    [job] = service.job_store.page(10)
    assert (job.input.picture.width, job.input.driving.frames, job.options.audio) == (80, 5, False)
    # Accepted means stored: the host is not needed any more.
    for key, path in ((job.input.source_key, "/face.png"), (job.input.driving_key, "/talk.mp4")):
        assert b"".join(service.storage.read(key, 0, len(host.files[path]))) == host.files[path]
    assert host.seen == ["/face.png", "/talk.mp4"]
    assert host.headers_seen[-1]["accept-encoding"] == "identity"
    assert not {"authorization", "x-api-key", "cookie", "referer"} & set(host.headers_seen[-1])
    assert service.uploaded_files() == []


def test_one_file_and_one_url(service: Service, host: MediaHost) -> None:
    files = {"source_image": host.files["/face.png"]}
    assert post(service, {"driving_url": host.url("/talk.mp4")}, files).status_code == 202
    both = {"source_url": host.url("/face.png"), "driving_url": host.url("/talk.mp4")}
    assert_problem(post(service, both, files), 422, "invalid_options", "source_url")
    assert_problem(post(service, {}, files), 400, "missing_part", "driving_video")


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects_are_followed(service: Service, host: MediaHost, status: int) -> None:
    files = {"driving_video": host.files["/talk.mp4"]}
    url = host.url(f"/moved?status={status}&to=/face.png")
    assert post(service, {"source_url": url}, files).status_code == 202


@pytest.mark.parametrize(
    ("url", "why"),
    [
        (PRIVATE, "not a public address"),  # listed by name, but its network is not
        ("http://127.0.0.3:9/", "not one of those"),
        ("http://localhost:{port}/face.png", "not one of those"),
        ("http://127.0.0.1:22/", "Port 22"),
        ("ftp://127.0.0.1/", "not of the form"),
        ("http://user:secret@127.0.0.1:{port}/", "password"),
        ("/face.png?to={private}", "not a public address"),
        ("/face.png?to=http%3A%2F%2Flocalhost%3A{port}%2Fface.png", "not one of those"),
        ("/face.png?to=file%3A%2F%2F%2Fetc%2Fpasswd", "not of the form"),
        ("/face.png?to=http%3A%2F%2F%5B", "not of the form"),
        ("/face.png?to={endless}", "more than 3 redirects"),
    ],
)
def test_what_is_refused_before_anything_is_connected_to(service: Service, host: MediaHost, url: str, why: str) -> None:
    endless = quote("/moved?to=" + quote("/moved?to=" + quote("/moved?to=" + quote("/moved?to=/face.png"))))
    url = url.format(port=host.port, private=quote(PRIVATE), endless=endless)
    url = host.url(url) if url.startswith("/") else url

    problem = assert_problem(
        post(service, {"source_url": url}, {"driving_video": host.files["/talk.mp4"]}),
        422,
        "input_url_refused",
        "source_url",
    )

    assert why in str(problem["detail"])
    assert problem["hint"]
    service.assert_nothing_left()


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("/missing", 422, "input_url_failed"),
        ("/missing?status=403", 422, "input_url_failed"),
        ("/missing?status=304", 422, "input_url_failed"),
        ("/missing?status=500", 502, "input_url_unreachable"),
        ("/missing?status=429", 502, "input_url_unreachable"),
        ("/face.png?packed=gzip", 422, "input_url_failed"),
        ("/face.png?length=99999", 502, "input_url_unreachable"),  # it promises more than it sends
        ("/face.png?length=20", 422, "media_rejected"),  # and less
        ("/text", 415, "unsupported_media_type"),
        ("/empty", 422, "media_rejected"),
        ("/talk.mp4", 415, "unsupported_media_type"),
        ("/face.png?endless=0", 413, "part_too_large"),
    ],
)
def test_hosts_that_do_not_give_a_picture(service: Service, host: MediaHost, path: str, status: int, code: str) -> None:
    answer = post(service, {"source_url": host.url(path)}, {"driving_video": host.files["/talk.mp4"]})

    problem = assert_problem(answer, status, code, "source_url")
    assert "no picture</html>" not in answer.text
    assert path == "/empty" or problem["hint"]
    service.assert_nothing_left()


def test_what_is_no_video_is_told_by_its_field(service: Service, host: MediaHost) -> None:
    both = {"source_url": host.url("/face.png"), "driving_url": host.url("/face.png")}
    assert_problem(post(service, both), 422, "not_an_animation", "driving_url")
    assert_problem(post(service, {**both, "driving_url": host.url("/gone")}), 422, "input_url_failed", "driving_url")
    service.assert_nothing_left()


def test_a_host_that_nobody_knows_or_that_listens_to_nobody(service: Service, host: MediaHost) -> None:
    files = {"driving_video": host.files["/talk.mp4"]}
    for url in ("http://media.example.invalid:9/x", "http://127.0.0.1:9/x"):
        answer = post(service, {"source_url": url}, files)
        assert_problem(answer, 502, "input_url_unreachable", "source_url")
        assert "Errno" not in answer.text, "what our network says is not for others"


def test_a_repeated_request_is_known_by_its_urls(service: Service, host: MediaHost) -> None:
    fields = {"source_url": host.url("/once.png"), "driving_url": host.url("/talk.mp4")}
    host.files["/once.png"] = host.files["/face.png"]
    first = post(service, fields, key="one")
    assert first.status_code == 202
    del host.files["/once.png"]
    host.seen.clear()

    again = post(service, fields, key="one")

    assert (again.status_code, again.json()["id"]) == (202, first.json()["id"])
    assert host.seen == [], "nothing is fetched for an animation that is there"
    other = {**fields, "source_url": host.url("/face.png")}
    assert_problem(post(service, other, key="one"), 422, "idempotency_key_reused")


def test_a_slow_host_is_given_up(settings: Settings, host: MediaHost) -> None:
    with running(settings, **allowing(host, upload_grace_s=0.5)) as service:
        answer = post(
            service, {"source_url": host.url("/face.png?endless=0.2")}, {"driving_video": host.files["/talk.mp4"]}
        )
        assert_problem(answer, 504, "input_url_too_slow", "source_url")
        service.assert_nothing_left()


def test_no_input_has_more_time_than_an_upload(settings: Settings, host: MediaHost) -> None:
    quick = allowing(host, upload_total_timeout_s=1.5, upload_min_bytes_per_s=1)
    with running(settings, **quick) as service:
        answer = post(
            service, {"driving_url": host.url("/talk.mp4?endless=0.05")}, {"source_image": host.files["/face.png"]}
        )
        assert_problem(answer, 504, "input_url_too_slow", "driving_url")
        service.assert_nothing_left()


def test_when_the_caller_leaves_nothing_more_is_fetched(service: Service, host: MediaHost) -> None:
    host.left.clear()
    files = {"source_image": host.files["/face.png"], "driving_url": (None, host.url("/talk.mp4?endless=0.05"))}
    request = httpx.Request("POST", f"http://127.0.0.1:{service.port}/animations", files=files)  # pyright: ignore[reportArgumentType]
    head = "".join(f"{name}: {value}\r\n" for name, value in request.headers.items())

    with socket.create_connection(("127.0.0.1", service.port)) as connection:
        connection.sendall(f"POST /animations HTTP/1.1\r\n{head}\r\n".encode() + request.read())
        wait_until(lambda: bool(host.seen), "the host is asked")

    assert host.left.wait(30)
    service.assert_nothing_left()


def test_without_a_list_of_hosts_nothing_is_fetched(settings: Settings, host: MediaHost) -> None:
    host.seen.clear()
    with running(settings, **allowing(host, input_url_hosts="")) as service:
        answer = post(service, {"source_url": host.url("/face.png")}, {"driving_video": host.files["/talk.mp4"]})
        problem = assert_problem(answer, 422, "input_urls_disabled", "source_url")
    assert "ANIMATO_INPUT_URL_HOSTS" in str(problem["hint"])
    assert host.seen == []


def test_the_document_has_them_only_where_they_work() -> None:
    def submission(**api: str) -> tuple[dict, set[str]]:
        operation = create_app(Settings(), ApiSettings(**api)).openapi()["paths"]["/animations"]["post"]  # pyright: ignore
        return operation["requestBody"]["content"]["multipart/form-data"]["schema"], set(operation["responses"])

    form, statuses = submission()
    assert not {"source_url", "driving_url"} & set(form["properties"])
    assert form["required"] == ["source_image"]
    assert not {"502", "504"} & statuses
    form, statuses = submission(input_url_hosts="*.example.org")
    assert form["properties"]["driving_url"]["format"] == "uri"
    assert "required" not in form
    assert form["allOf"][0] == {"oneOf": [{"required": ["source_image"]}, {"required": ["source_url"]}]}
    assert {"502", "504"} <= statuses


@pytest.mark.parametrize("hosts", ["*", "https://example.org", "a*.example.org", "*.", "example.org/path"])
def test_a_list_of_hosts_is_names(hosts: str) -> None:
    with pytest.raises(ValidationError, match=r"neither a host nor \*\.suffix"):
        ApiSettings(input_url_hosts=hosts)
    with pytest.raises(ValidationError):
        ApiSettings(input_url_networks="10.0.0.1/8")
