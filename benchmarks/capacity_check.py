"""The simulator beside the service itself: `python -m benchmarks.capacity_check`.

Starts the service as `animato up` does, with one worker child and then with two. First a calibration: clients that
submit again as soon as they have their result, so that no child is ever idle; it gives how long animations run and
what lies between two of them. Then animations that arrive as a Poisson process. The simulator is given the moments of
these arrivals and, a thousand times, times drawn from the calibration, and says what the waits should have been; and
once the very times that the animations took, which leaves the queue alone to be judged.
"""

import argparse
import json
import random
import statistics
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.measuring import RESULTS, circumstances, rounded
from benchmarks.queueing import Arrival, Station, Visit, poisson, simulate
from benchmarks.scratch import scratch_folder
from benchmarks.service import percentiles, seconds_between, short_clip, submit, wait
from worker.embedded import Stack
from worker.settings import Settings

_REPLICATIONS = 1000
_SEED = 1


def main() -> None:
    """Measure, simulate, compare."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.capacity_check", description="Simulated and real.")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--clip-frames", type=int, default=16)
    parser.add_argument("--calibration", type=int, default=20, help="Animations of it, for each worker.")
    parser.add_argument("--jobs", type=int, default=80)
    parser.add_argument("--load", type=float, default=0.7, help="Of what the workers can do, by the calibration.")
    parser.add_argument("--save", action="store_true", help="Write benchmarks/results/capacity-check-N.json.")
    given = parser.parse_args()
    for workers in given.workers:
        report = rounded(_measured(given, workers))
        print(json.dumps(report, indent=2), flush=True)
        if given.save:
            report = {"workers": workers, "settings": vars(given), "circumstances": circumstances(), **report}
            (RESULTS / f"capacity-check-{workers}.json").write_text(json.dumps(report, indent=2) + "\n")


def _measured(given: argparse.Namespace, workers: int) -> dict[str, Any]:
    with scratch_folder() as folder:
        clip = short_clip(folder / "clip.mp4", given.clip_frames)
        settings = Settings(data_dir=folder / "data", worker_concurrency=workers, threads=1, preflight_lane=False)
        with Stack(settings, host="127.0.0.1", port=0, say=lambda _line: None) as stack:
            _closed(stack.url, clip, 2 * workers, 2)  # loads the networks
            calibration = calibrated(_closed(stack.url, clip, 2 * workers, given.calibration // 2), workers)
            rate_per_s = given.load * workers / calibration.slot_s
            done = _arriving(stack.url, clip, poisson(rate_per_s, given.jobs, random.Random(_SEED)))
    arrivals_s = [_moment(one, "created_at") for one in done]
    real = {
        "waits_s": spread([seconds_between(one, "created_at", "started_at") for one in done]),
        "run_s": statistics.mean(seconds_between(one, "started_at", "finished_at") for one in done),
        "animations_a_minute": a_minute(arrivals_s, [_moment(one, "finished_at") for one in done]),
    }
    return {
        "calibration": {"slot_s": calibration.slot_s, "run_s": statistics.mean(calibration.runs_s)},
        "rate_a_minute": 60 * rate_per_s,
        "real": real,
        "simulated": predicted(arrivals_s, calibration, workers),
        "replayed": replayed(done, calibration.between_s, workers),
    }


class Calibration(NamedTuple):
    """What the simulator is told of a worker."""

    runs_s: list[float]
    """From claim to commit."""
    slot_s: float
    """From one claim to the next of a child that never waits, on average."""

    @property
    def between_s(self) -> float:
        """What is not the animation itself: its acknowledgement, the next message, the record."""
        return max(0.0, self.slot_s - statistics.mean(self.runs_s))


def calibrated(done: list[dict[str, Any]], workers: int) -> Calibration:
    """What animations of workers that were never idle say."""
    starts_s = sorted(_moment(one, "started_at") for one in done)
    # The same number of claims a child: from its first to its last there are as many whole slots.
    slots = len(starts_s) - workers
    slot_s = workers * (statistics.mean(starts_s[-workers:]) - statistics.mean(starts_s[:workers])) / slots
    return Calibration([seconds_between(one, "started_at", "finished_at") for one in done], slot_s)


def predicted(arrivals_s: list[float], calibration: Calibration, workers: int) -> dict[str, Any]:
    """What the simulator says of these arrivals: the median over replications, and where 95% of them lie."""
    random_ = random.Random(_SEED)
    found: dict[str, list[float]] = {"animations_a_minute": []}
    for _ in range(_REPLICATIONS):
        takes_s = [random_.choice(calibration.runs_s) + calibration.between_s for _ in arrivals_s]
        jobs = [Arrival(at, [Visit("workers", {"cpu": s})]) for at, s in zip(arrivals_s, takes_s, strict=True)]
        outcome = simulate(jobs, [Station("workers", ["cpu"] * workers)])
        ends_s = [at - calibration.between_s for at in outcome.done_at_s.values()]
        found["animations_a_minute"].append(a_minute(arrivals_s, ends_s))
        for name, value in spread(outcome.waits_s["workers"]).items():
            found.setdefault(f"wait_{name}_s", []).append(value)
    return {name: _interval(values) for name, values in found.items()}


def replayed(done: list[dict[str, Any]], between_s: float, workers: int) -> dict[str, float]:
    """The waits that the simulator says of the very arrivals and run times: what remains is the queue itself."""
    arrivals = [
        Arrival(
            _moment(one, "created_at"),
            [Visit("workers", {"cpu": seconds_between(one, "started_at", "finished_at") + between_s})],
        )
        for one in done
    ]
    return spread(simulate(arrivals, [Station("workers", ["cpu"] * workers)]).waits_s["workers"])


def spread(waits_s: list[float]) -> dict[str, float]:
    """The mean and percentiles."""
    return {"mean": statistics.mean(waits_s), **percentiles(waits_s)}


def a_minute(arrivals_s: Iterable[float], ends_s: Iterable[float]) -> float:
    """How many were done a minute, from the first arrival to the last end."""
    ends = list(ends_s)
    return 60 * len(ends) / (max(ends) - min(arrivals_s))


def _interval(values: list[float]) -> dict[str, float]:
    ordered = sorted(values)
    low, high = (ordered[int(share * (len(ordered) - 1))] for share in (0.025, 0.975))
    return {"median": statistics.median(ordered), "low": low, "high": high}


def _closed(url: str, clip: Path, clients: int, each: int) -> list[dict[str, Any]]:
    with ThreadPoolExecutor(clients) as pool:
        turns = pool.map(lambda _: [wait(url, submit(url, clip)) for _ in range(each)], range(clients))
        return [one for own in turns for one in own]


def _arriving(url: str, clip: Path, moments_s: Iterable[float]) -> list[dict[str, Any]]:
    """Submit at these moments, whatever became of those before; in the order of their records."""
    began_s = time.monotonic()

    def one(at_s: float) -> str:
        time.sleep(max(0.0, began_s + at_s - time.monotonic()))
        return submit(url, clip)

    with ThreadPoolExecutor(32) as pool:
        ids = list(pool.map(one, moments_s))
        return sorted(pool.map(lambda id_: wait(url, id_), ids), key=lambda one: _moment(one, "created_at"))


def _moment(animation: dict[str, Any], name: str) -> float:
    return datetime.fromisoformat(animation[name]).timestamp()


if __name__ == "__main__":
    main()
