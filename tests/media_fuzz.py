"""Damaged files through the probe, and what it accepts through the decoding of a job: `make fuzz`.

    python -m tests.media_fuzz --copies 10000 --seed 1      counts by outcome; exit status 1 when a promise is broken
    python -m tests.media_fuzz --seed 1 --only 4711         one of them again; --keep FILE writes it

The promises: every file is accepted or refused with a code (nothing else is raised, and this process, which plays the
API, does not crash), within the time limits, and no process, file descriptor or file is left. Copy number N of a seed
is always the same bytes.
"""

from __future__ import annotations

import argparse
import faulthandler
import os
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import imageio_ffmpeg
from PIL import Image, ImageCms

from tests.conftest import decoding_children
from worker.errors import MediaRejected
from worker.media import probe_video, read_frames
from worker.pictures import load_image, probe_image
from worker.settings import MediaLimits

LIMITS = MediaLimits(image_timeout_s=120, probe_timeout_s=120, decode_stall_timeout_s=120, decode_timeout_s=240)
HANG_S = 600
"""More than the time limits of one file together. Both are long: the run has to tell a hang from a busy machine."""

_PICTURES = ("png", "jpg", "webp", "avif", "gif")
_VIDEOS = {
    "mp4": ("-c:v", "libx264", "-pix_fmt", "yuv420p", "-c:a", "aac"),
    "webm": ("-c:v", "libvpx-vp9", "-deadline", "realtime", "-cpu-used", "8", "-c:a", "libopus"),
    "mpg": ("-c:v", "mpeg2video", "-c:a", "mp2"),
    "gif": ("-an",),
}
_TELLING_NUMBERS = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)


class Seed(NamedTuple):
    """A whole file, as the source image or as the driving video."""

    name: str
    is_picture: bool
    content: bytes


class Look(NamedTuple):
    """What became of one damaged copy."""

    number: int
    seed: str
    outcome: str
    took_s: float


def make_seeds(folder: Path) -> list[Seed]:
    """Small files of each kind, with the parts that decoders stumble over: profiles, EXIF, alpha, sound."""
    generator = random.Random(0)
    picture = Image.frombytes("RGBA", (72, 64), generator.randbytes(72 * 64 * 4)).resize((96, 88))
    exif = Image.Exif()
    exif[0x0112] = 6
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    seeds = []
    for suffix in _PICTURES:
        path = folder / f"seed.{suffix}"
        image = picture.convert("RGB") if suffix in ("jpg", "gif") else picture
        image.save(path, exif=exif, icc_profile=profile, progressive=True, quality=80)
        seeds.append(Seed(f"picture {suffix}", True, path.read_bytes()))
    for suffix, encoder in _VIDEOS.items():
        path = folder / f"seed-video.{suffix}"
        inputs = ("-f", "lavfi", "-i", "testsrc2=s=96x80:r=25:d=0.4", "-f", "lavfi", "-i", "sine=d=0.4")
        command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-y", *inputs, *encoder, str(path)]
        subprocess.run(command, check=True)
        seeds.append(Seed(f"video {suffix}", False, path.read_bytes()))
    return seeds


def damaged(seeds: list[Seed], seed: int, number: int) -> tuple[Seed, bytes]:
    """Copy `number`, which is always the same: one to three kinds of damage to one of the seeds."""
    generator = random.Random(f"{seed}/{number}")
    original = seeds[number % len(seeds)]
    content = bytearray(original.content)
    for _ in range(generator.choice((1, 1, 1, 2, 3))):
        damage = generator.choice((_flip, _flip, _overwrite, _truncate, _cut_out, _repeat, _splice, _noise))
        damage(content, generator, seeds)
    return original, bytes(content)


def _place(content: bytearray, generator: random.Random) -> int:
    """Somewhere; every second time in the first half kilobyte, where the headers are."""
    end = max(1, len(content))
    return generator.randrange(min(end, 512) if generator.random() < 0.5 else end)


def _flip(content: bytearray, generator: random.Random, _: list[Seed]) -> None:
    for _bit in range(generator.choice((1, 2, 8, 64)) if content else 0):
        content[_place(content, generator)] ^= 1 << generator.randrange(8)


def _overwrite(content: bytearray, generator: random.Random, _: list[Seed]) -> None:
    at, size = _place(content, generator), generator.choice((1, 2, 4))
    number = generator.choice(_TELLING_NUMBERS) & ((1 << 8 * size) - 1)
    content[at : at + size] = number.to_bytes(size, generator.choice(("big", "little")))


def _truncate(content: bytearray, generator: random.Random, _: list[Seed]) -> None:
    del content[_place(content, generator) :]


def _cut_out(content: bytearray, generator: random.Random, _: list[Seed]) -> None:
    at = _place(content, generator)
    del content[at : at + generator.randrange(1, 256)]


def _repeat(content: bytearray, generator: random.Random, _: list[Seed]) -> None:
    at = _place(content, generator)
    content[at:at] = content[at : at + generator.randrange(1, 256)] * generator.choice((1, 2, 100))


def _splice(content: bytearray, generator: random.Random, seeds: list[Seed]) -> None:
    other = generator.choice(seeds).content
    start = generator.randrange(len(other))
    at = _place(content, generator)
    content[at : at + generator.randrange(2048)] = other[start : start + generator.randrange(2048)]


def _noise(content: bytearray, generator: random.Random, _: list[Seed]) -> None:
    at, size = _place(content, generator), generator.randrange(1, 128)
    content[at : at + size] = generator.randbytes(size)


def look_at(path: Path, is_picture: bool) -> str:
    """The outcome for one file: `accepted` or the code of the refusal; anything else that is raised, by its name."""
    accepted = ""
    try:
        if is_picture:
            probe_image(path, LIMITS)
            accepted = "accepted, then "
            load_image(path, square_px=64, limits=LIMITS)
        else:
            facts = probe_video(path, LIMITS)
            accepted = "accepted, then "
            for _ in read_frames(path, facts, batch_frames=8, square_px=64, limits=LIMITS):
                pass
    except MediaRejected as error:
        crashed = " (its decoder crashed)" if "crashed" in error.detail else ""
        return f"{accepted}{error.code}{crashed}"
    except Exception as error:
        return f"BROKEN {type(error).__name__}: {str(error)[:80]}"
    return "accepted"


class Report(NamedTuple):
    """All looks, and what was left when they were over."""

    looks: list[Look]
    left: list[str]

    @property
    def broken(self) -> list[str]:
        """Every promise that was not kept, in words."""
        wrong = [f"copy {look.number} ({look.seed}): {look.outcome}" for look in self.looks if "BROKEN" in look.outcome]
        slow = [f"copy {look.number} ({look.seed}): {look.took_s:.0f} s" for look in self.looks if look.took_s > HANG_S]
        return wrong + slow + self.left


def fuzz(copies: int, seed: int, *, threads: int = 2, say: Callable[[str], None] = lambda _line: None) -> Report:
    """Look at `copies` damaged files, several at a time as the API does."""
    with tempfile.TemporaryDirectory(prefix="fuzz-") as name:
        folder = Path(name)
        seeds = make_seeds(folder)
        before = _belongings(folder)

        def look(number: int) -> Look:
            original, content = damaged(seeds, seed, number)
            path = folder / f"copy-{number}"
            path.write_bytes(content)
            started_s = time.monotonic()
            outcome = look_at(path, original.is_picture)
            took_s = time.monotonic() - started_s
            path.unlink()
            if number % 500 == 499:
                say(f"{number + 1} copies")
            return Look(number, original.name, outcome, took_s)

        looks: list[Look] = []
        with ThreadPoolExecutor(threads) as pool:
            try:
                looks.extend(pool.map(look, range(copies)))
            except KeyboardInterrupt:  # what there is, is told
                pool.shutdown(cancel_futures=True)
        left = [f"left: {thing}" for thing in sorted(_belongings(folder) - before)]
    return Report(looks, left)


def _belongings(folder: Path) -> set[str]:
    """Files, children that decode, and how many file descriptors are open."""
    files = {f"file {path.name}" for path in folder.iterdir()}
    children = {f"process {pid}" for pid in decoding_children()}
    return files | children | {f"{len(os.listdir('/proc/self/fd'))} open file descriptors"}


def table(report: Report) -> str:
    """Counts by outcome, for each seed and in all."""
    counts = Counter((look.seed, look.outcome) for look in report.looks)
    totals = Counter(look.outcome for look in report.looks)
    lines = [f"{seed:14} {outcome:48} {count:6}" for (seed, outcome), count in sorted(counts.items())]
    lines += [f"{'all':14} {outcome:48} {count:6}" for outcome, count in totals.most_common()]
    slowest = max(report.looks, key=lambda look: look.took_s)
    lines.append(f"slowest: {slowest.took_s:.1f} s, copy {slowest.number} ({slowest.seed}, {slowest.outcome})")
    return "\n".join(lines)


def main() -> int:
    """The command."""
    faulthandler.enable()
    parser = argparse.ArgumentParser(description="Damaged files through the probe.")
    parser.add_argument("--copies", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 2)
    parser.add_argument("--only", type=int, help="look at this copy alone")
    parser.add_argument("--keep", type=Path, help="with --only: write the copy to this file")
    arguments = parser.parse_args()
    print(f"seed {arguments.seed}", flush=True)
    if arguments.only is not None:
        with tempfile.TemporaryDirectory() as name:
            original, content = damaged(make_seeds(Path(name)), arguments.seed, arguments.only)
            path = arguments.keep or Path(name) / "copy"
            path.write_bytes(content)
            print(original.name, look_at(path, original.is_picture))
        return 0
    started_s = time.monotonic()
    report = fuzz(arguments.copies, arguments.seed, threads=arguments.threads, say=lambda line: print(line, flush=True))
    print(table(report))
    print(f"{len(report.looks)} copies in {time.monotonic() - started_s:.0f} s; {len(report.broken)} promises broken")
    print("\n".join(report.broken))
    return 1 if report.broken else 0


if __name__ == "__main__":
    sys.exit(main())
