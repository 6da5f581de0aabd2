"""What moves the source: a driving clip that was looked at once, or a template of one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from model.config import shows_faces
from worker import media
from worker.engine.crop import cut_driving
from worker.engine.motion import Motion, read_motion
from worker.engine.motion_template import Header, MotionTemplate, write_template
from worker.engine.overlap import ahead
from worker.engine.stages import Stages
from worker.jobs import AnimationOptions, VideoFacts
from worker.settings import MediaLimits
from worker.squares import Framing, Square, as_option

if TYPE_CHECKING:
    import numpy as np

    from model.inference.animator import Animator
    from worker.catalog import ModelFacts


class Driver(NamedTuple):
    """A clip as far as its motion is concerned: none of its pictures."""

    motion: Motion
    """As it was found; not yet steadied."""
    square: Square
    warnings: tuple[str, ...]


def read_clip(
    animator: Animator,
    driving: Path,
    facts: VideoFacts,
    options: AnimationOptions,
    *,
    limits: MediaLimits,
    batch_frames: int,
    on_progress: Callable[[int], None],
    stages: Stages,
) -> Driver:
    """Look at a clip: where its subject is, then its keypoints. Raises MediaRejected, InvalidOptions."""
    size_px = animator.config.frame_size
    with stages.of("decode"):
        cut = cut_driving(
            driving,
            facts,
            options.driving_crop,
            options.driving_subject,
            faces=shows_faces(animator.config.name),
            limits=limits,
        )
    framing = Framing(cut.square, size_px, size_px)
    decoded = media.read_frames(driving, facts, batch_frames=batch_frames, framing=framing, limits=limits)
    with closing(stages.each("decode", ahead(decoded))) as batches, stages.of("infer"):
        motion = read_motion(animator, _watched(batches, on_progress), cut.seen_at, damaged=facts.damaged_frames)
    return Driver(motion, cut.square, (*cut.warnings, *motion.warnings))


def template_of(driver: Driver, facts: VideoFacts, model: ModelFacts, audio: bytes | None) -> MotionTemplate:
    """The same, to be kept."""
    square = driver.square
    header = Header(
        model=model.name,
        bundle_sha256=model.bundle_sha256,
        driving=facts,
        crop=(square.left, square.top, square.side),
        warnings=driver.warnings,
        held_frames=driver.motion.held_frames,
    )
    return MotionTemplate(header, driver.motion.keypoints, audio)


def driver_of(template: MotionTemplate) -> Driver:
    """A template as if its clip had just been looked at."""
    header = template.header
    return Driver(Motion(template.keypoints, held_frames=header.held_frames), template.square, header.warnings)


def unpacked_sound(template: MotionTemplate, path: Path) -> Path:
    """The sound of a template as a file beside `path`: in place of the clip, as far as sound is concerned."""
    sound = path.with_name(f"{path.name}.sound")
    sound.write_bytes(template.audio or b"")
    return sound


def template_report(template: MotionTemplate, size_px: int) -> dict[str, Any]:
    """What a `JobResult` tells of a template, for a network with frames of `size_px`."""
    header, driving = template.header, template.header.driving
    return {
        "width": size_px,
        "height": size_px,
        "fps": driving.fps,
        "frames": driving.frames,
        "duration_s": driving.duration_s,
        "has_audio": driving.has_audio,
        "driving_crop": as_option(template.square),
        "bundle_sha256": header.bundle_sha256,
        "held_frames": header.held_frames,
        "warnings": header.warnings,
    }


def extract_motion(
    driving: Path,
    facts: VideoFacts,
    output: Path,
    animator: Animator,
    model: ModelFacts,
    options: AnimationOptions,
    *,
    limits: MediaLimits,
    batch_frames: int,
    on_progress: Callable[[int], None] = lambda _done: None,
    stages: Stages | None = None,
) -> MotionTemplate:
    """Write the motion template of a clip to `output`; of `options` only those of the driving clip count.

    The sound goes with it. `on_progress` is told how many frames are done. Raises MediaRejected, InvalidOptions.
    """
    stages = stages or Stages()
    done = 0

    def count(frames: int) -> None:
        nonlocal done
        done += frames
        on_progress(done)

    driver = read_clip(
        animator, driving, facts, options, limits=limits, batch_frames=batch_frames, on_progress=count, stages=stages
    )
    audio, warnings = None, ()
    if facts.has_audio:
        with stages.of("encode"):
            audio, warnings = _sound(
                driving, facts.frames / Fraction(facts.fps), output.with_name(f".{output.name[:64]}.sound")
            )
    kept = facts.model_copy(update={"has_audio": audio is not None})
    template = template_of(driver._replace(warnings=(*driver.warnings, *warnings)), kept, model, audio)
    write_template(output, template)
    return template


def _sound(driving: Path, duration_s: Fraction, file: Path) -> tuple[bytes | None, tuple[str, ...]]:
    try:
        has_sound, warnings = media.extract_audio(driving, duration_s, file)
        return file.read_bytes() if has_sound else None, warnings
    finally:
        file.unlink(missing_ok=True)


def _watched(batches: Iterable[np.ndarray], on_progress: Callable[[int], None]) -> Iterator[np.ndarray]:
    """Pass the frames on; with each batch it is told how many came, which is a chance to stop."""
    for frames_THWC in batches:
        on_progress(len(frames_THWC))
        yield frames_THWC
