"""A folder of numbered pictures as a driving video."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Generator
from fractions import Fraction
from pathlib import Path

import numpy as np

from worker.errors import MediaRejected
from worker.jobs import VideoFacts
from worker.pictures import framed, load_own_image, own_image_size
from worker.settings import MediaLimits
from worker.squares import Framing

FOLDER_MEDIA_TYPE = "inode/directory"
_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".avif"})
_NUMBER = re.compile(r"(\d+)")


def probe_frames_folder(path: Path, fps: Fraction, limits: MediaLimits) -> VideoFacts:
    """The facts of a folder of pictures shown at `fps`; the headers are read here, the pixels while animating."""
    files = _frame_files(path)
    if not files:
        raise MediaRejected("The folder has no PNG, JPEG, WebP or AVIF pictures.", code="no_video_stream")
    frames = len(files)
    if frames > limits.video_max_frames or frames / fps > limits.video_max_duration_s:
        raise MediaRejected(f"The folder has {frames} frames, more than are allowed.", code="media_too_long")
    if fps > limits.video_max_fps:
        raise MediaRejected(f"At most {limits.video_max_fps} frames a second are allowed.", code="frame_rate_too_high")
    picture_limits = limits.model_copy(
        update={"image_max_pixels": limits.video_max_pixels, "image_min_side_px": limits.video_min_side_px}
    )
    sizes = {own_image_size(file, picture_limits) for file in files}
    if len(sizes) > 1:
        raise MediaRejected("The pictures of the folder differ in size.")
    width, height = sizes.pop()
    digest = hashlib.sha256()
    for file in files:
        with file.open("rb") as opened:
            digest.update(hashlib.file_digest(opened, "sha256").digest())
    return VideoFacts(
        media_type=FOLDER_MEDIA_TYPE,
        codec=files[0].suffix.lower().lstrip("."),
        width=width,
        height=height,
        fps=f"{fps.numerator}/{fps.denominator}",
        frames=frames,
        duration_s=round(float(frames / fps), 6),
        rotation_deg=0,
        variable_frame_rate=False,
        has_audio=False,
        has_alpha=False,
        size_bytes=sum(file.stat().st_size for file in files),
        sha256=digest.hexdigest(),
    )


def read_folder(
    path: Path, facts: VideoFacts, *, batch_frames: int, framing: Framing | None = None
) -> Generator[np.ndarray]:
    """As `read_frames`; transparent parts lie over white already."""
    files = _frame_files(path)
    if len(files) != facts.frames:
        raise MediaRejected(f"The folder has {len(files)} frames now; {facts.frames} were counted.")
    for start in range(0, facts.frames, batch_frames):
        frames = [framed(load_own_image(file), framing) for file in files[start : start + batch_frames]]
        if len({frame.shape for frame in frames}) > 1:
            raise MediaRejected("The pictures of the folder differ in size.")
        yield np.stack(frames)


def _frame_files(folder: Path) -> list[Path]:
    """The pictures in the order of the numbers in their names: 2 before 10."""
    files = (file for file in folder.iterdir() if file.suffix.lower() in _SUFFIXES and not file.name.startswith("."))
    return sorted((file for file in files if file.is_file()), key=_natural)


def _natural(file: Path) -> list[tuple[int, str]]:
    parts = _NUMBER.split(file.name)
    return [(int(part), "") if part.isdigit() else (-1, part) for part in parts]
