"""What an animation costs each part of the service: `python -m benchmarks.capacity_costs`; for `benchmarks.capacity`.

Starts the service as `animato up` does and looks at processor time (API and its children, Redis, worker) before and
after so many of one thing. Processor time is nearly the same on a busy machine; times of a clock are not.
"""

import argparse
import json
import os
import resource
import statistics
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import httpx
import redis

from benchmarks.measuring import RESULTS, circumstances
from benchmarks.scratch import scratch_folder
from benchmarks.service import short_clip, submit, upload_large, wait
from worker import media
from worker.embedded import Stack
from worker.embedded_redis import ADDRESS_FILE
from worker.redis_scripts import JOB
from worker.settings import UNLIMITED, Settings

_SAMPLES = Path(__file__).resolve().parent.parent / "api" / "samples"
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_FEW, _READS, _LARGE_MIB = 6, 200, 32


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.capacity_costs", description="What each part does.")
    parser.add_argument("--save", action="store_true", help="Write benchmarks/results/capacity-costs.json.")
    given = parser.parse_args()
    report = {"circumstances": circumstances(), **measured()}
    report["video"] = video_costs(_SAMPLES / "driving.mp4")
    text = json.dumps(rounded_small(report), indent=2)
    print(text)
    if given.save:
        (RESULTS / "capacity-costs.json").write_text(text + "\n")


def measured() -> dict[str, Any]:
    """The costs of the API, of Redis and of the worker."""
    with scratch_folder() as folder:
        short, long = short_clip(folder / "clip.mp4", 16), _SAMPLES / "driving.mp4"
        settings = Settings(data_dir=folder / "data", threads=1, preflight_lane=False)
        with Stack(settings, host="127.0.0.1", port=0, say=lambda _line: None) as stack:
            client = redis.Redis.from_url(
                (settings.data_dir / "redis" / ADDRESS_FILE).read_text(), decode_responses=True
            )
            look = Look(client)
            wait(stack.url, submit(stack.url, short))
            idle = look.over(lambda: time.sleep(10))
            ids: list[str] = []
            costs = {
                frames: look.over(lambda clip=clip: ids.extend(_animations(stack.url, clip)))
                for frames, clip in {16: short, 107: long}.items()
            }
            reads = look.over(lambda: _reads(stack.url, ids[0]))
            large = look.over(lambda: _large(stack.url, short))
            record_bytes = statistics.mean(client.memory_usage(JOB + one) or 0 for one in ids)
            began_s = time.perf_counter()
            for number in range(_READS):
                client.set("animato:bench", number)
            write_s = (time.perf_counter() - began_s) / _READS
            client.delete("animato:bench")
    return {
        "idle_a_second": {name: value / idle["clock_s"] for name, value in idle.items()},
        "animation": {frames: _each(found, idle, _FEW) for frames, found in costs.items()},
        "read": _each(reads, idle, _READS),
        "upload_mib": _each(large, idle, _LARGE_MIB * 2),
        "redis_write_s": write_s,
        "record_bytes": record_bytes,
    }


def _animations(url: str, clip: Path) -> list[str]:
    """One after the other, so that none waits for another."""
    ids = []
    for _ in range(_FEW):
        ids.append(submit(url, clip))
        wait(url, ids[-1])
    return ids


def _reads(url: str, animation_id: str) -> None:
    with httpx.Client(base_url=url) as client:
        for _ in range(_READS):
            client.get(f"/animations/{animation_id}").raise_for_status()


def _large(url: str, clip: Path) -> None:
    for _ in range(2):
        answer = upload_large(url, clip, _LARGE_MIB << 20)
        httpx.post(f"{url}/animations/{answer['id']}/cancel")


def _each(found: dict[str, float], idle: dict[str, float], count: int) -> dict[str, float]:
    """A single one's share, without what would have been done anyway."""
    share = found["clock_s"] / idle["clock_s"]
    return {name: max(0.0, value - share * idle[name] * (name != "clock_s")) / count for name, value in found.items()}


class Look:
    """Counts of the running service."""

    def __init__(self, client: redis.Redis) -> None:
        self._redis = client
        self._roots = {_part(pid): pid for pid in _children(os.getpid()) if _part(pid)}

    def over(self, work: Callable[[], object]) -> dict[str, float]:
        """What is more after `work` than before."""
        before = self._now()
        work()
        return {name: value - before[name] for name, value in self._now().items()}

    def _now(self) -> dict[str, float]:
        info: Any = self._redis.info("all")
        return {
            "clock_s": time.monotonic(),
            "redis_commands": info["total_commands_processed"],
            "redis_cpu_s": info["used_cpu_sys"] + info["used_cpu_user"],
            "redis_writes": sum(info.get(f"cmdstat_{name}", {}).get("calls", 0) for name in _WRITING),
            **{f"{part}_cpu_s": _cpu_s(pid) for part, pid in self._roots.items() if part != "redis"},
        }


# Scripts count once, whatever they write; kombu's own moves of its messages.
_WRITING = ("evalsha", "lpush", "brpop", "zadd", "zrem", "hset", "hdel", "sadd", "set")


def _part(pid: int) -> str:
    command = Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")
    signs = {"uvicorn": "api", "celery": "worker", "redis": "redis"}
    return next((name for sign, name in signs.items() if sign in command), "")


def _children(pid: int) -> list[int]:
    return [int(c) for task in Path(f"/proc/{pid}/task").glob("*/children") for c in task.read_text().split()]


def _cpu_s(pid: int) -> float:
    """Processor time of a process, of its living descendants, and of those that it has waited for."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return sum(map(int, fields[11:15])) / _TICKS_PER_S + sum(map(_cpu_s, _children(pid)))
    except OSError:
        return 0.0  # it has just ended


def video_costs(clip: Path) -> dict[str, float]:
    """Processor time of ffmpeg for a frame of 256×256: decoded, and encoded; with the fixed part of each."""
    facts = media.probe_video(clip, UNLIMITED)
    frames = [frame for batch in media.read_frames(clip, facts, batch_frames=8, square_px=256) for frame in batch]

    def write(count: int) -> float:
        with scratch_folder() as folder:
            return _of_children(
                lambda: media.write_video(
                    folder / "out.mp4", iter(frames[:count]), fps=Fraction(facts.fps), width=256, height=256
                )
            )

    few, many = write(7), write(len(frames))
    decoded = _of_children(lambda: list(media.read_frames(clip, facts, batch_frames=8, square_px=256)))
    frame_s = (many - few) / (len(frames) - 7)
    return {"decode_frame_s": decoded / len(frames), "encode_frame_s": frame_s, "encode_s": max(0.0, few - 7 * frame_s)}


def _of_children(work: Callable[[], object]) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    work()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def rounded_small(value: Any) -> Any:
    """Return the figures with four digits that count: microseconds would be gone with three after the point."""
    if isinstance(value, dict):
        return {name: rounded_small(inner) for name, inner in value.items()}
    return float(f"{value:.4g}") if isinstance(value, float) else value


if __name__ == "__main__":
    main()
