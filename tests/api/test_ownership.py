"""A client sees its own animations and nobody else's."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import httpx
import pytest

from tests.api.conftest import Service, assert_problem
from tests.conftest import job_result
from worker.api_keys import KeyStore
from worker.jobs import AnimationOptions, Job, JobContext, JobInput, new_id
from worker.settings import Settings
from worker.submit_refusals import ClientFullError

Serve = Callable[..., Service]


@pytest.fixture
def keys(settings: Settings) -> Iterator[KeyStore]:
    store = KeyStore.connect(settings)
    yield store
    store.close()


def submit(service: Service, job_input: JobInput, client_id: str | None) -> Job:
    context = JobContext(client_id=client_id)
    return service.job_store.submit(new_id(), job_input, AnimationOptions(model="avatars-256"), context)


def as_client(service: Service, keys: KeyStore, name: str) -> httpx.Client:
    return httpx.Client(base_url=service.http.base_url, headers={"X-API-Key": keys.create(name).text}, timeout=30)


def ids(client: httpx.Client, **query: str | int) -> list[str]:
    return [animation["id"] for animation in client.get("/animations", params=query).json()["data"]]


def test_what_a_client_submits_is_its_own(serve: Serve, keys: KeyStore, files: object) -> None:
    service = serve()
    with as_client(service, keys, "one") as one, as_client(service, keys, "one") as again:
        made = one.post("/animations", files=files).json()  # pyright: ignore
        job = service.job_store.get(made["id"])
        assert job is not None
        assert job.context.client_id == "one"
        # Another key of the same client sees it: so a key can be replaced.
        assert again.get(f"/animations/{job.id}").status_code == 200


def test_others_do_not_exist(serve: Serve, keys: KeyStore, job_input: JobInput) -> None:
    service = serve()
    running, done = (submit(service, job_input, "one") for _ in range(2))
    claim = service.job_store.claim(done.id, "a worker")
    assert claim
    assert service.job_store.commit(done.id, claim.fence, job_result(key=f"animations/{done.id}/result-1.mp4"))
    unknown = new_id()

    with as_client(service, keys, "two") as two:
        for method, tail in [("GET", ""), ("GET", "/result"), ("GET", "/events"), ("POST", "/cancel"), ("DELETE", "")]:
            told = []
            for job_id in (running.id, done.id, unknown):
                answer = two.request(method, f"/animations/{job_id}{tail}", headers={"X-Request-ID": "12345678"})
                told.append((answer.status_code, answer.text.replace(job_id, "ID")))
            assert len(set(told)) == 1, (method, tail, told)  # nothing tells it from one that never was
            assert told[0][0] in (404, 204)
    after = service.job_store.get(running.id)
    assert after is not None
    assert not after.cancel_requested
    assert not after.state.is_terminal


def test_a_list_has_only_the_own(serve: Serve, keys: KeyStore, job_input: JobInput) -> None:
    service = serve(page_max=3)
    made: dict[str | None, list[str]] = {"one": [], "two": [], None: []}
    for name in ("one", "two", None, "two", "one", "one", None, "one"):
        made[name].append(submit(service, job_input, name).id)
    assert sorted(ids(service.http)) == sorted(made[None])

    with as_client(service, keys, "one") as one, as_client(service, keys, "three") as three:
        page = one.get("/animations", params={"limit": 3}).json()
        rest = ids(one, cursor=page["next_cursor"])
        assert sorted([animation["id"] for animation in page["data"]] + rest) == sorted(made["one"])
        assert len(rest) == 1
        assert ids(one, status="failed") == []
        assert ids(three) == []


def test_what_was_made_without_keys_belongs_to_no_key(serve: Serve, keys: KeyStore, job_input: JobInput) -> None:
    service = serve()
    job = submit(service, job_input, None)
    assert service.http.get(f"/animations/{job.id}").status_code == 200

    with as_client(service, keys, "one") as one:
        assert_problem(one.get(f"/animations/{job.id}"), 404, "animation_not_found")

    owned = submit(service, job_input, "one")
    keys.revoke("one")
    assert_problem(service.http.get(f"/animations/{owned.id}"), 404, "animation_not_found")
    assert ids(service.http) == [job.id]


def test_a_client_has_only_so_many_under_way(serve: Serve, keys: KeyStore, files: object, job_input: JobInput) -> None:
    service = serve(live_per_client=2)
    with as_client(service, keys, "one") as one, as_client(service, keys, "two") as two:

        def post(client: httpx.Client) -> httpx.Response:
            return client.post("/animations", files=files)  # pyright: ignore

        first = post(one).json()["id"]
        assert post(one).status_code == 202
        problem = assert_problem(post(one), 429, "queue_full")
        assert "of this client" in str(problem["detail"])
        assert post(two).status_code == 202

        assert one.post(f"/animations/{first}/cancel").status_code == 202
        assert post(one).status_code == 202
        # The script refuses too, when several uploads end at once.
        with pytest.raises(ClientFullError):
            service.job_store.submit(
                new_id(), job_input, AnimationOptions(), JobContext(client_id="one"), max_of_client=2
            )
    assert len(service.job_store.page(10)) == 4
