"""The local folder: the order of writing, a disk that fills up, what a killed process leaves."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY
from worker.durable_files import keep_durably, write_durably
from worker.settings import Settings
from worker.storage import open_storage


@pytest.mark.parametrize("kept", ["written", "linked", "copied"])
def test_the_bytes_are_flushed_before_the_name_and_the_name_before_the_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kept: str
) -> None:
    received = tmp_path.with_name(f"{tmp_path.name}-received")
    received.write_bytes(b"12345")
    steps: list[str] = []
    fsync, replace = os.fsync, os.replace

    def flushed(descriptor: int) -> None:
        name = Path(os.readlink(f"/proc/self/fd/{descriptor}"))
        size = os.fstat(descriptor).st_size
        steps.append(f"folder {name.relative_to(tmp_path)}" if name.is_dir() else f"file of {size}")
        fsync(descriptor)

    def renamed(source: Path, target: Path) -> None:
        steps.append(f"rename to {Path(target).relative_to(tmp_path)}")
        replace(source, target)

    monkeypatch.setattr(os, "fsync", flushed)
    monkeypatch.setattr(os, "replace", renamed)
    if kept == "written":
        write_durably(tmp_path, "animations/a/source", io.BytesIO(b"12345"))
    else:
        if kept == "copied":
            monkeypatch.setattr(os, "link", _no_links)
        keep_durably(tmp_path, "animations/a/source", received)

    assert steps == [
        "file of 5",
        "rename to animations/a/source",
        "folder animations/a",
        "folder animations",
        "folder .",
    ]
    assert (tmp_path / "animations/a/source").read_bytes() == b"12345"


def _no_links(*_: object, **__: object) -> None:
    raise PermissionError("this file system has no hard links")


def test_a_finished_file_is_not_copied_on_one_disk(tmp_path: Path) -> None:
    received = tmp_path / "received"
    received.write_bytes(b"12345")
    keep_durably(tmp_path / "objects", "a/b", received)

    assert received.samefile(tmp_path / "objects/a/b")
    received.unlink()
    assert (tmp_path / "objects/a/b").read_bytes() == b"12345"


@pytest.mark.skipif(not Path("/dev/shm").is_dir(), reason="no second file system")
def test_a_finished_file_of_another_disk_is_copied(tmp_path: Path) -> None:
    with tempfile.NamedTemporaryFile(dir="/dev/shm") as received:
        if os.stat(received.name).st_dev == tmp_path.stat().st_dev:
            pytest.skip("both are on one file system")
        received.write(b"12345")
        received.flush()
        keep_durably(tmp_path, "a/b", Path(received.name))

    assert (tmp_path / "a/b").read_bytes() == b"12345"
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["b"]


@pytest.mark.parametrize(
    "key", ["", "/a", "a/", "../a", "a/../b", "a//b", "a#1", ".hidden", "a/.hidden", "a\\b", "a\x00", "a b", "ä"]
)
def test_a_key_that_could_lead_elsewhere(tmp_path: Path, key: str) -> None:
    with pytest.raises(ValueError, match="illegal"):
        write_durably(tmp_path, key, io.BytesIO(b"x"))
    assert list(tmp_path.iterdir()) == []


def test_a_content_that_breaks_off_changes_nothing(tmp_path: Path) -> None:
    class Broken(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            if self.tell() > 0:
                raise OSError("gone")
            return super().read(3)

    write_durably(tmp_path, "a/b", io.BytesIO(b"old"))
    with pytest.raises(OSError, match="gone"):
        write_durably(tmp_path, "a/b", Broken(b"newer"))
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["b"]
    assert (tmp_path / "a/b").read_bytes() == b"old"


FULL_DISK = """
import resource, signal, sys
from pathlib import Path
from worker.errors import StorageUnavailable
from worker.settings import Settings
from worker.storage import open_storage
storage = open_storage(Settings(data_dir=Path(sys.argv[1])))
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    storage.put_bytes("animations/a/source", bytes(200_000))
except StorageUnavailable as error:
    print(type(error.__cause__).__name__, list(storage.list_keys("animations")))
storage.put_bytes("animations/a/small", bytes(50_000))
print(list(storage.list_keys("animations")))
"""


def test_a_disk_that_is_full_is_a_clear_error_and_leaves_nothing(tmp_path: Path) -> None:
    """A limit on the size of files stands for the full disk: the same error in the middle of a write."""
    answer = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(tmp_path)],
        cwd=REPOSITORY,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert answer.stdout.splitlines() == ["OSError []", "['animations/a/small']"]
    assert [path.name for path in (tmp_path / "objects" / "animations" / "a").iterdir()] == ["small"]


def test_an_unfinished_file_is_not_listed(settings: Settings) -> None:
    storage = open_storage(settings)
    storage.put_bytes("animations/a/source", b"x")
    (settings.data_dir / "objects" / "animations" / "a" / "source#123456789").write_bytes(b"half")
    assert list(storage.list_keys("animations")) == ["animations/a/source"]
