"""Measure a bundle on clips or on avatars: `metrics.json` and `evaluation.png`. Read `evaluate` from top to bottom."""

import os
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
import torch

from model.bundle import load_bundle
from model.bundle_index import CONFIG_FILE, WEIGHTS_FILE, find_bundle, sha256_of
from model.data.avatars import AVATARS
from model.data.clip_files import Split
from model.evaluation.avatar_cases import AvatarCases
from model.evaluation.cases import CaseSet
from model.evaluation.chart import draw_chart, has_bars
from model.evaluation.clip_cases import ClipCases
from model.evaluation.detectors import Detector
from model.evaluation.errors import EvaluationError
from model.evaluation.faces import DlibFaces
from model.evaluation.methods import Method, copying, network
from model.evaluation.picture import choose, draw_picture
from model.evaluation.report import Report
from model.evaluation.scores import CaseScore, case_table, score_case, table
from model.evaluation.tracking import Tracking, measure_tracking
from model.inference.animator import Animator, Precision

if TYPE_CHECKING:
    from PIL.Image import Image

METRICS_FILE, PICTURE_FILE = "metrics.json", "evaluation.png"
FRAMES_PER_CLIP, FRAMES_PER_AVATAR = 32, 4

DetectorName = Literal["auto", "faces", "none"]
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, kw_only=True, slots=True)
class EvaluationOptions:
    """What to measure on, and how."""

    data: str
    """`avatars`, or a folder of clips."""
    frames: int | None = None
    """Driving frames of each clip (at most) or avatar; None: `FRAMES_PER_CLIP`, `FRAMES_PER_AVATAR`."""
    identities: int = 200
    """Avatars; of clips all are taken."""
    split: Split = "test"
    seed: int = 0
    """Of the avatars; clips have no chance in them."""
    detector: DetectorName = "auto"
    """`auto`: faces on clips, if the extra is installed; none on avatars, which are not drawn to be found by it."""
    device: str = "auto"
    precision: Precision = "fp32"
    cache_dir: Path | None = None
    """Of decoded clips."""


class _Contestant(NamedTuple):
    name: str
    animator: Animator
    facts: Mapping[str, Any]


def evaluate(
    bundle: Path,
    output: Path,
    options: EvaluationOptions,
    *,
    baselines: Sequence[Path] = (),
    detector: Detector | None = None,
    on_progress: Progress | None = None,
) -> Report:
    """Measure the bundle, and write `metrics.json` and `evaluation.png` into the folder `output`.

    Args:
        bundle: the bundle's folder.
        output: a folder, made if it is absent; the two files are replaced.
        options: what to measure on, and how.
        baselines: other bundles, of the same frame size, for the same table.
        detector: finds what the clips show, instead of the one that `options` names.
        on_progress: called with what is being done, how much of it is done, and how much there is.

    Raises:
        EvaluationError: `evaluate_extra_missing`, `baseline_size_differs`.
        BundleError, DeviceError, DataError, NumericalError: as loading, animating and reading clips do.
        OSError: the folder cannot be written; told before the work.

    """
    started = time.monotonic()
    say = on_progress or (lambda *_: None)
    contestants = _load([bundle, *baselines], options)
    main = contestants[0]
    notes: list[str] = []
    detector = detector or _detector(options, notes)
    cases = _cases(options, main.animator, say)
    _require_writable(output)
    networks = _networks(contestants, notes)
    scores: list[CaseScore] = []
    for index in range(len(cases)):
        for case in cases[index]:
            scores += score_case(index, case, (copying(), *networks), detector)
        say("Animating", index + 1, len(cases))
    tracking = _tracking(contestants, options, say)
    report = Report(
        bundle=main.facts,
        baselines=tuple(baseline.facts for baseline in contestants[1:]),
        protocol=cases.protocol,
        detector=detector.facts if detector else None,
        notes=(*cases.notes, *notes),
        versions=_versions(),
        device=_device_name(main.animator.device),
        precision=main.animator.precision,
        seconds=time.monotonic() - started,
        table=tuple(table(scores)),
        cases=tuple(case_table(scores)),
        tracking=tuple(tracking),
    )
    picture = draw_picture(cases, choose(scores, main.name), networks, main.animator)
    if tracking and has_bars(tracking[0]):
        picture = _below(picture, draw_chart(tracking[0], picture.width))
    _write(output, report, picture)
    return report


def evaluate_by_name(
    bundle: str,
    baselines: Sequence[str],
    directories: Sequence[Path],
    output: Path,
    options: EvaluationOptions,
    *,
    on_progress: Progress | None = None,
) -> Report:
    """Evaluate bundles given as folders, or as names of bundles in `directories` or among those that ship.

    Raises what `evaluate` and `find_bundle` raise.
    """
    folder, *others = (
        Path(one) if Path(one).is_dir() else find_bundle(one, directories) for one in (bundle, *baselines)
    )
    return evaluate(folder, output, options, baselines=others, on_progress=on_progress)


def _load(folders: Sequence[Path], options: EvaluationOptions) -> list[_Contestant]:
    contestants: list[_Contestant] = []
    for folder in folders:
        bundle = load_bundle(folder)
        size, wanted = bundle.config.frame_size, contestants[0].facts["frame_size"] if contestants else None
        if wanted not in (None, size):
            raise EvaluationError(
                "baseline_size_differs",
                f"{bundle.info.name} draws {size} pixels a side, {contestants[0].name} {wanted}.",
                "Errors of different sizes cannot stand in one table.",
            )
        names = [contestant.name for contestant in contestants]
        copies = sum(name.split(" (")[0] == bundle.info.name for name in names)
        name = f"{bundle.info.name} ({copies + 1})" if copies else bundle.info.name
        facts = {
            "name": name,
            "frame_size": size,
            "num_parameters": bundle.info.num_parameters,
            "has_jacobians": bundle.config.estimate_jacobian,
            "sha256": {file: sha256_of(folder / file) for file in (CONFIG_FILE, WEIGHTS_FILE)},
        }
        contestants.append(_Contestant(name, Animator(bundle, options.device, options.precision), facts))
    return contestants


def _networks(contestants: Sequence[_Contestant], notes: list[str]) -> list[Method]:
    """Return the bundle, the same without its Jacobians, and the baselines."""
    main, *others = contestants
    methods = [network(main.name, main.animator)]
    if main.facts["has_jacobians"]:
        methods.append(network(f"{main.name}, no Jacobians", main.animator.without_jacobians()))
    else:
        notes.append(f"{main.name} has no Jacobians: it is the zeroth-order model.")
    return methods + [network(other.name, other.animator) for other in others]


def _cases(options: EvaluationOptions, animator: Animator, say: Progress) -> CaseSet:
    size = animator.config.frame_size
    if options.data == AVATARS:
        frames = options.frames or FRAMES_PER_AVATAR
        return AvatarCases(
            size=size,
            identities=options.identities,
            frames=frames,
            split=options.split,
            seed=options.seed,
            device=animator.device,
        )
    frames = options.frames or FRAMES_PER_CLIP
    return ClipCases(
        Path(options.data),
        size=size,
        frames=frames,
        split=options.split,
        cache_dir=options.cache_dir,
        on_progress=lambda done, total: say("Decoding clips", done, total),
    )


def _detector(options: EvaluationOptions, notes: list[str]) -> Detector | None:
    automatic = options.detector == "auto"
    if options.detector == "none" or (automatic and options.data == AVATARS):
        return None
    try:
        return DlibFaces()
    except EvaluationError as error:
        if not automatic:
            raise
        notes.append(f"AKD, MKR and AED are left out. {error.detail} pip install 'animato[evaluate]'")
        return None


def _tracking(contestants: Sequence[_Contestant], options: EvaluationOptions, say: Progress) -> list[Tracking]:
    if options.data != AVATARS:
        return []
    return measure_tracking(
        [(contestant.name, contestant.animator) for contestant in contestants],
        identities=options.identities,
        split=options.split,
        seed=options.seed,
        on_progress=lambda done, total: say("Tracking", done, total),
    )


def _versions() -> dict[str, str]:
    return {
        "animato": metadata.version("animato"),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
    }


def _device_name(device: torch.device) -> str:
    return f"{device} ({torch.cuda.get_device_name(device)})" if device.type == "cuda" else str(device)


def _below(first: "Image", second: "Image") -> "Image":
    from PIL import Image

    joined = Image.new("RGB", (first.width, first.height + second.height), "white")
    joined.paste(first, (0, 0))
    joined.paste(second, (0, first.height))
    return joined


def _require_writable(output: Path) -> None:
    """Fail before the work and not after it."""
    output.mkdir(parents=True, exist_ok=True)
    trial = output / f".{METRICS_FILE}.partial"
    trial.touch()
    trial.unlink()


def _write(output: Path, report: Report, picture: "Image") -> None:
    """Write both files beside their places and rename them: a file that exists is whole."""
    partial = output / f".{METRICS_FILE}.partial", output / f".{PICTURE_FILE}.partial"
    partial[0].write_text(report.dumps(), encoding="utf-8")
    picture.save(partial[1], format="PNG", optimize=True)
    for path, name in zip(partial, (METRICS_FILE, PICTURE_FILE), strict=True):
        os.replace(path, output / name)
