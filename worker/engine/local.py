"""`animato animate`, `animato preflight`: the same work without a server."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from fractions import Fraction
from pathlib import Path

from pydantic import ValidationError

from worker import media, pictures
from worker.engine.animation import AnimationReport, animate_video
from worker.engine.preflight import look_ahead
from worker.engine.process import WorkerProcess
from worker.errors import InvalidOptions, MediaRejected
from worker.jobs import AnimationOptions, VideoFacts
from worker.preflights import Preflight
from worker.settings import UNLIMITED, Settings

Progress = Callable[[str, int], AbstractContextManager[Callable[[int], None]]]


def animate_locally(
    source: Path,
    driving: Path,
    output: str,
    settings: Settings,
    options: Mapping[str, object],
    *,
    fps: str,
    progress: Progress,
) -> AnimationReport:
    """Animate `source` by `driving` (a video, a GIF or a folder of frames at `fps`) into `output`.

    `output` ends in `.mp4`, or names a folder (with a slash at the end, or existing and empty) for PNG frames.
    Raises MediaRejected, InvalidOptions, ModelUnavailable, EncodingFailed.
    """
    wanted = _read_options(options)
    _check_exist(source, driving)
    target, as_frames = _target(output)
    if target.exists() and any(target.samefile(path) for path in (source, driving)):
        raise InvalidOptions(f"The result would overwrite the input {target}.", hint="Name another file.")
    with progress("Reading", 1):
        pictures.probe_image(source, UNLIMITED)
        facts = probe_driving(driving, fps)
    animator = WorkerProcess(settings).animator(wanted.model or settings.model)
    if as_frames:
        target.mkdir(parents=True, exist_ok=True)
    with progress("Animating", facts.frames) as report:
        return animate_video(
            source,
            driving,
            facts,
            target,
            animator,
            wanted,
            limits=UNLIMITED,
            batch_frames=settings.batch_frames,
            on_progress=report,
        )


def look_ahead_locally(
    source: Path, driving: Path, settings: Settings, options: Mapping[str, object], *, fps: str, progress: Progress
) -> Preflight:
    """What animating `source` by `driving` would be; as `animate_locally`."""
    wanted = _read_options(options)
    _check_exist(source, driving)
    with progress("Reading", 1):
        pictures.probe_image(source, UNLIMITED)
        facts = probe_driving(driving, fps)
    animator = WorkerProcess(settings).animator(wanted.model or settings.model)
    with progress("Looking", 1):
        return look_ahead(
            source, driving, facts, animator, wanted, limits=UNLIMITED, batch_frames=settings.batch_frames
        )


def _read_options(options: Mapping[str, object]) -> AnimationOptions:
    try:
        return AnimationOptions.model_validate(options)
    except ValidationError as error:
        first = error.errors()[0]
        raise InvalidOptions(f"{'.'.join(map(str, first['loc']))}: {first['msg']}.") from error


def _check_exist(*paths: Path) -> None:
    for path in paths:
        if not path.exists():
            raise MediaRejected(f"There is no file {path}.", code="file_not_found")


def probe_driving(driving: Path, fps: str) -> VideoFacts:
    """The facts of a driving video, or of a folder of frames played at `fps` (`25`, `29.97`, `30000/1001`)."""
    if driving.is_dir():
        return media.probe_frames_folder(driving, _frame_rate(fps), UNLIMITED)
    return media.probe_video(driving, UNLIMITED)


def _frame_rate(text: str) -> Fraction:
    """An exact rate; the usual short spellings of the NTSC rates (23.976, 29.97, 59.94) mean n·1000/1001."""
    try:
        rate = Fraction(text)
    except (ValueError, ZeroDivisionError):
        raise InvalidOptions(f"{text!r} is not a frame rate.", hint="Write 25, 29.97 or 30000/1001.") from None
    if not 0 < rate <= UNLIMITED.video_max_fps:
        raise InvalidOptions(f"A frame rate of {text} is not possible.")
    ntsc = Fraction(round(rate * 1001 / 1000) * 1000, 1001)
    return ntsc if rate.denominator > 1 and abs(ntsc - rate) < Fraction(5, 1000) else rate


def _target(output: str) -> tuple[Path, bool]:
    """Where to write, checked before any work is done; True for a folder of frames."""
    path = Path(output)
    if output.endswith("/") or path.is_dir():
        if path.is_dir() and any(path.iterdir()):
            raise InvalidOptions(f"The folder {path} is not empty.", hint="Name a new folder for the frames.")
        return path, True
    if path.suffix.lower() != ".mp4":
        raise InvalidOptions(f"{path} does not end in .mp4.", hint="Use OUT.mp4, or DIR/ for PNG frames.")
    if not path.absolute().parent.is_dir():
        raise InvalidOptions(f"There is no folder {path.absolute().parent}.")
    return path, False
