"""One contract for every storage: a local folder, and a real S3 server."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.conftest import free_port
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
