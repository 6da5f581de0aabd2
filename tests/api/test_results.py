"""GET /animations/{id}/result."""

from __future__ import annotations

import hashlib
from pathlib import Path

import httpx
import pytest

from api.ranges import ByteRange, RangeNotSatisfiable, parse_range
from tests.api.conftest import Service, assert_problem
from tests.conftest import job_result
from worker.jobs import AnimationOptions, JobError, JobInput, new_id

VIDEO = bytes(range(256)) * 4000  # a megabyte
ETAG = f'"{hashlib.sha256(VIDEO).hexdigest()}"'


@pytest.fixture
def queued(service: Service, job_input: JobInput) -> str:
    return service.job_store.submit(new_id(), job_input, AnimationOptions()).id


@pytest.fixture
def path(service: Service, queued: str, tmp_path: Path) -> str:
    """The path of a result that is there."""
    claim = service.job_store.claim(queued, "a worker")
    assert claim
    key = f"animations/{queued}/result-{claim.fence}.mp4"
    local = tmp_path / "result.mp4"
    local.write_bytes(VIDEO)
    service.storage.put_file(key, local, "video/mp4")
    result = job_result(key=key, size_bytes=len(VIDEO), sha256=ETAG.strip('"'))
    assert service.job_store.commit(queued, claim.fence, result)
    return f"/animations/{queued}/result"


def get(service: Service, path: str, **headers: str) -> httpx.Response:
    return service.http.get(path, headers={name.replace("_", "-"): value for name, value in headers.items()})


def test_whole(service: Service, path: str) -> None:
    response = get(service, path)

    assert response.status_code == 200
    assert response.content == VIDEO
    headers = response.headers
    assert headers["content-type"] == "video/mp4"
    assert headers["content-length"] == str(len(VIDEO))
    assert headers["etag"] == ETAG
    assert headers["accept-ranges"] == "bytes"
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["content-disposition"] == f'attachment; filename="{path.split("/")[2]}.mp4"'


@pytest.mark.parametrize("headers", [{}, {"Range": "bytes=0-9"}])
def test_head(service: Service, path: str, headers: dict[str, str]) -> None:
    response = service.http.head(path, headers=headers)

    assert response.status_code == 200
    assert response.content == b""
    assert response.headers["content-length"] == str(len(VIDEO))
    assert response.headers["etag"] == ETAG
    assert response.headers["content-type"] == "video/mp4"


@pytest.mark.parametrize(
    ("header", "start", "stop"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=100-199", 100, 200),
        ("bytes=1000000-", 1_000_000, len(VIDEO)),
        ("bytes=-24", len(VIDEO) - 24, len(VIDEO)),
        ("bytes=1023990-9999999", 1_023_990, len(VIDEO)),
        ("bytes=-99999999", 0, len(VIDEO)),
    ],
)
def test_one_range(service: Service, path: str, header: str, start: int, stop: int) -> None:
    response = get(service, path, Range=header)

    assert response.status_code == 206
    assert response.content == VIDEO[start:stop]
    assert response.headers["content-range"] == f"bytes {start}-{stop - 1}/{len(VIDEO)}"
    assert response.headers["content-length"] == str(stop - start)


@pytest.mark.parametrize("header", ["bytes=0-1,5-6", "bytes=5-1", "lines=1-2", "bytes=-", "bytes=a-b", "nonsense"])
def test_what_is_no_single_range_is_ignored(service: Service, path: str, header: str) -> None:
    response = get(service, path, Range=header)

    assert response.status_code == 200
    assert response.content == VIDEO


@pytest.mark.parametrize("header", [f"bytes={len(VIDEO)}-", "bytes=-0", "bytes=99999999-100000000"])
def test_a_range_outside(service: Service, path: str, header: str) -> None:
    response = get(service, path, Range=header)

    assert_problem(response, 416, "range_not_satisfiable")
    assert response.headers["content-range"] == f"bytes */{len(VIDEO)}"


def test_conditions(service: Service, path: str) -> None:
    assert get(service, path, If_None_Match=ETAG).status_code == 304
    assert get(service, path, If_None_Match='"other"').status_code == 200
    assert get(service, path, Range="bytes=0-9", If_Range=ETAG).status_code == 206
    assert get(service, path, Range="bytes=0-9", If_Range='"other"').status_code == 200
    assert get(service, path, Range="bytes=0-9", If_Range=f"W/{ETAG}").status_code == 200


def test_not_yet(service: Service, queued: str) -> None:
    response = service.http.get(f"/animations/{queued}/result")
    assert_problem(response, 409, "not_finished")
    assert response.headers["retry-after"] == "2"

    service.job_store.claim(queued, "a worker")
    assert_problem(service.http.get(f"/animations/{queued}/result"), 409, "not_finished")


def test_never(service: Service, queued: str, job_input: JobInput) -> None:
    claim = service.job_store.claim(queued, "a worker")
    assert claim
    service.job_store.fail(queued, claim.fence, JobError(code="encoding_failed", detail="No."), attempt=1)
    problem = assert_problem(service.http.get(f"/animations/{queued}/result"), 409, "animation_failed")
    assert "encoding_failed" in str(problem["detail"])

    other = service.job_store.submit(new_id(), job_input, AnimationOptions()).id
    service.job_store.cancel(other)
    assert_problem(service.http.get(f"/animations/{other}/result"), 409, "animation_canceled")


def test_gone(service: Service, path: str) -> None:
    for key in list(service.storage.list_keys("animations")):
        service.storage.delete(key)

    assert_problem(service.http.get(path), 410, "result_gone")
    assert service.http.head(path).status_code == 410


def test_a_client_that_leaves_in_the_middle_of_a_download(service: Service, path: str) -> None:
    with service.http.stream("GET", path) as response:
        next(response.iter_raw(100))

    assert get(service, path).content == VIDEO


def test_the_parser_of_ranges() -> None:
    assert parse_range(None, 10) is None
    assert parse_range("BYTES=2-3", 10) == ByteRange(2, 4)
    assert parse_range("bytes=" + "9" * 19 + "-", 10) is None
    with pytest.raises(RangeNotSatisfiable):
        parse_range("bytes=0-", 0)
