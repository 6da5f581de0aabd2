"""Which clips a data set folder has, whose they are, and which are kept for the test.

A clip is a video (`.mp4 .mov .m4v .mkv .webm .mpg`), an animated `.gif`, or a folder of pictures, one for each frame.

    data/train/anna#breakfast.mp4      `anna` is the identity: what stands before the first `#`
    data/train/anna#garden.mp4
    data/train/ben#001/0001.png ...    a clip as a folder of frames
    data/test/carl#holiday.webm

Without `train` and `test` the clips lie in the folder itself, and a tenth of the identities, chosen by their names
alone, is the test: another clip of a known person moves nobody from one side to the other.
"""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

from model.errors import ModelError

Split = Literal["train", "test"]

VIDEO_SUFFIXES = frozenset({".mp4", ".mov", ".m4v", ".mkv", ".webm", ".mpg", ".mpeg", ".gif"})
FRAME_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp"})
TEST_SHARE = 0.1

_DIGITS = re.compile(r"(\d+)")


class DataError(ModelError):
    """A data set, one of its clips or its cache cannot be used.

    Codes: data_folder_missing data_empty data_split_missing data_disk_short data_cache_unwritable
    clip_unreadable clip_too_short.
    """


@dataclass(frozen=True, kw_only=True, slots=True)
class ClipFile:
    """A video or a folder of frames, not yet opened."""

    path: Path
    name: str
    """The path below the data set's folder, with `/`: unique in the set and the same on every machine."""
    identity: str
    split: Split

    @property
    def is_frame_folder(self) -> bool:
        """Return whether each frame is a file of its own."""
        return self.path.is_dir()


class Listing(NamedTuple):
    """What a data set's folder holds."""

    clips: tuple[ClipFile, ...]
    """Sorted by name."""
    strangers: tuple[str, ...]
    """Names of files and folders that are not clips; hidden ones are not counted."""
    has_split_folders: bool

    def of(self, split: Split) -> tuple[ClipFile, ...]:
        """Return the clips of one split, sorted by name."""
        return tuple(clip for clip in self.clips if clip.split == split)


def list_clips(folder: Path, *, split_seed: int = 0) -> Listing:
    """Find the clips of a data set. Nothing is opened.

    `split_seed` draws another test part where the folder has none of its own.

    Raises `DataError` with code `data_folder_missing` or `data_empty`.
    """
    if not folder.is_dir():
        raise DataError("data_folder_missing", f"There is no folder {folder}.")
    splits: list[Split] = [split for split in ("train", "test") if (folder / split).is_dir()]
    clips: list[ClipFile] = []
    strangers: list[str] = []
    for split in splits:
        _collect(folder / split, f"{split}/", split, clips, strangers)
    if not splits:
        _collect(folder, "", "train", clips, strangers)
        clips = _draw_test(clips, split_seed)
    if not clips:
        hint = "It needs videos, GIFs or folders of frames, in it or in `train` and `test` inside it."
        if frame_files(folder):
            hint = "It is itself a folder of frames, that is one clip: put it into another folder."
        raise DataError("data_empty", f"{folder} has no clips.", hint)
    return Listing(tuple(sorted(clips, key=lambda clip: clip.name)), tuple(sorted(strangers)), bool(splits))


def select(listing: Listing, split: Split) -> tuple[ClipFile, ...]:
    """Return the clips of a split. Raises `DataError` with code `data_split_missing` when there is none."""
    clips = listing.of(split)
    if not clips:
        hint = (
            f"Put clips into its folder `{split}`."
            if listing.has_split_folders
            else "One identity cannot be split: add clips of others, or make folders `train` and `test`."
        )
        raise DataError("data_split_missing", f"The data set has no {split} clips.", hint)
    return clips


def identity_of(file_name: str) -> str:
    """Return whom a clip shows: what stands before `#`; without `#` every clip is its own identity."""
    stem = file_name[: -len(Path(file_name).suffix)] if Path(file_name).suffix.lower() in VIDEO_SUFFIXES else file_name
    return stem.split("#", 1)[0] or stem


def frame_files(folder: Path) -> tuple[Path, ...]:
    """Return the pictures in a folder in the order of their numbers: `9.png` before `10.png`."""
    found = (path for path in folder.iterdir() if path.suffix.lower() in FRAME_SUFFIXES and path.name[0] != ".")
    return tuple(sorted(found, key=lambda path: (_natural(path.name), path.name)))


def _collect(folder: Path, prefix: str, split: Split, clips: list[ClipFile], strangers: list[str]) -> None:
    for path in sorted(folder.iterdir()):
        if path.name.startswith("."):
            continue
        is_clip = bool(frame_files(path)) if path.is_dir() else path.suffix.lower() in VIDEO_SUFFIXES
        if is_clip:
            clips.append(
                ClipFile(path=path, name=prefix + path.name, identity=identity_of(path.name), split=split),
            )
        else:
            strangers.append(prefix + path.name)


def _draw_test(clips: Sequence[ClipFile], split_seed: int) -> list[ClipFile]:
    """Order the identities by a hash and take the first tenth, at least one if there are two."""
    identities = sorted(
        {clip.identity for clip in clips},
        key=lambda identity: hashlib.sha256(f"{split_seed}\0{identity}".encode()).digest(),
    )
    count = max(1, round(TEST_SHARE * len(identities))) if len(identities) > 1 else 0
    test = set(identities[:count])
    return [
        ClipFile(
            path=clip.path,
            name=clip.name,
            identity=clip.identity,
            split="test" if clip.identity in test else "train",
        )
        for clip in clips
    ]


def _natural(name: str) -> list[tuple[int, int, str]]:
    parts = _DIGITS.split(name.lower())
    return [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in parts if part]
