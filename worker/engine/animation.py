"""Animate local files: no Celery, no Redis, no storage. The command line uses it as it is.

The driving clip is looked at twice: small, for where its subject is, and then for its keypoints, which are all that is
kept of it. Frames flow as iterators, network → paste back → encode, so memory does not grow with the clip's pictures.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from model.config import shows_faces
from worker import media, pictures
from worker.animation_options import check_reference_frame, check_views_of_motion
from worker.engine.crop import cut_source
from worker.engine.disclosure import NOTHING_DISCLOSED, Disclosure
from worker.engine.driver import Driver, read_clip
from worker.engine.motion import draw_motion, reference_number
from worker.engine.overlap import Behind
from worker.engine.paste_back import PasteBack
from worker.engine.stages import Stages
from worker.engine.views import ShownClip, ShownFrame, Views, WrittenView
from worker.jobs import AnimationOptions, VideoFacts
from worker.result_formats import views_of
from worker.settings import MediaLimits
from worker.squares import Framing, Square, as_option

if TYPE_CHECKING:
    import numpy as np

    from model.inference.animator import Animator, Drawn


class AnimationReport(NamedTuple):
    """What was written."""

    frames: int
    fps: str
    width: int
    height: int
    duration_s: float
    has_audio: bool
    source_crop: str
    driving_crop: str
    reference_frame: int
    warnings: tuple[str, ...] = ()
    held_frames: tuple[tuple[int, int], ...] = ()
    views: tuple[WrittenView, ...] = ()


class _Written(NamedTuple):
    views: tuple[WrittenView, ...]
    notes: tuple[str, ...]
    result: media.WrittenVideo


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
    driver: Driver | None = None,
    disclosure: Disclosure = NOTHING_DISCLOSED,
    on_progress: Callable[[int], None] = lambda _done: None,
    stages: Stages | None = None,
) -> AnimationReport:
    """Write the animation of `source` by `driving` to `output`: a file of `options.format`, or PNG files into a folder.

    Its views (`options.views`) are written beside it, see `view_path`.

    `facts` are those of `media.probe_video(driving)`: as many frames come out, at the same rate. With a `driver` its
    motion is taken, and of `driving` only the sound. `disclosure` is how result and views tell what they are.
    `on_progress` is called with the number of frames done (0 as long as the driving clip is read), and may raise
    (`JobStopped`) to leave; nothing is left at `output` then. `stages` is told where the time goes.
    Raises MediaRejected for an input that cannot be decoded, InvalidOptions for a crop, subject or reference frame that
    does not exist, EncodingFailed when the result cannot be written.
    """
    size_px = animator.config.frame_size
    faces = shows_faces(animator.config.name)
    fps = Fraction(facts.fps)
    stages = stages or Stages()
    check_reference_frame(options.reference_frame, facts.frames)
    if driver is not None:
        check_views_of_motion(options.views)
    on_progress(0)
    with stages.of("decode"):
        picture_HWC = pictures.load_image(source, limits=limits)
        source_cut = cut_source(picture_HWC, options.source_crop, options.subject, faces=faces)
        on_progress(0)
    # Three threads: frames are decoded ahead of the network (`read_clip`) and encoded behind it. `stages` runs in this
    # one: decoding and encoding are as long as the network had to wait for them.
    with stages.of("infer"):
        prepared = animator.prepare(pictures.framed(picture_HWC, Framing(source_cut.square, size_px, size_px)))
    if driver is None:
        driver = read_clip(
            animator,
            driving,
            facts,
            options,
            limits=limits,
            batch_frames=batch_frames,
            on_progress=lambda _frames: on_progress(0),
            stages=stages,
        )
    with stages.of("infer"):
        motion = driver.motion.steadied(fps, options.smoothing)
        reference_frame = reference_number(options.reference_frame, prepared, motion)
    width, height = _result_size(picture_HWC, size_px, options)
    clip = ShownClip(
        picture_HWC=picture_HWC,
        source_square=source_cut.square,
        driving=driving,
        facts=facts,
        driving_square=driver.square,
        result_size=(width, height),
        side=options.size or size_px,
        options=options,
        source_keypoints=prepared.keypoints,
        driving_keypoints=motion.keypoints,
        reference_frame=reference_frame,
    )

    def write(batches: Iterable[Drawn]) -> _Written:
        frames = _finished(batches, picture_HWC, source_cut.square, width, height, options)
        writer = media.VideoWriter(
            output,
            fps=fps,
            width=width,
            height=height,
            video_format="png" if output.is_dir() else options.format,
            audio_from=driving if options.audio and facts.has_audio else None,
            provenance=disclosure.provenance,
        )
        marked = disclosure.marker(width, height)
        with Views(output, clip, limits=limits, disclosure=disclosure) as views, writer:
            for frame in frames:
                writer.write(marked(frame.frame_HWC))
                views.add(frame)
            return _Written(*views.finish(), writer.finish())

    with_flow = "flow" in views_of(options.views)
    drawn = draw_motion(animator, prepared, motion, reference_frame, options, batch_frames, with_flow=with_flow)
    with Behind(write) as writer:
        done = 0
        for batch in stages.each("infer", drawn):
            with stages.of("encode"):
                writer.give(batch)
            done += len(batch.frames_THWC)
            on_progress(done)
        with stages.of("encode"):
            written_views, notes, written = writer.result()
    warnings = written.warnings
    if options.audio and facts.audio_note:
        warnings = (*warnings, facts.audio_note)
    return AnimationReport(
        frames=written.frames,
        fps=facts.fps,
        width=written.width,
        height=written.height,
        duration_s=written.duration_s,
        has_audio=written.has_audio,
        source_crop=as_option(source_cut.square),
        driving_crop=as_option(driver.square),
        reference_frame=reference_frame,
        held_frames=motion.held_frames,
        warnings=(*source_cut.warnings, *driver.warnings, *warnings, *notes, *disclosure.warnings),
        views=written_views,
    )


def _result_size(picture_HWC: np.ndarray, size_px: int, options: AnimationOptions) -> tuple[int, int]:
    if options.paste_back:
        return picture_HWC.shape[1], picture_HWC.shape[0]
    side = options.size or size_px
    return side, side


def _finished(
    batches: Iterable[Drawn],
    picture_HWC: np.ndarray,
    square: Square,
    width: int,
    height: int,
    options: AnimationOptions,
) -> Iterator[ShownFrame]:
    """The frames as they are wanted, one by one: in the whole picture, or at the size of the result."""
    paste = PasteBack(picture_HWC, square) if options.paste_back else None
    for drawn in batches:
        for number, frame_HWC in enumerate(drawn.frames_THWC):
            occlusion_HW = None if drawn.occlusion_THW is None else drawn.occlusion_THW[number]
            flow_HW2 = None if drawn.flow_THW2 is None else drawn.flow_THW2[number]
            if paste:
                yield ShownFrame(paste(frame_HWC, occlusion_HW), occlusion_HW, flow_HW2)
            else:
                same_size = frame_HWC.shape[1::-1] == (width, height)
                wanted_HWC = frame_HWC if same_size else pictures.resized(frame_HWC, width, height)
                yield ShownFrame(wanted_HWC, occlusion_HW, flow_HW2)
