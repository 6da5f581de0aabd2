"""A look at what an animation would be: its crops, its reference frame, how well the two fit, one frame, the cost.

The same steps as `animation`, but of a long clip only some frames are shown to the network, and one is drawn.

Shapes: T frames that are looked at, H W height and width, C channels, K keypoints.
"""

from __future__ import annotations

import base64
import math
import time
from collections.abc import Callable, Iterable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from model.config import shows_faces
from worker import media, pictures
from worker.animation_options import check_reference_frame
from worker.engine.crop import Cut, cut_driving, cut_source
from worker.engine.disclosure import NOTHING_DISCLOSED, Disclosure
from worker.engine.driver import Driver
from worker.engine.mismatch import judged
from worker.engine.motion import Motion, draw_motion, read_motion, reference_number
from worker.jobs import AnimationOptions, VideoFacts
from worker.preflights import DrivingLook, Estimate, Preflight, Preview, SourceLook, Subject
from worker.result_formats import format_warnings
from worker.settings import MediaLimits
from worker.squares import Framing, Square

if TYPE_CHECKING:
    from model.inference.animator import Animator, PreparedSource
    from model.networks.keypoints import Keypoints

LOOKED_AT_MOST = 150
"""Frames whose keypoints are looked for; of a longer clip every n-th, so that the answer comes in seconds."""
_DRAWN = 4
"""To measure how long a frame takes; one of them is shown."""


def look_ahead(
    source: Path,
    driving: Path,
    facts: VideoFacts,
    animator: Animator,
    options: AnimationOptions,
    *,
    limits: MediaLimits,
    batch_frames: int,
    driver: Driver | None = None,
    disclosure: Disclosure = NOTHING_DISCLOSED,
    frames_per_s: float | None = None,
    on_progress: Callable[[int], None] = lambda _done: None,
) -> Preflight:
    """What `animate_video` of the same would be. `on_progress` is called now and then, and may raise to leave.

    `disclosure` is how the preview tells what it is. `frames_per_s` is the speed that was measured of whole animations;
    without one it is estimated from this look.
    Raises what `animate_video` raises.
    """
    size_px, faces = animator.config.frame_size, shows_faces(animator.config.name)
    check_reference_frame(options.reference_frame, facts.frames)
    picture_HWC = pictures.load_image(source, limits=limits)
    source_cut = cut_source(picture_HWC, options.source_crop, options.subject, faces=faces, find_others=True)
    on_progress(0)
    prepared = animator.prepare(pictures.framed(picture_HWC, Framing(source_cut.square, size_px, size_px)))
    started_s = time.monotonic()
    if driver is None:
        clip = _look_at_clip(animator, driving, facts, options, limits, batch_frames, on_progress)
    else:
        clip = _Clip(Cut(driver.square, driver.warnings), np.arange(facts.frames), driver.motion._replace(warnings=()))
    driving_cut, numbers_T = clip.cut, clip.numbers
    step = math.ceil(facts.frames / len(numbers_T))
    motion = clip.motion.steadied(Fraction(facts.fps) / step, options.smoothing)
    read_s = (time.monotonic() - started_s) / facts.frames

    place = _place(options.reference_frame, numbers_T, prepared, motion)
    preview_HWC, draw_s = _preview(animator, prepared, motion, place, options)
    speed = frames_per_s or 1 / (read_s + draw_s)
    return Preflight(
        source=SourceLook(
            width=picture_HWC.shape[1],
            height=picture_HWC.shape[0],
            subjects=_subjects(source_cut),
            subject=source_cut.subject,
            crop=_corners(source_cut.square),
        ),
        driving=DrivingLook(
            width=facts.width,
            height=facts.height,
            frame_count=facts.frames,
            frame_rate=facts.fps,
            duration_s=facts.duration_s,
            has_audio=facts.has_audio,
            subjects=_subjects(driving_cut),
            subject=driving_cut.subject,
            crop=_corners(driving_cut.square),
        ),
        reference_frame=int(numbers_T[place]),
        mismatch=judged(prepared.keypoints, motion.keypoints, place),
        estimate=Estimate(
            frames=facts.frames, seconds=round(facts.frames / speed, 1), frames_per_second=round(speed, 2)
        ),
        preview=_disclosed(preview_HWC, disclosure),
        warnings=(
            *source_cut.warnings,
            *driving_cut.warnings,
            *motion.warnings,
            *((facts.audio_note,) if options.audio and facts.audio_note else ()),
            *format_warnings(options.format, Fraction(facts.fps), has_sound=options.audio and facts.has_audio),
            *((_SOME_LOOKED_AT.format(step),) if step > 1 else ()),
            *disclosure.warnings,
        ),
    )


_SOME_LOOKED_AT = (
    "The video is long: 1 of {} frames was looked at, and the animation may choose a neighbour of the reference frame."
)


class _Clip(NamedTuple):
    """What was looked at of a driving clip."""

    cut: Cut
    numbers: np.ndarray
    """Which frames of it, T of them."""
    motion: Motion


def _look_at_clip(
    animator: Animator,
    driving: Path,
    facts: VideoFacts,
    options: AnimationOptions,
    limits: MediaLimits,
    batch_frames: int,
    on_progress: Callable[[int], None],
) -> _Clip:
    size_px = animator.config.frame_size
    cut = cut_driving(
        driving,
        facts,
        options.driving_crop,
        options.driving_subject,
        faces=shows_faces(animator.config.name),
        limits=limits,
        find_others=True,
    )
    numbers_T = looked_at(facts.frames, options.reference_frame)
    framing = Framing(cut.square, size_px, size_px)
    batches = media.read_frames(driving, facts, batch_frames=batch_frames, framing=framing, limits=limits)
    # Where the clip was searched for its subject, frames may be passed over: their neighbours show the same.
    seen_at = [int(np.abs(numbers_T - seen).argmin()) for seen in cut.seen_at]
    motion = read_motion(
        animator, _chosen(batches, numbers_T, on_progress), seen_at, frames=facts.frames, damaged=facts.damaged_frames
    )
    return _Clip(cut, numbers_T, motion)


def looked_at(frames: int, reference_frame: str) -> np.ndarray:
    """Return numbers_T: which frames of the clip are looked at, a wanted reference frame among them."""
    step = math.ceil(frames / LOOKED_AT_MOST)
    first = int(reference_frame) % step if reference_frame.isdigit() else 0
    return np.arange(first, frames, step)


def _chosen(
    batches: Iterable[np.ndarray], numbers_T: np.ndarray, on_progress: Callable[[int], None]
) -> Iterator[np.ndarray]:
    start = 0
    for frames_THWC in batches:
        on_progress(0)
        wanted = numbers_T[(numbers_T >= start) & (numbers_T < start + len(frames_THWC))] - start
        start += len(frames_THWC)
        if len(wanted):
            yield frames_THWC[wanted]


def _place(wanted: str, numbers_T: np.ndarray, prepared: PreparedSource, motion: Motion) -> int:
    """Where the reference frame is among those that were looked at."""
    if wanted.isdigit():
        return int(np.searchsorted(numbers_T, int(wanted)))
    return reference_number(wanted, prepared, motion)


def _preview(
    animator: Animator, prepared: PreparedSource, motion: Motion, place: int, options: AnimationOptions
) -> tuple[np.ndarray, float]:
    """The source in the pose of the frame that moves most, uint8_HWC, and how many seconds a frame takes."""
    import torch

    from model.networks.keypoints import frames_of

    moved_T = _distances(motion.keypoints, place)
    most = int(moved_T.argmax())
    others = np.linspace(0, len(moved_T) - 1, _DRAWN - 2).round().astype(int)
    few = Motion(frames_of(motion.keypoints, torch.tensor([place, most, *others])))
    started_s = time.monotonic()
    frames = [
        frame_HWC
        for drawn in draw_motion(animator, prepared, few, 0, options, _DRAWN)
        for frame_HWC in drawn.frames_THWC
    ]
    return frames[1], (time.monotonic() - started_s) / len(frames)


def _disclosed(preview_HWC: np.ndarray, disclosure: Disclosure) -> Preview:
    height, width = preview_HWC.shape[:2]
    marked_HWC = disclosure.marker(width, height)(preview_HWC)
    return Preview(data=base64.b64encode(pictures.as_png(marked_HWC, disclosure.provenance)).decode())


def _distances(keypoints: Keypoints, place: int) -> np.ndarray:
    """Return moved_T: how far the keypoints of each frame are from those of the one at `place`."""
    positions_TK2 = keypoints.positions_BK2.numpy()
    return np.square(positions_TK2 - positions_TK2[place]).sum((1, 2))


def _subjects(cut: Cut) -> tuple[Subject, ...]:
    return tuple(
        Subject(
            index=index,
            box=(round(box.left), round(box.top), round(box.right - box.left), round(box.bottom - box.top)),
        )
        for index, box in enumerate(cut.subjects)
    )


def _corners(square: Square) -> tuple[int, int, int, int]:
    return square.left, square.top, square.side, square.side
