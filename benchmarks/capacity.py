"""How many of each part for so many animations a minute: `python -m benchmarks.capacity --save -o CHART.png`.

A simulation (`queueing`) of the way of an animation: the API takes it in, Redis notes it, a free worker runs it.
What each step costs is measured (`capacity_costs`, in results/capacity-costs.json); how fast a GPU draws is that of
results/gpu-h200-*.json. Clips are 107 frames on average, their lengths a gamma distribution of shape 2, 10 Mbit/s.
"""

import argparse
import json
import math
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.capacity_chart import draw_chart
from benchmarks.measuring import RESULTS, rounded
from benchmarks.queueing import Arrival, Outcome, Station, Visit, poisson, simulate
from benchmarks.service import percentiles

_MEAN_FRAMES, _SHAPE, _FEWEST_FRAMES = 107, 2.0, 8
_CLIP_BYTES_A_FRAME = 50_000  # 10 Mbit/s at 25 frames/s
_RESULT_BYTES = 300_000
_READS = 6
"""Of a client that waits with `Prefer: wait` or the stream of events, and then fetches its result."""
_RATES_A_MINUTE = (1, 100, 10_000)
_TARGET_P95_S = 10.0
_LINK_BYTES_PER_S = 1.25e9
_SHARE_OF_A_PART = 0.7
"""How busy a part other than the workers may be."""
_WORST_WAIT_S = 600.0
_SEED = 1


@dataclass(frozen=True, kw_only=True)
class Costs:
    """Seconds of one processor, unless it says something else."""

    api_s: float
    api_frame_s: float
    api_mib_s: float
    read_s: float
    redis_s: float
    redis_read_s: float
    redis_worker_s: float
    """Of each second, for each worker that waits: at most, the housekeeper and the API are in it too."""
    redis_writes: float
    redis_write_s: float
    """Of one write that is on the disk before it is answered, one at a time."""
    record_bytes: float
    worker_s: float
    """Of each animation, on every kind: processes of ffmpeg, the search for the subject, the source, storage, Redis."""
    frame_s: dict[str, float]
    """Of each frame, by the kind of the worker."""

    @classmethod
    def load(cls, bundle: str = "avatars-256", folder: Path = RESULTS) -> "Costs":
        """Read what was measured."""
        found = json.loads((folder / "capacity-costs.json").read_text())
        gpu = json.loads((folder / f"gpu-h200-{bundle}.json").read_text())[f"{bundle} bf16 graphs batch 32"]
        short, long = found["animation"]["16"], found["animation"]["107"]

        def slope(name: str) -> float:
            return max(0.0, (long[name] - short[name]) / (107 - 16))

        # Decoding and encoding go on beside the network, each on a processor: the slowest of the three counts.
        video_s = max(found["video"]["decode_frame_s"], found["video"]["encode_frame_s"])
        return cls(
            api_s=short["api_cpu_s"] - 16 * slope("api_cpu_s"),
            api_frame_s=slope("api_cpu_s"),
            api_mib_s=found["upload_mib"]["api_cpu_s"],
            read_s=found["read"]["api_cpu_s"],
            redis_s=long["redis_cpu_s"],
            redis_read_s=found["read"]["redis_cpu_s"],
            redis_worker_s=found["idle_a_second"]["redis_cpu_s"],
            redis_writes=long["redis_writes"],
            redis_write_s=found["redis_write_s"],
            record_bytes=found["record_bytes"],
            worker_s=short["worker_cpu_s"] - 16 * slope("worker_cpu_s"),
            frame_s={"cpu": slope("worker_cpu_s"), "gpu": max(1 / gpu["frames_per_s"], video_s)},
        )

    def api(self, frames: int) -> float:
        """The API's time for an animation: to take it in, and to answer for it."""
        mib = frames * _CLIP_BYTES_A_FRAME / 2**20
        return self.api_s + frames * self.api_frame_s + mib * self.api_mib_s + _READS * self.read_s

    def redis(self) -> float:
        """Redis's time for an animation, reads included."""
        return self.redis_s + _READS * self.redis_read_s

    def worker(self, kind: str, frames: int) -> float:
        """A worker's time for an animation."""
        return self.worker_s + frames * self.frame_s[kind]


def main() -> None:
    """Plan, save, draw."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.capacity", description="How many of each part.")
    parser.add_argument("--save", action="store_true", help="Write benchmarks/results/capacity.json.")
    parser.add_argument("-o", "--output", type=Path, help="Draw a chart into this PNG.")
    given = parser.parse_args()
    costs = Costs.load()
    report: dict[str, Any] = {
        "one_of_each_a_minute": ceilings(costs),
        "plans": [plan(costs, rate, kind) for rate in _RATES_A_MINUTE for kind in ("cpu", "gpu")],
        "p95_wait_s_by_load": {str(count): curve(costs, count) for count in (1, 2, 8, 32)},
    }
    report = rounded(report)
    print(json.dumps(report, indent=2))
    if given.save:
        (RESULTS / "capacity.json").write_text(json.dumps(report, indent=2) + "\n")
    if given.output:
        draw_chart(report, _checks()).save(given.output, optimize=True)


def ceilings(costs: Costs) -> dict[str, float]:
    """How many animations a minute one of each part can do, when it does nothing else."""
    clip_bytes = _MEAN_FRAMES * _CLIP_BYTES_A_FRAME
    demands_s = {
        "cpu worker (1 core)": costs.worker("cpu", _MEAN_FRAMES),
        "gpu worker (1 slot)": costs.worker("gpu", _MEAN_FRAMES),
        "api (1 core)": costs.api(_MEAN_FRAMES),
        "redis, writes one at a time": costs.redis_writes * costs.redis_write_s,
        "redis, its thread": costs.redis(),
        # In and out again of API and store: 10 Gbit/s.
        "network of the store": 2 * (clip_bytes + _RESULT_BYTES) / _LINK_BYTES_PER_S,
    }
    return {name: 60 / demand_s for name, demand_s in demands_s.items()}


def plan(costs: Costs, rate_a_minute: float, kind: str) -> dict[str, Any]:
    """The fewest workers of a kind with which 95% wait no longer than the target, and what the rest must be."""
    per_s = rate_a_minute / 60
    apis = max(1, math.ceil(per_s * costs.api(_MEAN_FRAMES) / _SHARE_OF_A_PART))
    least = math.floor(per_s * costs.worker(kind, _MEAN_FRAMES)) + 1
    workers = next(n for n in _counting(least) if _p95(run(costs, per_s, kind, n, apis)) <= _TARGET_P95_S)
    outcome = run(costs, per_s, kind, workers, apis)
    redis_share = per_s * costs.redis() + workers * costs.redis_worker_s
    kept = rate_a_minute * 60 * 24 * 7
    return {
        "animations_a_minute": rate_a_minute,
        "kind": kind,
        "workers": workers,
        "worker_utilization": outcome.utilization("workers"),
        "queue_wait_s": percentiles(outcome.waits_s["workers"]),
        "api_processes": apis,
        "api_wait_s": percentiles(outcome.waits_s["api"]),
        "redis_servers": max(1, math.ceil(redis_share / _SHARE_OF_A_PART)),
        "redis_share_of_its_thread": redis_share,
        "redis_gb_of_records_in_7_days": kept * costs.record_bytes / 1e9,
        "store_gb_in_7_days": kept * (_MEAN_FRAMES * _CLIP_BYTES_A_FRAME + _RESULT_BYTES) / 1e9,
        "store_mb_per_s": per_s * 2 * (_MEAN_FRAMES * _CLIP_BYTES_A_FRAME + _RESULT_BYTES) / 1e6,
    }


def run(costs: Costs, per_s: float, kind: str, workers: int, apis: int, count: int | None = None) -> Outcome:
    """The service under animations that arrive as a Poisson process."""
    random_ = random.Random(_SEED)
    count = count or max(4000, min(120_000, round(per_s * 1200)))
    # Redis is one thread, and each of several has its share of the animations.
    redis_s = {"thread": costs.redis()}
    redis = ["thread"] * max(1, math.ceil((per_s * costs.redis() + workers * costs.redis_worker_s) / _SHARE_OF_A_PART))

    def arrivals() -> Iterator[Arrival]:
        for at_s in poisson(per_s, count, random.Random(_SEED + 1)):
            frames = max(_FEWEST_FRAMES, round(random_.gammavariate(_SHAPE, _MEAN_FRAMES / _SHAPE)))
            yield Arrival(
                at_s,
                [
                    Visit("api", {"core": costs.api(frames)}),
                    Visit("redis", redis_s),
                    Visit("workers", {kind: costs.worker(kind, frames)}),
                ],
            )

    return simulate(
        arrivals(), [Station("api", ["core"] * apis), Station("redis", redis), Station("workers", [kind] * workers)]
    )


def curve(costs: Costs, workers: int) -> list[tuple[float, float]]:
    """(load, p95 of the wait in the queue) of so many CPU workers."""
    loads = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95)
    each_s = costs.worker("cpu", _MEAN_FRAMES)
    apis = max(2, workers)
    return [(load, _p95(run(costs, load * workers / each_s, "cpu", workers, apis, count=20_000))) for load in loads]


def _p95(outcome: Outcome) -> float:
    return percentiles(outcome.waits_s["workers"])["p95"]


def _counting(first: int) -> Iterator[int]:
    """From `first` on, in steps of a hundredth."""
    while True:
        yield first
        first += max(1, first // 100)


def _checks() -> list[dict[str, Any]]:
    return [json.loads(path.read_text()) for path in sorted(RESULTS.glob("capacity-check-*.json"))]


if __name__ == "__main__":
    main()
