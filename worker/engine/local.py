"""`animato animate`, `animato preflight`, `animato motion`: the same work without a server."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

from pydantic import ValidationError

from worker import media, pictures
from worker.catalog import ModelFacts, find_model
from worker.engine.animation import AnimationReport, animate_video
from worker.engine.disclosure import Disclosure
from worker.engine.driver import Driver, driver_of, extract_motion, unpacked_sound
from worker.engine.motion_template import MotionTemplate, read_header, read_template
from worker.engine.preflight import look_ahead
from worker.engine.process import WorkerProcess
from worker.engine.views import view_path
from worker.errors import InvalidOptions, MediaRejected
from worker.jobs import AnimationOptions, VideoFacts
from worker.preflights import Preflight
from worker.result_formats import RESULT_FORMATS, FormatName, views_of
from worker.settings import UNLIMITED, Settings

Progress = Callable[[str, int], AbstractContextManager[Callable[[int], None]]]


def animate_locally(
    source: Path,
    driving: Path | None,
    output: str,
    settings: Settings,
    options: Mapping[str, object],
    *,
    fps: str,
    progress: Progress,
    motion: Path | None = None,
) -> AnimationReport:
    """Animate `source` by `driving` (a video, a GIF or a folder of frames at `fps`) into `output`.

    Or by a `motion`: a template that `extract_locally` wrote, or the service.

    `output` ends in the suffix of a format (which `format` repeats or leaves open), or names a folder (with a slash at
    the end, or existing and empty) for PNG frames. Views are written beside it, as `out.flow.mp4`.
    Raises MediaRejected, MotionRejected, InvalidOptions, ModelUnavailable, EncodingFailed.
    """
    wanted = _read_options(options)
    inputs = _inputs(source, driving, motion)
    target, result_format, as_frames = _target(output, options.get("format"))
    wanted = wanted.model_copy(update={"format": result_format})
    for written in (target, *(view_path(target, name) for name in views_of(wanted.views))):
        if written.exists() and any(written.samefile(path) for path in inputs):
            raise InvalidOptions(f"The result would overwrite the input {written}.", hint="Name another file.")
    with _driven(driving, motion, wanted, settings, fps, progress) as by:
        with progress("Reading", 1):
            pictures.probe_image(source, UNLIMITED)
        animator = WorkerProcess(settings).animator(by.model.name)
        if as_frames:
            target.mkdir(parents=True, exist_ok=True)
        with progress("Animating", by.facts.frames) as report:
            return animate_video(
                source,
                by.clip,
                by.facts,
                target,
                animator,
                wanted,
                limits=UNLIMITED,
                batch_frames=settings.batch_frames,
                driver=by.driver,
                disclosure=Disclosure.of(settings, wanted, by.model),
                on_progress=report,
            )


def extract_locally(
    driving: Path, output: Path, settings: Settings, options: Mapping[str, object], *, fps: str, progress: Progress
) -> MotionTemplate:
    """Write the motion template of a clip to `output`; as `animate_locally`."""
    wanted = _read_options(options)
    _check_exist(driving)
    if output.suffix.lower() != ".safetensors":
        raise InvalidOptions(f"{output} does not end in .safetensors.")
    if not output.absolute().parent.is_dir():
        raise InvalidOptions(f"There is no folder {output.absolute().parent}.")
    with progress("Reading", 1):
        facts = probe_driving(driving, fps)
    model = find_model(wanted.model or settings.model, settings.model_dirs)
    animator = WorkerProcess(settings).animator(model.name)
    with progress("Extracting", facts.frames) as report:
        return extract_motion(
            driving,
            facts,
            output,
            animator,
            model,
            wanted,
            limits=UNLIMITED,
            batch_frames=settings.batch_frames,
            on_progress=report,
        )


class _DrivenBy(NamedTuple):
    """A clip, or a template and its sound."""

    clip: Path
    facts: VideoFacts
    model: ModelFacts
    driver: Driver | None = None


@contextmanager
def _driven(
    driving: Path | None,
    motion: Path | None,
    options: AnimationOptions,
    settings: Settings,
    fps: str,
    progress: Progress,
) -> Iterator[_DrivenBy]:
    """What drives the picture, read and checked; the sound of a template is a file inside the block."""
    if driving is not None:
        with progress("Reading", 1):
            facts = probe_driving(driving, fps)
        yield _DrivenBy(driving, facts, find_model(options.model or settings.model, settings.model_dirs))
        return
    assert motion is not None
    # Without a name the template says which model it belongs to.
    model = find_model(options.model or read_header(motion).model, settings.model_dirs)
    template = read_template(motion, model)
    with tempfile.TemporaryDirectory(prefix="animato-") as folder:
        sound = unpacked_sound(template, Path(folder) / "motion")
        yield _DrivenBy(sound, template.header.driving, model, driver_of(template))


def _inputs(source: Path, driving: Path | None, motion: Path | None) -> tuple[Path, ...]:
    """The files that are read. Raises InvalidOptions unless there is one of `driving` and `motion`, MediaRejected."""
    if (driving is None) == (motion is None):
        raise InvalidOptions("Give a driving video, or --motion and a template of one.")
    paths = tuple(path for path in (source, driving, motion) if path is not None)
    _check_exist(*paths)
    return paths


def look_ahead_locally(
    source: Path,
    driving: Path | None,
    settings: Settings,
    options: Mapping[str, object],
    *,
    fps: str,
    progress: Progress,
    motion: Path | None = None,
) -> Preflight:
    """What animating `source` by `driving` or `motion` would be; as `animate_locally`."""
    wanted = _read_options(options)
    _inputs(source, driving, motion)
    with _driven(driving, motion, wanted, settings, fps, progress) as by:
        with progress("Reading", 1):
            pictures.probe_image(source, UNLIMITED)
        animator = WorkerProcess(settings).animator(by.model.name)
        with progress("Looking", 1):
            return look_ahead(
                source,
                by.clip,
                by.facts,
                animator,
                wanted,
                limits=UNLIMITED,
                batch_frames=settings.batch_frames,
                driver=by.driver,
                disclosure=Disclosure.of(settings, wanted, by.model),
            )


def _read_options(options: Mapping[str, object]) -> AnimationOptions:
    try:
        # Flags that were not given are left out: the defaults are those of the options.
        return AnimationOptions.model_validate({name: value for name, value in options.items() if value is not None})
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


def _target(output: str, asked: object) -> tuple[Path, FormatName, bool]:
    """Where to write and what, checked before any work is done; True for a folder of frames."""
    path = Path(output)
    if output.endswith("/") or path.is_dir():
        if path.is_dir() and any(path.iterdir()):
            raise InvalidOptions(f"The folder {path} is not empty.", hint="Name a new folder for the frames.")
        if asked not in (None, "png"):
            raise InvalidOptions(f"A folder takes PNG frames, not {asked}.", hint="Name a file, or use --format png.")
        return path, "png", True
    suffix = path.suffix.lower()
    by_suffix: dict[str, FormatName] = {known.suffix: name for name, known in RESULT_FORMATS.items()}
    if suffix not in by_suffix:
        endings = ", ".join(by_suffix)
        raise InvalidOptions(f"{path} does not end in {endings}.", hint="Use OUT.mp4, or DIR/ for PNG frames.")
    if asked not in (None, by_suffix[suffix]):
        right = RESULT_FORMATS[asked].suffix  # pyright: ignore[reportArgumentType]
        raise InvalidOptions(f"{path} does not end in {right}, as the format {asked} does.", hint=f"Use OUT{right}.")
    if not path.absolute().parent.is_dir():
        raise InvalidOptions(f"There is no folder {path.absolute().parent}.")
    return path, by_suffix[suffix], False
