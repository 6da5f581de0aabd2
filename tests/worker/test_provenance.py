"""What results say of their making, read back by programs of others: ffmpeg, Pillow, an XML parser."""

from __future__ import annotations

import io
import shutil
import subprocess
import zipfile
from fractions import Fraction
from importlib.metadata import version
from pathlib import Path
from typing import get_args
from xml.etree import ElementTree

import imageio_ffmpeg
import numpy as np
import pytest
from PIL import Image

from tests.conftest import REPOSITORY
from worker import media, pictures
from worker.provenance import Provenance
from worker.result_formats import RESULT_FORMATS, FormatName
from worker.settings import UNLIMITED

SOUND = REPOSITORY / "tests" / "samples" / "driving.mp4"
FORMATS: tuple[FormatName, ...] = get_args(FormatName)
MADE = Provenance(model="avatars-256", bundle_sha256="0123abcd" * 8, animation_id="anm_01m83k4bvvaqabwkap25mgbskn")
AI = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
IPTC = "{http://iptc.org/std/Iptc4xmpExt/2008-02-29/}"


def frames(count: int) -> np.ndarray:
    return np.random.default_rng(5).integers(0, 255, (count, 64, 66, 3), np.uint8)


def write(folder: Path, name: FormatName, made: Provenance | None, count: int = 4, sound: Path = SOUND) -> Path:
    path = folder / f"out{RESULT_FORMATS[name].suffix}"
    media.write_video(
        path,
        [frames(count)],
        fps=Fraction(25),
        width=66,
        height=64,
        video_format=name,
        audio_from=sound,
        provenance=made,
    )
    return path


def tags(path: Path) -> dict[str, str]:
    """The tags of a file, XMP among them, as ffmpeg reads them."""
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-loglevel", "error"]
    command += ["-export_xmp", "1"] if path.suffix == ".mp4" else []
    text = subprocess.run(
        [*command, "-i", path, "-fflags", "+bitexact", "-f", "ffmetadata", "-"],
        capture_output=True,
        check=True,
        text=True,
        timeout=60,
    ).stdout
    lines = text.replace("\\\n", "\n").replace("\\=", "=").replace("\\;", ";").replace("\\#", "#").splitlines()
    return {name.lower(): value for name, _, value in (line.partition("=") for line in lines)}


def extensions(gif: bytes) -> dict[bytes, bytes]:
    """The application extensions of a GIF by their names, found as every decoder does: sub-block by sub-block."""

    def after_sub_blocks(at: int) -> int:
        while gif[at]:
            at += 1 + gif[at]
        return at + 1

    def table(packed: int) -> int:
        return 3 << (packed & 7) + 1 if packed & 0x80 else 0

    found, at = {}, 13 + table(gif[10])
    while gif[at] != 0x3B:
        if gif[at] == 0x2C:
            at = after_sub_blocks(at + 11 + table(gif[at + 9]))
            continue
        assert gif[at] == 0x21, "an extension or a picture"
        end = after_sub_blocks(at + 2)
        if gif[at + 1] == 0xFF:
            found[gif[at + 3 : at + 14]] = gif[at + 14 : end]
        at = end
    assert at == len(gif) - 1, "nothing follows the trailer"
    return found


def xmp_of(path: Path) -> bytes:
    if path.suffix == ".mp4":
        return tags(path)["xmp"].encode()
    if path.suffix == ".gif":
        ramp = bytes(range(255, -1, -1)) + b"\x00"
        packet = extensions(path.read_bytes())[b"XMP DataXMP"]
        assert packet.endswith(b"\x01" + ramp)
        return packet.removesuffix(b"\x01" + ramp)
    if path.suffix == ".zip":
        with zipfile.ZipFile(path) as archive:
            return Image.open(io.BytesIO(archive.read("000000.png"))).info["xmp"]
    with Image.open(path) as image:
        return image.info["xmp"]


def properties(xmp: bytes) -> dict[str, str]:
    [description] = ElementTree.fromstring(xmp).iter("{http://www.w3.org/1999/02/22-rdf-syntax-ns#}Description")
    return dict(description.attrib)


@pytest.mark.parametrize("count", [1, 4])
@pytest.mark.parametrize("name", ["mp4", "gif", "webp", "png"])
def test_xmp_in_the_words_of_the_iptc(tmp_path: Path, name: FormatName, count: int) -> None:
    said = properties(xmp_of(write(tmp_path, name, MADE, count)))
    assert said[f"{IPTC}DigitalSourceType"] == AI
    assert said[f"{IPTC}AISystemUsed"] == "Animato, model avatars-256"
    assert said[f"{IPTC}AISystemVersionUsed"] == version("animato")
    assert said["{http://ns.adobe.com/xap/1.0/}CreatorTool"] == f"Animato {version('animato')}"
    assert said["{urn:animato:provenance#}BundleSHA256"] == MADE.bundle_sha256
    assert said["{urn:animato:provenance#}AnimationID"] == MADE.animation_id


def test_tags_and_comments_for_those_who_read_no_xmp(tmp_path: Path) -> None:
    mp4, webm, gif, png = (write(tmp_path, name, MADE) for name in ("mp4", "webm", "gif", "png"))
    assert tags(mp4)["comment"] == MADE.sentence
    made_with = mp4.read_bytes().partition(b"\xa9too")[2]
    assert MADE.creator.encode() in made_with[:64]
    assert {name: tags(webm)[name] for name in MADE.tags} == MADE.tags
    assert MADE.tags["digital_source_type"] == AI
    assert MADE.sentence.encode()[:255] in gif.read_bytes()
    with zipfile.ZipFile(png) as archive:
        assert archive.comment.decode() == MADE.sentence
        text = Image.open(io.BytesIO(archive.read("000003.png"))).info
    assert (text["Software"], text["Comment"]) == (MADE.creator, MADE.sentence)


@pytest.mark.parametrize("name", FORMATS)
def test_picture_sound_and_repetition_stay_as_they_are(tmp_path: Path, name: FormatName) -> None:
    folders = [tmp_path / str(number) for number in range(3)]
    for folder in folders:
        folder.mkdir()
    bare, first, second = (write(folder, name, made) for folder, made in zip(folders, (None, MADE, MADE), strict=True))
    assert first.read_bytes() == second.read_bytes(), "the same again is the same file"
    assert b"Animato" not in bare.read_bytes()
    if name == "png":
        with zipfile.ZipFile(bare) as one, zipfile.ZipFile(first) as other:
            assert one.namelist() == other.namelist()
            shown = [np.asarray(Image.open(io.BytesIO(zip_file.read("000002.png")))) for zip_file in (one, other)]
    else:
        facts = [media.probe_video(path, UNLIMITED) for path in (bare, first)]
        assert facts[0].model_dump(exclude={"size_bytes", "sha256"}) == facts[1].model_dump(
            exclude={"size_bytes", "sha256"}
        )
        shown = [np.concatenate(list(media.read_frames(path, facts[0], batch_frames=4))) for path in (bare, first)]
    assert np.array_equal(shown[0], shown[1])


@pytest.mark.parametrize("name", FORMATS)
def test_nothing_of_the_inputs_or_the_machine_is_told(tmp_path: Path, name: FormatName) -> None:
    """Neither the clip's own metadata nor any name of a file or folder reaches the result."""
    private = tmp_path / "Annas-folder"
    private.mkdir()
    driving = private / "Anna.mp4"
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-loglevel", "error", "-i", SOUND, "-c", "copy"]
    places = ["-metadata", "title=Anna", "-metadata", "location=+48.2082+016.3738/", "-metadata", "artist=Anna"]
    subprocess.run([*command, *places, driving], check=True, timeout=60)
    assert b"Anna" in driving.read_bytes()
    data = write(private, name, MADE, sound=driving).read_bytes()
    for word in (b"Anna", b"48.2082", str(tmp_path).encode(), str(REPOSITORY).encode()):
        assert word not in data


def test_a_composite_says_so() -> None:
    mixed = Provenance(model="m", bundle_sha256="0" * 64, source_type="compositeWithTrainedAlgorithmicMedia")
    said = properties(mixed.xmp)
    assert said[f"{IPTC}DigitalSourceType"].endswith("/compositeWithTrainedAlgorithmicMedia")
    assert "{urn:animato:provenance#}AnimationID" not in said
    assert "from pictures it was given" in mixed.sentence


def test_single_pictures_too(tmp_path: Path) -> None:
    pictures.write_png(tmp_path / "one.png", frames(1)[0], MADE)
    with Image.open(tmp_path / "one.png") as image:
        assert properties(image.info["xmp"])[f"{IPTC}DigitalSourceType"] == AI


@pytest.mark.skipif(not shutil.which("exiftool"), reason="apt install libimage-exiftool-perl")
@pytest.mark.parametrize("name", ["mp4", "gif", "webp"])
def test_exiftool_finds_it_and_no_fault(tmp_path: Path, name: FormatName) -> None:
    path = write(tmp_path, name, MADE)
    command = ["exiftool", "-a", "-s", "-XMP:DigitalSourceType", "-Warning", "-Error", path]
    answer = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout.split()
    assert answer == ["DigitalSourceType", ":", AI]
