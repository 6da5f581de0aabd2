"""Links to a result that work without a key, and redirects to the storage."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from tests.api.conftest import Service, assert_problem
from tests.conftest import job_result, wait_until
from worker.api_keys import KeyStore
from worker.jobs import AnimationOptions, Job, JobContext, JobInput, new_id
from worker.settings import Settings

Serve = Callable[..., Service]
VIDEO = b"not really a video" * 100


@pytest.fixture
def key(settings: Settings) -> Iterator[dict[str, str]]:
    """The header of a client `one`."""
    store = KeyStore.connect(settings)
    yield {"X-API-Key": store.create("one").text}
    store.close()


def finished(service: Service, job_input: JobInput, tmp_path: Path) -> Job:
    """An animation of client `one` with a stored result."""
    job = service.job_store.submit(new_id(), job_input, AnimationOptions(model="m"), JobContext(client_id="one"))
    claim = service.job_store.claim(job.id, "a worker")
    assert claim
    path = tmp_path / "video"
    path.write_bytes(VIDEO)
    result = job_result(key=f"animations/{job.id}/result-1.mp4", size_bytes=len(VIDEO))
    service.storage.put_file(result.key, path, "video/mp4")
    assert service.job_store.commit(job.id, claim.fence, result)
    return job


def test_a_link_needs_no_key(serve: Serve, key: dict[str, str], job_input: JobInput, tmp_path: Path) -> None:
    service = serve()
    job = finished(service, job_input, tmp_path)
    read = service.http.get(f"/animations/{job.id}", headers=key)
    url = read.json()["result"]["url"]

    assert url.startswith(f"/animations/{job.id}/result?expires=")
    assert read.json()["links"]["result"] == f"/animations/{job.id}/result"
    assert_problem(service.http.get(f"/animations/{job.id}/result"), 401, "unauthorized")
    whole = service.http.get(url)
    assert (whole.status_code, whole.content) == (200, VIDEO)
    assert whole.headers["cross-origin-resource-policy"] == "cross-origin"
    assert service.http.get(url, headers={"Range": "bytes=0-4"}).content == VIDEO[:5]
    assert service.http.head(url).status_code == 200
    listed = service.http.get("/animations", headers=key).json()["data"]
    assert service.http.get(listed[0]["result"]["url"]).status_code == 200
    # It opens nothing else.
    query = url.partition("?")[2]
    assert_problem(service.http.get(f"/animations/{job.id}?{query}"), 401, "unauthorized")
    assert_problem(service.http.post(f"/animations/{job.id}/cancel?{query}"), 401, "unauthorized")


def test_what_is_not_a_link_of_ours(serve: Serve, key: dict[str, str], job_input: JobInput, tmp_path: Path) -> None:
    service = serve()
    job, other = (finished(service, job_input, tmp_path) for _ in range(2))
    url = service.http.get(f"/animations/{job.id}", headers=key).json()["result"]["url"]
    parts = {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}
    expires, signature = parts["expires"], parts["signature"]

    for path, query in [
        (job.id, {"expires": str(int(expires) + 1), "signature": signature}),
        (job.id, {"expires": expires, "signature": signature[:-1]}),
        (job.id, {"expires": expires, "signature": ""}),
        (job.id, {"expires": expires, "signature": "é"}),
        (job.id, {"expires": expires}),
        (job.id, {"signature": signature}),
        (job.id, {"expires": "x", "signature": signature}),
        (other.id, parts),
        ("nonsense", parts),
    ]:
        answer = service.http.get(f"/animations/{path}/result", params=query)
        assert_problem(answer, 403, "link_invalid")
        # A link that is no good is not saved by a key, and a key of others sees nothing by it.
        assert service.http.get(f"/animations/{path}/result", params=query, headers=key).status_code == 403


def test_a_link_ends(serve: Serve, key: dict[str, str], job_input: JobInput, tmp_path: Path) -> None:
    service = serve(link_ttl_s=1)
    job = finished(service, job_input, tmp_path)
    first = service.http.get(f"/animations/{job.id}", headers=key)
    url = first.json()["result"]["url"]
    assert service.http.get(url).status_code == 200

    wait_until(lambda: service.http.get(url).status_code == 403, "the link has expired", timeout_s=10)

    assert_problem(service.http.get(url), 403, "link_expired")
    # An ETag of the time of the old link does not keep a client from the new one.
    newer = service.http.get(f"/animations/{job.id}", headers={**key, "If-None-Match": first.headers["etag"]})
    assert newer.status_code == 200
    assert service.http.get(newer.json()["result"]["url"]).status_code == 200


def test_links_are_the_same_for_a_while_and_for_all_processes(
    serve: Serve, key: dict[str, str], job_input: JobInput, tmp_path: Path
) -> None:
    services = [serve(), serve(public_url="https://animato.example.org/api")]
    job = finished(services[0], job_input, tmp_path)

    urls = [service.http.get(f"/animations/{job.id}", headers=key).json()["result"]["url"] for service in services]

    assert urls[1].startswith(f"https://animato.example.org/api/animations/{job.id}/result?")
    assert services[0].http.get(urls[1].removeprefix("https://animato.example.org/api")).status_code == 200
    again = services[0].http.get(f"/animations/{job.id}", headers=key)
    unchanged = services[0].http.get(f"/animations/{job.id}", headers={**key, "If-None-Match": again.headers["etag"]})
    assert unchanged.status_code == 304
    other_secret = serve(link_secret="of our own")
    assert_problem(other_secret.http.get(urls[0]), 403, "link_invalid")


def test_a_link_to_what_was_deleted(serve: Serve, key: dict[str, str], job_input: JobInput, tmp_path: Path) -> None:
    service = serve()
    job = finished(service, job_input, tmp_path)
    url = service.http.get(f"/animations/{job.id}", headers=key).json()["result"]["url"]
    service.redis.delete(f"animato:job:{job.id}")
    assert_problem(service.http.get(url), 404, "animation_not_found")


def test_a_local_folder_cannot_redirect(serve: Serve, key: dict[str, str], job_input: JobInput, tmp_path: Path) -> None:
    service = serve(result_redirect=True)
    job = finished(service, job_input, tmp_path)
    assert service.http.get(f"/animations/{job.id}/result", headers=key).content == VIDEO


def test_a_download_is_redirected_to_the_storage(
    serve: Serve, key: dict[str, str], settings: Settings, s3_settings: Settings, job_input: JobInput, tmp_path: Path
) -> None:
    s3 = s3_settings.model_dump(include={name for name in Settings.model_fields if name.startswith("storage_")})
    service = serve(settings=settings.model_copy(update=s3), result_redirect=True)
    job = finished(service, job_input, tmp_path)
    path = f"/animations/{job.id}/result"

    answer = service.http.get(path, headers=key)
    assert answer.status_code == 307
    assert answer.headers["cache-control"] == "no-store"
    location = answer.headers["location"]
    assert location.startswith(s3_settings.storage_endpoint_url)
    sent = httpx.get(location)
    assert sent.content == VIDEO
    # Else a browser that follows the redirect would play what it is to keep.
    assert sent.headers["content-disposition"] == f'attachment; filename="{job.id}.mp4"'
    assert httpx.get(location, headers={"Range": "bytes=0-4"}).content == VIDEO[:5]
    assert httpx.get(location.replace(job.id, new_id())).status_code == 403
    assert service.http.head(path, headers=key).headers["content-length"] == str(len(VIDEO))

    service.storage.delete(f"animations/{job.id}/result-1.mp4")
    assert_problem(service.http.get(path, headers=key), 410, "result_gone")

    public = {**s3, "storage_public_endpoint_url": "https://files.example.org"}
    elsewhere = serve(settings=settings.model_copy(update=public), result_redirect=True)
    job = finished(elsewhere, job_input, tmp_path)
    answer = elsewhere.http.get(f"/animations/{job.id}/result", headers=key)
    assert answer.headers["location"].startswith("https://files.example.org/")
