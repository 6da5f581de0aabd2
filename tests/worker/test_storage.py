"""One contract for every storage: a local folder, and a real S3 server."""

from __future__ import annotations

import itertools
import os
import shutil
import socket
import threading
import time
from pathlib import Path

import pytest

from tests.conftest import free_port, running_s3, wait_until
from worker.errors import StorageUnavailable
from worker.settings import Settings
from worker.storage import Storage, open_storage


@pytest.fixture(params=["folder", "s3"])
def storage(request: pytest.FixtureRequest, settings: Settings) -> Storage:
    return open_storage(settings if request.param == "folder" else request.getfixturevalue("s3_settings"))


def test_contract(storage: Storage, tmp_path: Path) -> None:
    content = os.urandom(6 * 1024 * 1024 + 17)  # more than one part of a multipart upload
    path = tmp_path / "content"
    path.write_bytes(content)
    storage.check()
    with pytest.raises(FileNotFoundError):
        storage.head("animations/a/source")

    storage.put_file("animations/a/source", path, "video/mp4")
    assert storage.head("animations/a/source").size_bytes == len(content)
    assert b"".join(storage.read("animations/a/source", 0, len(content))) == content
    assert b"".join(storage.read("animations/a/source", 5, 4_000_000)) == content[5:4_000_000]
    copy = tmp_path / "copy"
    storage.fetch("animations/a/source", copy)
    assert copy.read_bytes() == content

    storage.put_file("animations/a/result-1.mp4", copy, "video/mp4")
    storage.put_file("animations/b/source", copy, "image/png")
    assert set(storage.list_keys("animations/a")) == {"animations/a/source", "animations/a/result-1.mp4"}

    small = tmp_path / "small"
    small.write_bytes(b"new")
    storage.put_file("animations/a/source", small, "video/mp4")
    assert b"".join(storage.read("animations/a/source", 0, 3)) == b"new"

    for key in list(storage.list_keys("animations")):
        storage.delete(key)
        storage.delete(key)
    assert list(storage.list_keys("animations")) == []
    with pytest.raises(FileNotFoundError):
        storage.read("animations/a/source", 0, 1)
    with pytest.raises(FileNotFoundError):
        storage.fetch("animations/a/source", tmp_path / "nothing")


def test_a_bucket_that_does_not_exist(tmp_path: Path) -> None:
    with running_s3(tmp_path, "-s3.autoCreateBucket=false") as settings:
        storage = open_storage(settings.model_copy(update={"storage_url": "s3://another"}))
        path = tmp_path / "content"
        path.write_bytes(b"x")
        for call in (
            storage.check,
            lambda: storage.put_bytes("animations/a/source", b"x"),
            lambda: storage.put_file("animations/a/source", path, "image/png"),
            lambda: list(storage.list_keys("animations")),
        ):
            with pytest.raises(StorageUnavailable) as caught:
                call()
            assert "NoSuchBucket" in str(caught.value.__cause__), "the log can tell why"


def test_what_is_missing_and_what_is_deleted_twice(storage: Storage, tmp_path: Path) -> None:
    missing = "animations/never/source"
    for look in (
        lambda: storage.head(missing),
        lambda: storage.read(missing, 0, 1),
        lambda: storage.fetch(missing, tmp_path / "nothing"),
        lambda: storage.copy(missing, "animations/never/copy"),
    ):
        with pytest.raises(FileNotFoundError):
            look()
    assert not (tmp_path / "nothing").exists()
    storage.delete(missing)
    storage.put_bytes("animations/c/source", b"x")
    storage.delete("animations/c/source")
    storage.delete("animations/c/source")
    assert list(storage.list_keys("animations/c")) == []


uses_wget = pytest.mark.skipif(shutil.which("wget") is None, reason="the command of docker-compose.yml uses wget")


@uses_wget
def test_the_object_store_gives_back_the_space_of_what_is_deleted(tmp_path: Path) -> None:
    content = os.urandom(4_000_000)
    with running_s3(tmp_path, vacuum_every_s=1) as settings:
        storage = open_storage(settings)
        for number in range(8):
            storage.put_bytes(f"animations/{number}/source", content)
        assert _volume_bytes(tmp_path) >= 8 * len(content)
        for number in range(7):
            storage.delete(f"animations/{number}/source")
        wait_until(lambda: _volume_bytes(tmp_path) < 2 * len(content), "the space is given back", timeout_s=60)
        assert b"".join(storage.read("animations/7/source", 0, len(content))) == content


@uses_wget
def test_a_full_object_store_takes_objects_again_when_some_were_deleted(tmp_path: Path) -> None:
    content = os.urandom(4_000_000)
    # Two small volumes, of which one is for its own notes.
    with running_s3(tmp_path, "-master.volumeSizeLimitMB=32", "-volume.max=2", vacuum_every_s=2) as settings:
        storage = open_storage(settings)

        def takes(key: str) -> bool:
            try:
                storage.put_bytes(key, content)
            except StorageUnavailable:
                return False
            return True

        keys = (f"animations/{number}/source" for number in itertools.count())
        stored: list[str] = []
        while takes(key := next(keys)):  # it looks at the size now and then only
            stored.append(key)
            time.sleep(0.2)
        assert len(stored) >= 8
        for key in stored[: 2 * len(stored) // 3]:
            storage.delete(key)
        wait_until(lambda: takes("animations/new/source"), "it takes an object", timeout_s=90)
        assert b"".join(storage.read(stored[-1], 0, len(content))) == content


def _volume_bytes(folder: Path) -> int:
    """The size of the files that SeaweedFS keeps objects in."""
    return sum(path.stat().st_size for path in folder.glob("*.dat"))


def test_a_prefix_ends_at_a_slash(storage: Storage) -> None:
    for key in ("animations/d/source", "animations/d/result-1.mp4", "animations/dd/source", "other/d/source"):
        storage.put_bytes(key, b"x")
    assert set(storage.list_keys("animations/d")) == {"animations/d/source", "animations/d/result-1.mp4"}
    assert set(storage.list_keys("animations")) >= {"animations/d/source", "animations/dd/source"}
    for key in ("animations/d/source", "animations/d/result-1.mp4", "animations/dd/source", "other/d/source"):
        storage.delete(key)


def test_a_range_may_end_behind_the_end(storage: Storage) -> None:
    storage.put_bytes("animations/e/source", b"0123456789")
    assert b"".join(storage.read("animations/e/source", 7, 100)) == b"789"
    assert b"".join(storage.read("animations/e/source", 9, 10)) == b"9"
    storage.delete("animations/e/source")


def test_a_reader_never_sees_half_a_file(storage: Storage, tmp_path: Path) -> None:
    """Whole files of one letter are put over each other; every look finds one of them, whole."""
    size, key = 3 << 20, "animations/f/source"
    files = [tmp_path / letter for letter in "ab"]
    for file in files:
        file.write_bytes(file.name.encode() * size)
    storage.put_file(key, files[0], "video/mp4")
    done = threading.Event()

    def put() -> None:
        try:
            for turn in range(10):
                storage.put_file(key, files[turn % 2], "video/mp4")
        finally:
            done.set()

    writer = threading.Thread(target=put)
    writer.start()
    while not done.is_set():
        content = b"".join(storage.read(key, 0, size))
        assert content in (b"a" * size, b"b" * size)
        assert storage.head(key).size_bytes == size
    writer.join()
    storage.delete(key)


def test_a_storage_that_is_away_is_a_clear_error(tmp_path: Path) -> None:
    away = Settings(
        storage_url="s3://animations",
        storage_endpoint_url=f"http://127.0.0.1:{free_port()}",
        storage_access_key_id="a",
        storage_secret_access_key="b",
    )
    with pytest.raises(StorageUnavailable) as caught:
        open_storage(away).check()
    assert "127.0.0.1" not in caught.value.detail


def test_a_storage_that_accepts_and_says_nothing_is_given_up(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        away = Settings(
            storage_url="s3://animations",
            storage_endpoint_url=f"http://127.0.0.1:{silent.getsockname()[1]}",
            storage_access_key_id="a",
            storage_secret_access_key="b",
            storage_timeout_s=1,
        )
        storage = open_storage(away)
        started_s = time.monotonic()
        for call in (storage.check, lambda: storage.put_bytes("animations/a/source", b"x")):
            with pytest.raises(StorageUnavailable):
                call()
        assert time.monotonic() - started_s < 60


def test_a_wrong_key_is_refused(s3_settings: Settings) -> None:
    forged = s3_settings.model_copy(update={"storage_secret_access_key": "wrong"})
    with pytest.raises(StorageUnavailable):
        open_storage(forged).check()


def test_a_folder_that_cannot_be_written_is_a_clear_error(settings: Settings, tmp_path: Path) -> None:
    content = tmp_path / "content"
    content.write_bytes(b"x")
    storage = open_storage(settings)
    blocker = settings.data_dir / "objects" / "animations"
    blocker.write_bytes(b"a file where a folder should be")
    with pytest.raises(StorageUnavailable):
        storage.put_file("animations/a/source", content, "image/png")


def test_no_key_leaves_the_folder(settings: Settings, tmp_path: Path) -> None:
    content = tmp_path / "content"
    content.write_bytes(b"x")
    storage = open_storage(settings)
    with pytest.raises(ValueError, match="illegal"):
        storage.put_file("../escaped", content, "image/png")
    assert not (settings.data_dir / "escaped").exists()
