"""DELETE: the record first, then the bytes; what is left when the storage is away is finished later."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from api.object_sweeper import ObjectSweeper
from api.settings import ApiSettings
from tests.api.conftest import Service, assert_problem
from worker.errors import QueueUnavailable, StorageUnavailable
from worker.job_store import JobStore
from worker.settings import Settings
from worker.storage import ObjectStorage

Files = dict[str, tuple[str, bytes]]


def submitted(service: Service, files: Files) -> str:
    response = service.post(files)
    assert response.status_code == 202, response.text
    return response.json()["id"]


def assert_gone(service: Service, animation_id: str) -> None:
    assert_problem(service.http.get(f"/animations/{animation_id}"), 404, "animation_not_found")
    assert service.http.get("/animations").json()["data"] == []
    assert list(service.storage.list_keys("animations")) == []
    assert service.job_store.upkeep.trash() == []


def test_a_queued_animation(service: Service, files: Files) -> None:
    animation_id = submitted(service, files)

    response = service.http.delete(f"/animations/{animation_id}")

    assert (response.status_code, response.content) == (204, b"")
    assert_gone(service, animation_id)
    assert service.job_store.claim(animation_id, "a worker") is None, "its doorbell is answered by nobody"
    assert service.http.delete(f"/animations/{animation_id}").status_code == 204, "it can be repeated"


def test_a_running_animation_is_stopped(service: Service, files: Files) -> None:
    animation_id = submitted(service, files)
    claim = service.job_store.claim(animation_id, "a worker")
    assert claim

    assert service.http.delete(f"/animations/{animation_id}").status_code == 204

    assert service.job_store.stop_wanted(animation_id, claim.fence)
    assert service.job_store.heartbeat(animation_id, claim.fence, 1) == "lost"
    assert_gone(service, animation_id)


@pytest.mark.parametrize("name", ["anm_" + "0" * 26, "anm_01kar5x8m2q7v9w3e6z0h4t1yc", "nonsense", "a" * 3000])
def test_what_does_not_exist(service: Service, name: str) -> None:
    assert service.http.delete(f"/animations/{name}").status_code == 204


def test_a_storage_that_is_away_deletes_later(
    service: Service, files: Files, monkeypatch: pytest.MonkeyPatch, settings: Settings
) -> None:
    animation_id = submitted(service, files)

    def away(*_: object) -> None:
        raise StorageUnavailable("away")

    with monkeypatch.context() as patch:
        patch.setattr(ObjectStorage, "delete", away)
        assert service.http.delete(f"/animations/{animation_id}").status_code == 204
    assert_problem(service.http.get(f"/animations/{animation_id}"), 404, "animation_not_found")
    assert len(list(service.storage.list_keys("animations"))) == 2
    assert service.job_store.upkeep.trash() == [animation_id]

    folder = settings.data_dir / "uploads"
    folder.mkdir(parents=True)
    ObjectSweeper(service.job_store, service.storage, folder, ApiSettings()).empty_trash()
    assert_gone(service, animation_id)


def test_without_a_queue_nothing_is_half_deleted(
    service: Service, files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    animation_id = submitted(service, files)

    def away(*_: object) -> bool:
        raise QueueUnavailable("away")

    with monkeypatch.context() as patch:
        patch.setattr(JobStore, "purge", away)
        assert_problem(service.http.delete(f"/animations/{animation_id}"), 503, "queue_unavailable")

    assert service.http.get(f"/animations/{animation_id}").status_code == 200
    assert len(list(service.storage.list_keys("animations"))) == 2


def test_one_whose_time_is_over_is_gone(serve: Callable[..., Service], settings: Settings, files: Files) -> None:
    service = serve(settings=settings.model_copy(update={"retention_s": 0.001}), housekeeping_interval_s=3600)
    animation_id = submitted(service, files)
    path = f"/animations/{animation_id}"
    assert service.http.get(path).json()["expires_at"] is None
    assert service.http.post(f"{path}/cancel").json()["expires_at"].endswith("Z")
    service.job_store.upkeep.expire()

    assert_problem(service.http.get(path), 410, "animation_expired")
    assert_problem(service.http.get(f"{path}/result"), 410, "animation_expired")
    assert_problem(service.http.get(f"{path}/events"), 410, "animation_expired")
    assert_problem(service.http.post(f"{path}/cancel"), 410, "animation_expired")
    assert service.http.delete(path).status_code == 204
