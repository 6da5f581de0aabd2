"""Objects without an animation are deleted, those of an animation never: on a local folder and on a real S3 server."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from api import object_sweeper
from api.object_sweeper import ObjectSweeper
from api.settings import ApiSettings
from api.upload_folder import open_upload_folder
from tests.conftest import free_port, job_result
from tests.worker.virtual_clock import VirtualClock
from worker.errors import StorageUnavailable
from worker.job_store import JobStore
from worker.jobs import AnimationOptions, Job, JobInput, id_time, new_id
from worker.settings import Settings
from worker.storage import Storage, open_storage

DAY_S = 24 * 3600.0


@pytest.fixture(params=["folder", "s3"])
def storage(request: pytest.FixtureRequest, settings: Settings) -> Iterator[Storage]:
    storage = open_storage(settings if request.param == "folder" else request.getfixturevalue("s3_settings"))
    yield storage
    for key in [*storage.list_keys("animations"), "owner"]:
        storage.delete(key)


@pytest.fixture
def clock(settings: Settings) -> VirtualClock:
    """It begins with the time at which the test's ids and objects are made."""
    return VirtualClock(settings, now_s=id_time(new_id()))


@pytest.fixture
def store(clock: VirtualClock) -> JobStore:
    return clock.store()


@pytest.fixture
def sweeper(store: JobStore, storage: Storage, tmp_path: Path) -> ObjectSweeper:
    return ObjectSweeper(store, storage, tmp_path / "uploads", ApiSettings())


def submit(store: JobStore, storage: Storage, job_input: JobInput) -> Job:
    job_id = new_id()
    for name in ("source", "driving"):
        storage.put_bytes(f"animations/{job_id}/{name}", b"content")
    return store.submit(job_id, job_input, AnimationOptions())


def names(storage: Storage, job_id: str) -> set[str]:
    return {key.rpartition("/")[2] for key in storage.list_keys(f"animations/{job_id}")}


def test_removed_records_lose_their_objects(
    sweeper: ObjectSweeper, store: JobStore, storage: Storage, clock: VirtualClock, job_input: JobInput
) -> None:
    purged, expired, kept = (submit(store, storage, job_input) for _ in range(3))
    store.purge(purged.id)
    store.cancel(expired.id)
    clock.advance(8 * DAY_S)
    store.upkeep.expire()
    sweeper.empty_trash()
    assert names(storage, purged.id) == names(storage, expired.id) == set()
    assert names(storage, kept.id) == {"source", "driving"}
    assert store.upkeep.trash() == []
    sweeper.empty_trash()


def test_orphans_are_deleted_when_they_are_old(
    sweeper: ObjectSweeper, store: JobStore, storage: Storage, clock: VirtualClock, job_input: JobInput
) -> None:
    aborted = new_id()
    storage.put_bytes(f"animations/{aborted}/source", b"an upload that never became an animation")
    storage.put_bytes("animations/notes/readme", b"not ours")
    jobs = [submit(store, storage, job_input) for _ in range(3)]
    queued, canceled, done = jobs
    running = store.claim(done.id, "w")
    assert running is not None
    for fence in (1, 2):
        storage.put_bytes(f"animations/{done.id}/result-{fence}.mp4", b"frames")
        storage.put_bytes(f"animations/{queued.id}/result-{fence}.mp4", b"its worker may be about to commit it")
        storage.put_bytes(f"animations/{canceled.id}/result-{fence}.mp4", b"came too late")
    store.commit(done.id, 1, job_result(key=f"animations/{done.id}/result-1.mp4"))
    store.cancel(canceled.id)

    clock.advance(3500)
    sweeper.remove_orphans()
    assert names(storage, aborted) == {"source"}, "younger than an hour"
    clock.advance(200)
    sweeper.remove_orphans()
    assert names(storage, aborted) == set()
    assert names(storage, queued.id) == {"source", "driving", "result-1.mp4", "result-2.mp4"}
    assert names(storage, canceled.id) == {"source", "driving"}
    assert names(storage, done.id) == {"source", "driving", "result-1.mp4"}
    assert names(storage, "notes") == {"readme"}


def test_a_storage_of_another_queue_is_left_alone(
    sweeper: ObjectSweeper, store: JobStore, storage: Storage, clock: VirtualClock, job_input: JobInput
) -> None:
    job = submit(store, storage, job_input)
    sweeper.remove_orphans()
    clock.advance(2 * DAY_S)
    now_s = clock.now_s
    store._redis.flushdb()  # as when a service is started on an empty Redis by mistake
    clock.set(now_s)
    sweeper.remove_orphans()
    assert names(storage, job.id) == {"source", "driving"}


def test_a_sweep_is_bounded_and_goes_on_the_next_time(
    sweeper: ObjectSweeper, storage: Storage, clock: VirtualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(object_sweeper, "_LOOKED_UP_AT_ONCE", 2)
    monkeypatch.setattr(object_sweeper, "_DELETED_AT_MOST", 3)
    for _ in range(5):
        storage.put_bytes(f"animations/{new_id()}/source", b"")
    clock.advance(DAY_S)
    left = []
    for _ in range(3):
        sweeper.remove_orphans()
        left.append(len(list(storage.list_keys("animations"))))
    assert left == [2, 0, 0]


def test_a_storage_that_is_away_loses_no_trash(
    settings: Settings, store: JobStore, job_input: JobInput, tmp_path: Path
) -> None:
    away = open_storage(
        Settings(
            storage_url="s3://animations",
            storage_endpoint_url=f"http://127.0.0.1:{free_port()}",
            storage_access_key_id="a",
            storage_secret_access_key="b",
        )
    )
    here = open_storage(settings)
    jobs = [submit(store, here, job_input) for _ in range(2)]
    for job in jobs:
        store.purge(job.id)
    sweeper = ObjectSweeper(store, away, tmp_path, ApiSettings())
    with pytest.raises(StorageUnavailable):
        sweeper.sweep()
    assert set(store.upkeep.trash()) == {job.id for job in jobs}
    ObjectSweeper(store, here, tmp_path, ApiSettings())  # another process: the duty is still the first one's
    sweeper._storage = here
    sweeper.sweep()
    assert store.upkeep.trash() == []
    assert list(here.list_keys("animations")) == []


def test_one_at_a_time(store: JobStore, settings: Settings, job_input: JobInput, tmp_path: Path) -> None:
    storage = open_storage(settings)
    ObjectSweeper(store, storage, tmp_path, ApiSettings()).sweep()
    store.purge(submit(store, storage, job_input).id)
    ObjectSweeper(store, storage, tmp_path, ApiSettings()).sweep()
    assert len(store.upkeep.trash()) == 1


def test_what_a_killed_process_left_on_this_machine(settings: Settings, store: JobStore, tmp_path: Path) -> None:
    storage = open_storage(settings)
    storage.put_bytes("animations/a/source", b"whole")
    folder = settings.data_dir / "objects" / "animations" / "a"
    old, young = folder / "driving#1", folder / "driving#2"
    for path in (old, young):
        path.write_bytes(b"half")
    os.utime(old, (0, 0))
    abandoned = tmp_path / "api-dead"
    abandoned.mkdir()
    (abandoned / "lock").touch()
    with open_upload_folder(tmp_path) as alive:
        (tmp_path / "api-dead2").mkdir()
        (tmp_path / "api-dead2" / "lock").touch()
        ObjectSweeper(store, storage, tmp_path, ApiSettings()).sweep()
        assert {path.name for path in tmp_path.glob("api-*")} == {alive.name}
    assert {path.name for path in folder.iterdir()} == {"source", "driving#2"}
    storage.remove_unfinished(timedelta(0))
    assert {path.name for path in folder.iterdir()} == {"source"}
