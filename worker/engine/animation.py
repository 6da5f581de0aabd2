"""Animate local files: no Celery, no Redis, no storage. The command line uses it as it is.

Frames flow as iterators, decode → batch → network → encode, so memory does not grow with the length of the clip.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from model.config import MotionTransferOptions
from worker import media, pictures
from worker.engine.batches import draw
from worker.engine.stages import Stages
from worker.jobs import AnimationOptions, VideoFacts
from worker.settings import MediaLimits

if TYPE_CHECKING:
    import numpy as np

    from model.inference.animator import Animator


class AnimationReport(NamedTuple):
    """What was written."""

    frames: int
    fps: str
    width: int
    height: int
    duration_s: float
    has_audio: bool
    warnings: tuple[str, ...]


def animate_video(
    source: Path,
    driving: Path,
    facts: VideoFacts,
    output: Path,
    animator: Animator,
    options: AnimationOptions,
    *,
    limits: MediaLimits,
    batch_frames: int,
    on_progress: Callable[[int], None] = lambda _done: None,
    stages: Stages | None = None,
) -> AnimationReport:
    """Write the animation of `source` by `driving` to `output`: an MP4 file, or PNG files when it is a folder.

    `facts` are those of `media.probe_video(driving)`: as many frames come out, at the same rate. `on_progress` is
    called with the number of frames done, and may raise (`JobStopped`) to leave; nothing is left at `output` then.
    `stages` is told where the time goes.
    Raises MediaRejected for an input that cannot be decoded, EncodingFailed when the result cannot be written.
    """
    size_px = animator.config.frame_size
    prepared = animator.prepare(pictures.load_image(source, square_px=size_px, limits=limits))
    stages = stages or Stages()
    driving_batches = stages.each(
        "decode", media.read_frames(driving, facts, batch_frames=batch_frames, square_px=size_px, limits=limits)
    )
    drawn = stages.each("infer", draw(animator, prepared, driving_batches, _transfer_options(options)))
    frames = _counted(drawn, on_progress)
    fps = Fraction(facts.fps)
    if output.is_dir():
        count, has_audio, warnings = _write_pictures(output, frames), False, ()
    else:
        with stages.of("encode"):
            written = media.write_video(
                output,
                frames,
                fps=fps,
                width=size_px,
                height=size_px,
                audio_from=driving if options.audio and facts.has_audio else None,
            )
        count, has_audio, warnings = written.frames, written.has_audio, written.warnings
    if options.audio and facts.audio_note:
        warnings = (*warnings, facts.audio_note)
    return AnimationReport(count, facts.fps, size_px, size_px, float(count / fps), has_audio, tuple(warnings))


def _transfer_options(options: AnimationOptions) -> MotionTransferOptions:
    return MotionTransferOptions(
        relative=options.motion == "relative",
        relative_jacobian=options.relative_jacobian,
        adapt_scale=options.adapt_scale,
    )


def _counted(batches: Iterable[np.ndarray], on_progress: Callable[[int], None]) -> Iterator[np.ndarray]:
    """Pass batches of frames on, telling after each how many there were."""
    done = 0
    on_progress(done)
    for frames_THWC in batches:
        yield frames_THWC
        done += len(frames_THWC)
        on_progress(done)


def _write_pictures(folder: Path, batches: Iterable[np.ndarray]) -> int:
    """Write `000000.png`, `000001.png`, ... and return how many."""
    count = 0
    for frames_THWC in batches:
        for frame_HWC in frames_THWC:
            pictures.write_png(folder / f"{count:06d}.png", frame_HWC)
            count += 1
    return count
