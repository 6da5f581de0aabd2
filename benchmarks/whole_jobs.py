"""A whole job beside its model alone: `python -m benchmarks.whole_jobs --bundle avatars-256`.

Animates the sample pair as the worker does (decode, network, encode, sound) and, in turn with that, runs the network on
the same frames alone. The overhead is what the job takes longer: `overhead` of the time on the clock, `overhead_cpu` of
the processor time with that of the ffmpegs, which counts where all of it shares the same cores. `ceiling_frames_per_s`
is the job once more with a network that takes no time (what it drew is played back): no GPU makes jobs faster than that
on these cores. A preset's name without
an installed bundle means random weights of that network. The last line is JSON.
"""

import argparse
import json
import resource
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.measuring import RESULTS, circumstances, find_model, make_animator, rounded
from benchmarks.scratch import scratch_folder
from model.config import MotionTransferOptions
from model.inference.animator import Animator
from model.inference.motion_transfer import motion_reference
from model.inference.runners import Picture, Runner, finished
from model.networks.keypoints import Keypoints, frames_of
from worker import media, pictures
from worker.engine.animation import animate_video
from worker.engine.stages import Stages
from worker.jobs import AnimationOptions
from worker.settings import UNLIMITED

_SAMPLES = Path(__file__).resolve().parent.parent / "api" / "samples"


def main() -> None:
    """Measure jobs."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.whole_jobs", description="Whole jobs and their overhead."
    )
    parser.add_argument("--bundle", default="avatars-256")
    parser.add_argument("--driving", type=Path, default=_SAMPLES / "driving.mp4")
    parser.add_argument("--source", type=Path, default=_SAMPLES / "source.png")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--driving-crop", default="none", help="`auto` looks for the subject first.")
    parser.add_argument("--save", action="store_true", help="Write benchmarks/results/whole-jobs-NAME.json.")
    report = rounded(measure(parser.parse_args()))
    if parser.parse_args().save:
        RESULTS.mkdir(exist_ok=True)
        name = f"whole-jobs-{report['model']}-{report['precision']}.json"
        (RESULTS / name).write_text(json.dumps(report, indent=2) + "\n")
    for key, value in report.items():
        print(f"{key:26} {value}")
    print(json.dumps(report))


def measure(given: argparse.Namespace) -> dict[str, Any]:
    """Return all figures."""
    if given.threads:
        torch.set_num_threads(given.threads)
    animator = make_animator(find_model(given.bundle), given.device, given.precision)
    facts = media.probe_video(given.driving, UNLIMITED)
    size_px = animator.config.frame_size
    batches = list(media.read_frames(given.driving, facts, batch_frames=given.batch, square_px=size_px))
    source = pictures.load_image(given.source, square_px=size_px)
    networks: list[tuple[float, float]] = []
    jobs: list[tuple[float, float]] = []
    stages = Stages()
    with scratch_folder() as folder:

        def job() -> None:
            nonlocal stages
            stages = Stages()
            animate_video(
                given.source,
                given.driving,
                facts,
                folder / "result.mp4",
                animator,
                AnimationOptions(driving_crop=given.driving_crop, source_crop="none"),
                limits=UNLIMITED,
                batch_frames=given.batch,
                stages=stages,
            )

        for _ in range(given.rounds + 1):
            networks.append(_spent_s(lambda: _network_alone(animator, source, batches)))
            jobs.append(_spent_s(job))
        of_the_job = stages.seconds
        animator._runner = _Played(animator._runner)
        ceilings = [_spent_s(job) for _ in range(given.rounds + 1)]
    # The first round warms up.
    (job_s, job_cpu_s), (network_s, network_cpu_s), (ceiling_s, ceiling_cpu_s) = (
        [statistics.median(times_s) for times_s in zip(*runs[1:], strict=True)] for runs in (jobs, networks, ceilings)
    )
    return {
        "model": given.bundle,
        "precision": animator.precision,
        "device": str(animator.device),
        "batch": given.batch,
        "threads": torch.get_num_threads(),
        "frames": facts.frames,
        "job_s": job_s,
        "network_alone_s": network_s,
        "overhead": job_s / network_s - 1,
        "job_cpu_s": job_cpu_s,
        "network_alone_cpu_s": network_cpu_s,
        "overhead_cpu": job_cpu_s / network_cpu_s - 1,
        "without_network_s": ceiling_s,
        "without_network_cpu_s": ceiling_cpu_s,
        "ceiling_frames_per_s": facts.frames / ceiling_s,
        "highest_memory_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "frames_per_s": facts.frames / job_s,
        "real_time": facts.duration_s / job_s,
        "waits_s_of_the_last": {name: seconds for name, seconds in of_the_job.items() if seconds},
        **circumstances(),
    }


class _Played:
    """A runner that draws what another one drew before: the first run is the other's, the further ones take no time."""

    def __init__(self, runner: Runner) -> None:
        self._runner = runner
        self.ahead = runner.ahead
        self._known: dict[tuple[str, bytes], Any] = {}

    def detect(self, frames_THWC: np.ndarray) -> Keypoints:
        """Return the keypoints."""
        return self._once("detect", frames_THWC[:, ::8, ::8], lambda: self._runner.detect(frames_THWC))

    def prepare(self, source_1HWC: np.ndarray) -> Any:
        """Return what depends on the source."""
        return self._once("prepare", source_1HWC, lambda: self._runner.prepare(source_1HWC))

    def start(self, source: Any, target: Keypoints) -> Callable[[], Picture]:
        """Return the pictures."""

        def draw() -> Picture:
            return self._runner.start(source, target)()

        drawn = self._once("start", target.positions_BK2.cpu().numpy(), draw)
        return lambda: drawn

    def _once(self, what: str, given: np.ndarray, make: Callable[[], Any]) -> Any:
        key = (what, given.tobytes())
        if key not in self._known:
            self._known[key] = make()
        return self._known[key]


def _spent_s(work: Callable[[], None]) -> tuple[float, float]:
    """Return the seconds on the clock and of processor time, that of children that were waited for included."""
    started_s, started_cpu_s = time.perf_counter(), _cpu_s()
    work()
    return time.perf_counter() - started_s, _cpu_s() - started_cpu_s


def _cpu_s() -> float:
    spent = (resource.getrusage(whose) for whose in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in spent)


def _network_alone(animator: Animator, source: np.ndarray, batches: list[np.ndarray]) -> None:
    options = MotionTransferOptions()
    prepared = animator.prepare(source)
    driving = [animator.keypoints(frames_THWC) for frames_THWC in batches]
    reference = motion_reference(prepared.keypoints, frames_of(driving[0], slice(1)), options)
    begun = (animator.start(prepared, part, reference, options) for part in driving)
    for _ in finished(begun, animator.ahead):
        pass


if __name__ == "__main__":
    main()
