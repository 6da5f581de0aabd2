"""Data sets of clips: layout, pairs, cache. The clips are tiny: a bright square that walks over noise."""

import itertools
import pickle
from collections import Counter
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from torch.utils.data import DataLoader, Dataset

from model.data import clip_budget, clip_cache
from model.data.augmentation import PUBLISHED
from model.data.clip_cache import CacheProgress
from model.data.clip_files import DataError, identity_of, list_clips
from model.data.clips import ClipPairs, ClipSet
from model.data.pairs import FramePairs

# imageio-ffmpeg leaves its pipes to the garbage collector when ffmpeg ends before it looks.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")

SIZE = 32


def walking_square(seed: int, num_frames: int = 6, height: int = SIZE, width: int = SIZE) -> NDArray[np.uint8]:
    frames = np.repeat(
        np.random.default_rng(seed).integers(0, 128, (1, height, width, 3), dtype=np.uint8), num_frames, 0
    )
    for number in range(num_frames):
        frames[number, 8:16, number * 2 : number * 2 + 8] = 255 - number
    return frames


def write_folder(path: Path, frames: NDArray[np.uint8]) -> None:
    path.mkdir(parents=True)
    for number, frame in enumerate(frames):
        Image.fromarray(frame).save(path / f"{number}.png")


def write_video(path: Path, frames: NDArray[np.uint8], codec: str = "libx264") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    size = (frames.shape[2], frames.shape[1])
    writer = imageio_ffmpeg.write_frames(str(path), size, codec=codec, quality=9, macro_block_size=2)
    writer.send(None)
    for frame in frames:
        writer.send(np.ascontiguousarray(frame))
    writer.close()


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Anna in three clips, Ben and Carl in one; Dora for the test."""
    for seed, name in enumerate(["train/anna#1", "train/anna#2", "train/anna#3", "train/ben#1", "train/carl"]):
        write_folder(tmp_path / "data" / name, walking_square(seed, 5 + seed))
    write_folder(tmp_path / "data/test/dora#1", walking_square(9))
    return tmp_path / "data"


def pairs_of(data: Path, **options: object) -> ClipPairs:
    arguments = {"frame_size": SIZE, "batch_size": 4, "seed": 3, "cache_dir": data.parent / "cache", **options}
    return ClipPairs(data, **arguments)  # type: ignore[arg-type]


class Steps(Dataset[FramePairs]):
    def __init__(self, pairs: ClipPairs) -> None:
        self.pairs = pairs

    def __len__(self) -> int:
        return 6

    def __getitem__(self, step: int) -> FramePairs:
        return self.pairs.batch(step)


def test_layout(data: Path) -> None:
    (data / "train/notes.txt").write_text("hello")
    (data / "train/.hidden.mp4").write_text("")
    listing = list_clips(data)
    assert [clip.name for clip in listing.of("train")] == [
        *("train/anna#1", "train/anna#2", "train/anna#3", "train/ben#1", "train/carl"),
    ]
    assert [clip.identity for clip in listing.clips] == ["dora", "anna", "anna", "anna", "ben", "carl"]
    assert listing.strangers == ("train/notes.txt",)
    assert [identity_of(name) for name in ("a#b#c.mp4", "a.mp4", "#a.mp4", "a.b")] == ["a", "a", "#a", "a.b"]


def test_flat_folder_is_split_by_identity(tmp_path: Path) -> None:
    for person, clip in itertools.product(range(20), range(3)):
        (tmp_path / f"p{person}#{clip}.mp4").touch()
    listing = list_clips(tmp_path)
    test = {clip.identity for clip in listing.of("test")}
    assert len(test) == 2
    assert not test & {clip.identity for clip in listing.of("train")}
    assert test != {clip.identity for clip in list_clips(tmp_path, split_seed=1).of("test")}
    (tmp_path / "p3#another.mp4").touch()
    assert {clip.identity for clip in list_clips(tmp_path).of("test")} == test


def test_folders_that_are_no_data_set(tmp_path: Path) -> None:
    with pytest.raises(DataError) as missing:
        list_clips(tmp_path / "absent")
    assert missing.value.code == "data_folder_missing"
    write_folder(tmp_path / "frames", walking_square(0))
    with pytest.raises(DataError, match="itself a folder of frames") as empty:
        list_clips(tmp_path / "frames")
    assert empty.value.code == "data_empty"
    write_folder(tmp_path / "one/train/a", walking_square(0))
    with pytest.raises(DataError) as split:
        ClipSet(tmp_path / "one", frame_size=SIZE, cache_dir=tmp_path / "cache")
    assert split.value.code == "data_split_missing"


def test_pairs_are_two_frames_of_one_clip_in_order(data: Path) -> None:
    pairs = pairs_of(data)
    known = {clip.clip.name: torch.from_numpy(np.array(clip.map_frames())) for clip in pairs.clips}
    batch = pairs.batch(0)
    assert batch.source_BCHW.shape == (4, 3, SIZE, SIZE)
    assert batch.source_BCHW.dtype == torch.float32
    for source, driving in zip(batch.source_BCHW, batch.driving_BCHW, strict=True):
        places = []
        for frame in (source, driving):
            pixels = frame.mul(255).round().to(torch.uint8).permute(1, 2, 0)
            places.append(
                [(n, t) for n, frames in known.items() for t, f in enumerate(frames) if torch.equal(f, pixels)]
            )
        (source_clip, source_time), (driving_clip, driving_time) = places[0][0], places[1][0]
        assert source_clip == driving_clip
        assert source_time < driving_time


@pytest.mark.filterwarnings("ignore:This DataLoader will create:UserWarning")
@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
@pytest.mark.parametrize("num_workers", [1, 3])
def test_batches_do_not_depend_on_the_loading_processes(data: Path, num_workers: int) -> None:
    pairs = pairs_of(data, id_sampling=True, augmentation=PUBLISHED["vox-256"])
    loader = DataLoader(Steps(pairs), batch_size=None, num_workers=num_workers)
    for step, batch in enumerate(loader):
        again = pairs.batch(step)
        assert torch.equal(batch.source_BCHW, again.source_BCHW)
        assert torch.equal(batch.driving_BCHW, again.driving_BCHW)


def test_batches_depend_on_step_and_seed_and_nothing_else(data: Path) -> None:
    pairs = pairs_of(data, augmentation=PUBLISHED["mgif-256"])
    later = pairs.batch(1000)
    fresh = pickle.loads(pickle.dumps(pairs))
    assert torch.equal(fresh.batch(1000).driving_BCHW, later.driving_BCHW)
    assert not torch.equal(pairs.batch(1001).driving_BCHW, later.driving_BCHW)
    other = pairs_of(data, augmentation=PUBLISHED["mgif-256"], seed=4)
    assert not torch.equal(other.batch(1000).driving_BCHW, later.driving_BCHW)
    assert other.fingerprint == pairs.fingerprint != pairs_of(data, id_sampling=True).fingerprint


def names_drawn(pairs: ClipPairs, steps: int) -> Counter[str]:
    """Count which clips the batches come from, by what does not move in them."""
    corners = {clip.map_frames()[0, -1].tobytes(): clip.clip.name for clip in pairs.clips}
    count: Counter[str] = Counter()
    for step in range(steps):
        source_BHWC = pairs.batch(step).source_BCHW.permute(0, 2, 3, 1).mul(255).round().to(torch.uint8)
        count.update(corners[frame[-1].numpy().tobytes()] for frame in source_BHWC)
    return count


def test_without_identity_sampling_every_clip_is_seen_equally_often(data: Path) -> None:
    pairs = pairs_of(data)
    assert pairs.pairs_per_epoch == 5
    assert set(names_drawn(pairs, 25).values()) == {20}


def test_identity_sampling_shows_every_identity_equally_often(data: Path) -> None:
    pairs = pairs_of(data, id_sampling=True)
    assert pairs.pairs_per_epoch == 3
    count = names_drawn(pairs, 75)
    assert count["train/ben#1"] == count["train/carl"] == 100
    anna = [count[f"train/anna#{clip}"] for clip in (1, 2, 3)]
    assert sum(anna) == 100
    assert min(anna) > 20


def test_test_clips_come_whole_and_in_order(data: Path) -> None:
    write_folder(data / "test/carl#2", walking_square(11, 3))
    clips = ClipSet(data, frame_size=SIZE, cache_dir=data.parent / "cache")
    assert [clip.name for clip in clips] == ["test/carl#2", "test/dora#1"]
    assert len(clips) == 2
    np.testing.assert_array_equal(clips[1].frames_THWC, walking_square(9))
    assert clips[0].identity == "carl"
    with pytest.raises(ValueError, match="read-only"):
        clips[0].frames_THWC[0] = 0


def test_frames_are_ordered_by_number(tmp_path: Path) -> None:
    write_folder(tmp_path / "data/test/a", walking_square(1, 12))
    clip = ClipSet(tmp_path / "data", frame_size=SIZE, cache_dir=tmp_path / "cache")[0]
    np.testing.assert_array_equal(clip.frames_THWC, walking_square(1, 12))


@pytest.mark.parametrize(("name", "codec"), [("a.mp4", "libx264"), ("a.webm", "libvpx-vp9"), ("a.mkv", "libx264")])
def test_videos_are_cropped_in_the_middle(tmp_path: Path, name: str, codec: str) -> None:
    frames = np.zeros((5, 64, 128, 3), np.uint8)
    frames[:, :, 32:96] = (200, 40, 40)
    write_video(tmp_path / "data/test" / name, frames, codec)
    clip = ClipSet(tmp_path / "data", frame_size=SIZE, cache_dir=tmp_path / "cache")[0]
    assert clip.frames_THWC.shape == (5, SIZE, SIZE, 3)
    assert np.abs(clip.frames_THWC[:, 4:-4, 4:-4].astype(int) - (200, 40, 40)).max() < 20


def test_gifs_keep_each_frame_once_whatever_its_length(tmp_path: Path) -> None:
    (tmp_path / "data/test").mkdir(parents=True)
    first, *others = [Image.fromarray(frame) for frame in walking_square(1, 4)]
    first.save(tmp_path / "data/test/a.gif", save_all=True, append_images=others, duration=[40, 400, 40, 80])
    clip = ClipSet(tmp_path / "data", frame_size=SIZE, cache_dir=tmp_path / "cache")[0]
    assert len(clip.frames_THWC) == 4


def test_cache_is_reused_and_follows_the_contents(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    decoded: list[str] = []

    class Counting(clip_cache.ClipReader):
        def __init__(self, clip: clip_cache.ClipFile, frame_size: int) -> None:
            decoded.append(clip.name)
            super().__init__(clip, frame_size)

    monkeypatch.setattr(clip_cache, "ClipReader", Counting)
    first = pairs_of(data)
    assert len(decoded) == 5
    assert first.cache_bytes == sum((clip.num_frames * SIZE * SIZE * 3) + 128 for clip in first.clips)

    decoded.clear()
    again = pairs_of(data)
    assert decoded == []
    assert again.fingerprint == first.fingerprint

    (data / "train/ben#1").rename(data / "train/eve#1")  # the same clip under another name
    write_folder(data / "train/carl-new", walking_square(30))
    Image.fromarray(walking_square(31)[0]).save(data / "train/anna#1/0.png")
    assert len(pairs_of(data).clips) == 6
    assert sorted(decoded) == ["train/anna#1", "train/carl-new"]

    decoded.clear()
    pairs_of(data, frame_size=16)
    assert len(decoded) == 6
    decoded.clear()
    monkeypatch.setattr(clip_cache, "DECODE_VERSION", 99)
    pairs_of(data)
    assert len(decoded) == 6


@pytest.mark.parametrize("damage", ["truncated", "longer", "empty", "garbage"])
def test_damaged_cache_files_are_decoded_again(data: Path, damage: str) -> None:
    before = pairs_of(data)
    path = before.clips[0].path
    whole = path.read_bytes()
    new = {
        "truncated": whole[:-100],
        "longer": whole + b"x",
        "empty": b"",
        "garbage": b"\x93NUMPY\x01\x00v\x00" + b"z" * 999,
    }
    path.write_bytes(new[damage])
    (data.parent / "cache/index.json").write_text("{]")
    after = pairs_of(data)
    assert path.read_bytes() == whole
    assert torch.equal(after.batch(5).source_BCHW, before.batch(5).source_BCHW)
    assert not list(path.parent.glob(".*.part"))


def test_progress_is_told(data: Path) -> None:
    told: list[CacheProgress] = []
    pairs = pairs_of(data, on_progress=told.append)
    assert [progress.done for progress in told] == [1, 2, 3, 4, 5]
    assert {progress.total for progress in told} == {5}
    assert told[-1].size_bytes == sum(clip.num_frames for clip in pairs.clips) * SIZE * SIZE * 3


def test_broken_clips_are_left_out_by_name(data: Path) -> None:
    write_video(data / "train/cut.mp4", walking_square(1, 20))
    whole = (data / "train/cut.mp4").read_bytes()
    (data / "train/cut.mp4").write_bytes(whole[: len(whole) // 2])
    (data / "train/empty.mp4").touch()
    (data / "train/text.webm").write_text("#EXTM3U\nfile:///etc/passwd\n")
    write_folder(data / "train/single", walking_square(1, 1))
    write_folder(data / "train/spoiled", walking_square(1))
    (data / "train/spoiled/3.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    pairs = pairs_of(data)
    assert len(pairs.clips) == 5
    assert {problem.name: problem.error.code for problem in pairs.problems} == {
        "train/cut.mp4": "clip_unreadable",
        "train/empty.mp4": "clip_unreadable",
        "train/single": "clip_too_short",
        "train/spoiled": "clip_unreadable",
        "train/text.webm": "clip_unreadable",
    }
    reasons = {problem.name: problem.error.detail for problem in pairs.problems}
    assert reasons["train/empty.mp4"] == "The file is empty."
    assert reasons["train/spoiled"].startswith("3.png: ")
    assert reasons["train/cut.mp4"] == "Moov atom not found."


def test_nothing_usable_is_an_error_with_the_first_reason(tmp_path: Path) -> None:
    (tmp_path / "data/test").mkdir(parents=True)
    (tmp_path / "data/test/a.mp4").touch()
    with pytest.raises(DataError, match=r"a\.mp4: The file is empty") as error:
        ClipSet(tmp_path / "data", frame_size=SIZE, cache_dir=tmp_path / "cache")
    assert error.value.code == "data_empty"


def test_a_short_disk_is_told_before_it_is_full(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DataError, match="needs about") as bounded:
        pairs_of(data, max_cache_bytes=50_000)
    assert bounded.value.code == "data_disk_short"
    assert sum(path.stat().st_size for path in (data.parent / "cache/32").iterdir()) < 50_000
    monkeypatch.setattr(clip_budget, "RESERVE_BYTES", 1 << 62)
    with pytest.raises(DataError) as full:
        pairs_of(data)
    assert full.value.code == "data_disk_short"


def test_the_estimate_stops_a_hopeless_run_early(tmp_path: Path) -> None:
    for number in range(60):
        write_folder(tmp_path / f"data/train/{number:02}", walking_square(number, 2))
    told: list[CacheProgress] = []
    with pytest.raises(DataError) as error:
        pairs_of(tmp_path / "data", max_cache_bytes=20 * 2 * SIZE * SIZE * 3, on_progress=told.append)
    assert error.value.code == "data_disk_short"
    assert max((progress.done for progress in told), default=0) < 20


def test_a_cache_that_cannot_be_written(data: Path) -> None:
    (data.parent / "cache").write_text("a file")
    with pytest.raises(DataError) as error:
        pairs_of(data)
    assert error.value.code == "data_cache_unwritable"
