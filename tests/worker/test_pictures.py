"""Source images: what is refused, and that every kind of picture comes out as a person sees it."""

from __future__ import annotations

import hashlib
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms, ImageFile

from worker.errors import MediaRejected, MediaTooLarge, UnsupportedMedia
from worker.pictures import load_image, load_own_image, probe_image, write_png
from worker.settings import MediaLimits

LIMITS = MediaLimits()
RED, GREEN, BLUE, YELLOW = (220, 30, 30), (20, 200, 40), (30, 40, 220), (230, 220, 20)


def corners(width: int = 96, height: int = 80) -> Image.Image:
    """Red and green above, blue and yellow below."""
    picture = np.empty((height, width, 3), np.uint8)
    picture[: height // 2, : width // 2], picture[: height // 2, width // 2 :] = RED, GREEN
    picture[height // 2 :, : width // 2], picture[height // 2 :, width // 2 :] = BLUE, YELLOW
    return Image.fromarray(picture)


def corner_colours(picture: np.ndarray) -> np.ndarray:
    """The colours well inside the four quarters, row by row."""
    height, width = picture.shape[:2]
    return np.array(
        [picture[y, x] for y in (height // 4, height * 3 // 4) for x in (width // 4, width * 3 // 4)], dtype=int
    )


def assert_upright(path: Path, tolerance: int = 6) -> None:
    """The four colours are where they belong, whole and as a centre square."""
    for square_px in (None, 64):
        found = corner_colours(load_image(path, square_px=square_px))
        assert np.abs(found - [RED, GREEN, BLUE, YELLOW]).max() <= tolerance, found


def refusal(path: Path, limits: MediaLimits = LIMITS) -> MediaRejected:
    """The error the probe ends in."""
    with pytest.raises(MediaRejected) as caught:
        probe_image(path, limits)
    assert str(path.parent) not in caught.value.detail
    return caught.value


def png_chunk(kind: bytes, data: bytes) -> bytes:
    """One chunk with its checksum."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_header(width: int, height: int) -> bytes:
    """A PNG that claims a size and has next to no data."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = png_chunk(b"IDAT", zlib.compress(b"\0" * 1000))
    return b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", header) + data + png_chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("suffix", "media_type"),
    [
        ("png", "image/png"),
        ("jpg", "image/jpeg"),
        ("webp", "image/webp"),
        ("gif", "image/gif"),
        ("avif", "image/avif"),
        ("mpo", "image/jpeg"),
    ],
)
def test_facts(tmp_path: Path, suffix: str, media_type: str) -> None:
    path = tmp_path / f"a.{suffix}"
    corners().save(path, quality=98)
    path = path.rename(tmp_path / "no-name.txt")  # names say nothing
    facts = probe_image(path, LIMITS)
    assert (facts.media_type, facts.width, facts.height) == (media_type, 96, 80)
    assert facts.size_bytes == path.stat().st_size
    assert facts.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert_upright(path, tolerance=14)


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation(tmp_path: Path, orientation: int, suffix: str) -> None:
    stored_from_upright = {
        1: [],
        2: [Image.Transpose.FLIP_LEFT_RIGHT],
        3: [Image.Transpose.ROTATE_180],
        4: [Image.Transpose.FLIP_TOP_BOTTOM],
        5: [Image.Transpose.TRANSPOSE],
        6: [Image.Transpose.ROTATE_90],
        7: [Image.Transpose.TRANSVERSE],
        8: [Image.Transpose.ROTATE_270],
    }
    stored = corners()
    for step in stored_from_upright[orientation]:
        stored = stored.transpose(step)
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f"a.{suffix}"
    stored.save(path, exif=exif, quality=98, lossless=True)
    facts = probe_image(path, LIMITS)
    assert (facts.width, facts.height) == (96, 80)
    assert load_image(path).shape == (80, 96, 3)
    assert_upright(path)


def test_broken_exif_is_ignored(tmp_path: Path) -> None:
    for index, exif in enumerate(
        (b"Exif\0\0garbage", b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0MM\0*\0\0\0\x08\xff\xff")
    ):
        path = tmp_path / f"{index}.jpg"
        corners().save(path, exif=exif, quality=98)
        assert probe_image(path, LIMITS).width == 96
        assert_upright(path)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "P-index", "RGB-key", "L-key", "I;16-key"])
def test_transparency_lies_over_white(tmp_path: Path, mode: str) -> None:
    """The left half is invisible black, the right half visible grey."""
    alpha = np.zeros((80, 80), np.uint8)
    alpha[:, 40:] = 255
    grey = np.where(alpha, 100, 0).astype(np.uint8)
    path = tmp_path / "a.png"
    if mode in ("RGBA", "LA"):
        layers = [grey] * (3 if mode == "RGBA" else 1) + [alpha]
        Image.merge(mode, [Image.fromarray(layer) for layer in layers]).save(path)
    elif mode.startswith("P"):
        indexed = Image.fromarray((alpha // 255).astype(np.uint8)).convert("P")
        indexed.putpalette([0, 0, 0, 100, 100, 100])
        indexed.save(path, transparency=0 if mode == "P-index" else bytes([0, 255]))
    elif mode == "I;16-key":
        Image.fromarray(np.where(alpha, 100 * 257, 0).astype(np.uint16)).save(path, transparency=0)
    else:
        base = Image.fromarray(grey)
        (base.convert("RGB") if mode == "RGB-key" else base).save(
            path, transparency=(0, 0, 0) if mode == "RGB-key" else 0
        )
    for square_px in (None, 80):
        picture = load_image(path, square_px=square_px)
        assert (picture[40, 10].tolist(), picture[40, 70].tolist()) == ([255] * 3, [100] * 3)
    assert load_image(path, square_px=66).min() >= 95, "no dark edge around what is invisible"


def test_half_transparent_is_mixed_with_white(tmp_path: Path) -> None:
    Image.new("RGBA", (80, 80), (255, 0, 0, 128)).save(tmp_path / "a.png")
    assert np.abs(load_image(tmp_path / "a.png")[0, 0].astype(int) - (255, 127, 127)).max() <= 1


def test_sixteen_bits_are_scaled_and_not_cut(tmp_path: Path) -> None:
    ramp = np.linspace(0, 65535, 80).astype(np.uint16)
    grey = np.tile(ramp, (80, 1))
    Image.fromarray(grey).save(tmp_path / "grey.png")
    wanted = np.rint(grey / 257)
    assert np.abs(load_image(tmp_path / "grey.png")[..., 0] - wanted).max() <= 1
    rows = b"".join(b"\0" + np.repeat(row.astype(">u2"), 3).tobytes() for row in grey)
    header = struct.pack(">IIBBBBB", 80, 80, 16, 2, 0, 0, 0)
    chunks = png_chunk(b"IHDR", header) + png_chunk(b"IDAT", zlib.compress(rows)) + png_chunk(b"IEND", b"")
    (tmp_path / "rgb.png").write_bytes(b"\x89PNG\r\n\x1a\n" + chunks)
    assert np.abs(load_image(tmp_path / "rgb.png")[..., 1] - wanted).max() <= 1


def test_one_bit_and_grey(tmp_path: Path) -> None:
    half = np.zeros((80, 80), np.uint8)
    half[:, 40:] = 255
    Image.fromarray(half).convert("1").save(tmp_path / "bit.png")
    Image.fromarray(half // 2).save(tmp_path / "grey.jpg", quality=98)
    assert load_image(tmp_path / "bit.png")[0, [0, 79]].tolist() == [[0] * 3, [255] * 3]
    assert np.abs(load_image(tmp_path / "grey.jpg")[0, [0, 79]].astype(int) - [[0], [127]]).max() <= 2


def test_cmyk(tmp_path: Path) -> None:
    corners().convert("CMYK").save(tmp_path / "a.jpg", quality=98)  # Pillow writes it inverted, as Adobe does
    assert b"Adobe" in (tmp_path / "a.jpg").read_bytes()
    assert_upright(tmp_path / "a.jpg")
    corners().convert("CMYK").save(tmp_path / "b.jpg", quality=98, icc_profile=b"no profile at all")
    assert_upright(tmp_path / "b.jpg")


def test_an_embedded_profile_is_used(tmp_path: Path) -> None:
    """A profile whose red and blue primaries are exchanged exchanges the colours."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    path = tmp_path / "a.png"
    Image.new("RGB", (80, 80), (100, 150, 200)).save(path, icc_profile=profile)
    assert np.abs(load_image(path)[0, 0].astype(int) - (100, 150, 200)).max() <= 1
    swapped = profile.replace(b"rXYZ", b"????").replace(b"bXYZ", b"rXYZ").replace(b"????", b"bXYZ")
    Image.new("RGB", (80, 80), (100, 150, 200)).save(path, icc_profile=swapped)
    assert np.abs(load_image(path)[0, 0].astype(int) - (200, 150, 100)).max() <= 2
    lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()  # of another colour space: ignored
    Image.new("RGB", (80, 80), (100, 150, 200)).save(path, icc_profile=lab)
    assert load_image(path)[0, 0].tolist() == [100, 150, 200]


def test_animations_give_their_first_frame(tmp_path: Path) -> None:
    pictures = [Image.new("RGB", (80, 80), colour) for colour in (RED, GREEN, BLUE)]
    for suffix in ("gif", "webp", "png"):
        path = tmp_path / f"a.{suffix}"
        pictures[0].save(path, save_all=True, append_images=pictures[1:], lossless=True)
        assert probe_image(path, LIMITS).height == 80
        assert load_image(path)[0, 0].tolist() == list(RED)


def test_shrinking_averages_fine_patterns(tmp_path: Path) -> None:
    pattern = np.indices((512, 512)).sum(axis=0) % 2 * 255
    write_png(tmp_path / "a.png", np.repeat(pattern[..., None], 3, axis=2).astype(np.uint8))
    small = load_image(tmp_path / "a.png", square_px=64)
    assert np.abs(small[8:-8, 8:-8].astype(int) - 127).max() <= 2


def test_png_frames_are_lossless(tmp_path: Path) -> None:
    frame = np.random.default_rng(0).integers(0, 256, (70, 90, 3), dtype=np.uint8)
    write_png(tmp_path / "000000.png", frame)
    assert np.array_equal(load_image(tmp_path / "000000.png"), frame)


@pytest.mark.parametrize("suffix", ["tiff", "bmp", "jp2", "ppm", "ico", "tga", "pdf", "eps"])
def test_other_formats_are_unsupported(tmp_path: Path, suffix: str) -> None:
    corners().save(tmp_path / f"a.{suffix}")
    error = refusal((tmp_path / f"a.{suffix}").rename(tmp_path / "a.png"))
    assert isinstance(error, UnsupportedMedia)
    assert (error.code, error.http_status) == ("unsupported_media_type", 415)


@pytest.mark.parametrize(
    "text", ["<svg xmlns='http://www.w3.org/2000/svg'/>", "<!DOCTYPE html><html></html>", "%PDF-1.7 and so on"]
)
def test_texts_are_unsupported(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.png").write_text(text)
    assert refusal(tmp_path / "a.png").code == "unsupported_media_type"


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "gif", "avif"])
def test_truncated_files_are_rejected(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    noise = np.random.default_rng(0).integers(0, 256, (200, 200, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path)
    data = path.read_bytes()
    for part in (0.9, 0.5, 0.05):
        path.write_bytes(data[: int(len(data) * part)])
        assert refusal(path).code == "media_rejected"
    path.write_bytes(data[:30])
    assert refusal(path).code == "media_rejected"


def test_tiny_files_are_rejected(tmp_path: Path) -> None:
    for data in (b"", b"\n", b"\x89PNG\r\n\x1a\n"):
        (tmp_path / "a.png").write_bytes(data)
        assert refusal(tmp_path / "a.png").code == "media_rejected"


def test_limits_are_checked_before_decoding(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    for width, height in ((8000, 6000), (10_000, 10_000), (65_535, 65_535), (2**31 - 1, 2**31 - 1)):
        path.write_bytes(png_header(width, height))  # were it decoded, it would be "truncated"
        assert refusal(path).code == "media_too_large"
    path.write_bytes(png_header(63, 500))
    assert refusal(path).code == "media_too_small"
    corners().save(path)
    error = refusal(path, LIMITS.model_copy(update={"image_max_bytes": 10}))
    assert isinstance(error, MediaTooLarge)
    assert error.code == "part_too_large"


def with_scans(path: Path, scans: int) -> None:
    """A progressive JPEG that says its last scan again until it has so many."""
    corners(400, 300).convert("L").save(path, progressive=True)
    data = path.read_bytes()
    last = data.rindex(b"\xff\xda")
    more = scans - data.count(b"\xff\xda")
    path.write_bytes(data[:-2] + data[last:-2] * more + data[-2:])


def test_a_jpeg_of_many_scans_is_rejected_before_it_is_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.jpg"
    with_scans(path, 64)
    assert probe_image(path, LIMITS).width == 400
    assert load_image(path).shape == (300, 400, 3)
    with_scans(path, 65)
    error = refusal(path)
    assert error.code == "media_rejected"
    assert "scans" in error.detail

    def decode(image: ImageFile.ImageFile) -> None:
        raise AssertionError("decoded")

    monkeypatch.setattr(ImageFile.ImageFile, "load", decode)  # reaches the decoder in this process only
    with pytest.raises(MediaRejected, match="scans"):
        load_own_image(path)


def test_what_only_looks_like_a_scan_is_not_counted(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    fake = b"\xff\xda\x00\x02" * 100
    corners().save(path, progressive=True, comment=fake, restart_marker_blocks=1)
    path.write_bytes(path.read_bytes() + fake)  # and behind the end
    assert path.read_bytes().count(b"\xff\xda") > 200
    assert probe_image(path, LIMITS).width == 96


@pytest.mark.parametrize("before", [b"\xff" * 9, b"\xff\xd3", b"\xff\x02\xff\xff", b"\x00\xff\x00"])
def test_no_scan_hides_behind_bytes_that_a_decoder_skips(tmp_path: Path, before: bytes) -> None:
    path = tmp_path / "a.jpg"
    with_scans(path, 70)
    data = path.read_bytes()
    head, first, *scans = data.split(b"\xff\xda")  # (what stands before the first scan, Pillow reads itself)
    path.write_bytes((before + b"\xff\xda").join([head + b"\xff\xda" + first, *scans]))
    assert "scans" in refusal(path).detail


def test_a_flood_of_text_chunks_is_rejected(tmp_path: Path) -> None:
    corners().save(tmp_path / "a.png")
    data = (tmp_path / "a.png").read_bytes()
    bomb = png_chunk(b"zTXt", b"k\0\0" + zlib.compress(b"x" * 900_000)) * 100
    (tmp_path / "a.png").write_bytes(data[:33] + bomb + data[33:])
    assert refusal(tmp_path / "a.png").code == "media_rejected"
