"""Each planted problem is found, and none of them in a clean set."""

import json
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from model.data.check import check_data_set
from model.data.clip_files import DataError
from model.data.clip_measures import MEASURE_SIZE, find_cuts, measure
from model.data.clip_report import HINTS, DataReport

pytestmark = pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")

SIZE = MEASURE_SIZE


def scene(seed: int, num_frames: int = 20, height: int = SIZE, width: int = SIZE) -> NDArray[np.uint8]:
    """A smooth random background before which a disc of a random colour goes round."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(20, 235, (6, 6, 3), dtype=np.uint8))
    background = np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC))
    y, x = np.mgrid[:height, :width]
    colour, phase = rng.integers(0, 256, 3), rng.uniform(0, 6)
    frames = []
    for number in range(num_frames):
        angle = phase + number / 6
        inside = (x - width / 2 - 20 * np.cos(angle)) ** 2 + (y - height / 2 - 20 * np.sin(angle)) ** 2 < 200
        noise = rng.normal(0, 1.5, (height, width, 3))
        frames.append((np.where(inside[..., None], colour, background) + noise).clip(0, 255).astype(np.uint8))
    return np.stack(frames)


def save(path: Path, frames: NDArray[np.uint8]) -> None:
    path.mkdir(parents=True)
    for number, frame in enumerate(frames):
        Image.fromarray(frame).save(path / f"{number:03}.png", compress_level=1)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A clean set."""
    for seed in range(5):
        save(tmp_path / f"data/train/person{seed}#1", scene(seed))
    save(tmp_path / "data/train/person0#2", scene(10))
    save(tmp_path / "data/test/person7#1", scene(7))
    return tmp_path / "data"


def found(report: DataReport) -> dict[str, list[str]]:
    codes: dict[str, list[str]] = {}
    for finding in report.findings:
        codes.setdefault(finding.code, []).append(finding.clip)
    return codes


def test_clean_set(data: Path) -> None:
    told: list[tuple[int, int, str]] = []
    report = check_data_set(data, SIZE, lambda *progress: told.append(progress))
    assert found(report) == {}
    assert report.verdict == "ready"
    assert [progress[0] for progress in told] == [1, 2, 3, 4, 5, 6, 7]
    assert report.cache_bytes == 7 * 20 * SIZE * SIZE * 3
    assert [(who.identity, who.num_clips, who.num_frames) for who in report.identities[:2]] == [
        ("person0", 2, 40),
        ("person1", 1, 20),
    ]


def test_each_planted_problem_is_found_where_it_is(data: Path) -> None:
    train = data / "train"
    save(train / "cut#1", np.concatenate([scene(20), scene(21)]))
    save(train / "black#1", np.concatenate([np.zeros_like(scene(22)[:4]), scene(22)]))
    save(train / "still#1", np.repeat(scene(23)[:1], 20, axis=0))
    save(train / "copy#1", (scene(1) * 0.9 + 8).astype(np.uint8)[1:])
    save(train / "leaked#1", scene(7)[:19])
    save(train / "wide#1", scene(24, width=140))
    save(train / "small#1", scene(25, height=64, width=64))
    save(train / "short#1", scene(26, 8))
    save(train / "single#1", scene(27, 1))
    save(train / "person7#3", scene(28))
    save(train / "mixed#1", scene(29))
    Image.fromarray(scene(29, 1, 120, 120)[0]).save(train / "mixed#1/005.png")
    (train / "broken#1.mp4").write_bytes(b"\0\0\0\x18ftypmp42" + b"\0" * 40)
    (train / "readme.md").write_text("notes")
    report = check_data_set(data, SIZE)
    assert found(report) == {
        "unreadable": ["train/broken#1.mp4"],
        "too_short": ["train/single#1"],
        "duplicate_across_splits": ["train/leaked#1"],
        "identity_in_both_splits": [""],
        # Black at the beginning is both.
        "scene_cut": ["train/black#1", "train/cut#1"],
        "blank_frames": ["train/black#1"],
        "still": ["train/still#1"],
        "near_duplicate": ["train/person1#1"],
        "not_square": ["train/wide#1"],
        "smaller_than_frame_size": ["train/small#1"],
        "few_frames": ["train/short#1"],
        "sizes_differ_inside": ["train/mixed#1"],
        "not_a_clip": ["train/readme.md"],
    }
    by_code = {finding.code: finding for finding in report.findings}
    assert [finding.frames for finding in report.findings if finding.code == "scene_cut"] == [(4,), (20,)]
    assert by_code["blank_frames"].frames == (0, 1, 2, 3)
    assert report.verdict == "doubtful"
    assert [finding.severity for finding in report.findings] == sorted(
        (finding.severity for finding in report.findings), key=["error", "warning", "note"].index
    )


def test_identities(tmp_path: Path) -> None:
    save(tmp_path / "one/train/solo#1", scene(1))
    report = check_data_set(tmp_path / "one", SIZE)
    assert set(found(report)) == {"one_identity", "no_test"}
    for seed in range(12):
        save(tmp_path / f"many/train/{'star' if seed < 5 else seed}#{seed}", scene(seed, 16))
    save(tmp_path / "many/train/long#1", scene(40, 160))
    save(tmp_path / "many/test/other#1", scene(41, 16))
    report = check_data_set(tmp_path / "many", SIZE)
    assert [(f.code, f.severity) for f in report.findings] == [
        ("identity_dominates", "warning"),
        ("frames_uneven", "note"),
    ]
    assert "star" in report.findings[0].detail


def test_of_several_copies_each_is_reported_once(data: Path) -> None:
    for number in range(3):
        save(data / f"train/copy{number}#1", scene(1)[number:])
    report = check_data_set(data, SIZE)
    assert found(report) == {"near_duplicate": ["train/copy1#1", "train/copy2#1", "train/person1#1"]}


def test_nothing_to_train_on(tmp_path: Path) -> None:
    save(tmp_path / "data/test/a#1", scene(1))
    assert check_data_set(tmp_path / "data", SIZE).verdict == "unusable"
    with pytest.raises(DataError):
        check_data_set(tmp_path / "absent", SIZE)


def test_a_video_that_ends_early(data: Path) -> None:
    path = data / "train/early.mp4"
    writer = imageio_ffmpeg.write_frames(
        str(path), (SIZE, SIZE), macro_block_size=2, output_params=["-movflags", "+faststart", "-g", "4"]
    )
    writer.send(None)
    for frame in scene(50, 60):
        writer.send(frame)
    writer.close()
    assert "ends_early" not in found(check_data_set(data, SIZE))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert found(check_data_set(data, SIZE))["ends_early"] == ["train/early.mp4"]


def small(frames: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return frames.reshape(len(frames), 32, 3, 32, 3, 3).mean(axis=(2, 4)).astype(np.uint8)


def test_cuts_are_told_from_what_looks_like_them() -> None:
    first, second = small(scene(1)), small(scene(2))
    blend = ((first[-1:].astype(int) + second[:1]) // 2).astype(np.uint8)
    assert find_cuts(np.concatenate([first, second, first])) == (20, 40)
    assert find_cuts(np.concatenate([first, blend, second])) in {(20,), (21,)}
    flash = first.copy()
    flash[10] = 255
    assert find_cuts(flash) == ()
    steps = np.linspace(0, 1, 20)[:, None, None, None]
    dissolve = (first[-1] * (1 - steps) + second[0] * steps).astype(np.uint8)
    assert find_cuts(np.concatenate([first, dissolve, second])) == ()
    fade = (first * steps).astype(np.uint8)
    assert find_cuts(fade) == ()
    lamp = first.copy()
    lamp[10:] = (lamp[10:] * 0.75).astype(np.uint8)
    assert find_cuts(lamp) == ()
    assert find_cuts(first[:1]) == ()


def test_long_clips_show_their_middle() -> None:
    frames = scene(3, 2)[:1].repeat(201, axis=0)
    frames[99:102] = 0
    measures = measure(iter(frames))
    assert measures is not None
    assert measures.num_frames == 201
    assert measures.blank_frames == (99, 100, 101)
    assert measure(iter([])) is None


def test_small_things_before_nothing_are_not_blank() -> None:
    frames = np.full((4, SIZE, SIZE, 3), (0, 0, 0), np.uint8)
    frames[1, 40:48, 40:48] = (220, 0, 0)
    frames[2:] = (150, 170, 180)
    frames[3, 40:46, 20:60] = (90, 90, 90)
    measures = measure(iter(frames))
    assert measures is not None
    assert measures.blank_frames == (0, 2)


def test_report_is_json_and_text(data: Path) -> None:
    save(data / "train/still#1", np.repeat(scene(23)[:1], 20, axis=0))
    report = check_data_set(data, 2 * SIZE)
    document = json.loads(json.dumps(report.to_json()))
    assert document["verdict"] == "doubtful"
    assert document["findings"][0]["hint"] in HINTS.values()
    assert len(document["clips"]) == 8
    text = report.text()
    assert "8 clips of 7 identities, 160 frames; train 7, test 1 clips" in text
    assert "train/still#1" in text
    assert text.endswith("verdict: doubtful")


def test_contact_sheet(data: Path, tmp_path: Path) -> None:
    save(data / "train/still#1", np.repeat(scene(23)[:1], 20, axis=0))
    (data / "train/broken.mp4").touch()
    report = check_data_set(data, SIZE)
    report.write_contact_sheet(tmp_path / "sheet.png")
    sheet = np.asarray(Image.open(tmp_path / "sheet.png")).astype(int)
    # Nine clips in four columns.
    assert sheet.shape[0] // 3 == (SIZE + 2 * 14 + 12)
    assert sheet.shape[1] == 4 * 300
    red = (sheet == (208, 0, 0)).all(axis=2)
    cells = red.reshape(3, 136, 4, 300).sum(axis=(1, 3)) > 200
    # broken.mp4 and still#1; by name: test, then broken, person0#1, ... , still.
    assert np.argwhere(cells).tolist() == [[0, 1], [2, 0]]
    report.write_contact_sheet(tmp_path / "two.png", max_clips=2)
    two = np.asarray(Image.open(tmp_path / "two.png")).astype(int)
    assert two.shape[1] == 2 * 300
