"""What dead processes left is removed, what living ones use is not."""

from __future__ import annotations

import stat
import subprocess
import sys
from pathlib import Path

from api.upload_folder import open_upload_folder
from tests.conftest import REPOSITORY


def test_the_folder_is_private_and_goes_away(tmp_path: Path) -> None:
    uploads = tmp_path / "uploads"
    with open_upload_folder(uploads) as folder:
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert stat.S_IMODE(uploads.stat().st_mode) == 0o700
        (folder / "request").mkdir()
        (folder / "request" / "source_image").write_bytes(b"x")
    assert list(uploads.iterdir()) == []


def test_only_abandoned_folders_are_removed(tmp_path: Path) -> None:
    with open_upload_folder(tmp_path) as first:
        dead = tmp_path / "api-dead"
        dead.mkdir()
        (dead / "lock").touch()
        (dead / "request").mkdir()
        foreign = tmp_path / "somebody's folder"
        foreign.mkdir()
        no_lock = tmp_path / "api-backup"
        no_lock.mkdir()

        with open_upload_folder(tmp_path) as second:
            assert {path.name for path in tmp_path.iterdir()} == {first.name, second.name, foreign.name, no_lock.name}


def test_the_lock_dies_with_its_process(tmp_path: Path) -> None:
    # Ends as a kill would: nothing is cleaned up.
    code = (
        "import os, pathlib, sys, api.upload_folder as u"
        "\nwith u.open_upload_folder(pathlib.Path(sys.argv[1])):\n os._exit(0)"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True, cwd=REPOSITORY)
    assert len(list(tmp_path.glob("api-*"))) == 1

    with open_upload_folder(tmp_path) as folder:
        assert list(tmp_path.iterdir()) == [folder]
