"""The service under load: `python -m benchmarks.service`. Starts all of it, as `animato up` does, in a new folder.

    jobs      N clients submit and wait: jobs/s, the wait in the queue, percentiles of each step
    reads     GET /animations/{id} at a steady rate beside a busy worker: percentiles, counted from when it was due
    uploads   many large forms at once: the API's memory, and the time from the last byte to the 202
    memory    of every process, the highest that was seen in each part

The last line is JSON. Shared pages count once (PSS).
"""

import argparse
import asyncio
import json
import os
import statistics
import struct
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from fractions import Fraction
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx

from benchmarks.measuring import RESULTS, circumstances, rounded
from benchmarks.scratch import scratch_folder
from worker import media
from worker.embedded import Stack
from worker.settings import UNLIMITED, Settings

_SAMPLES = Path(__file__).resolve().parent.parent / "api" / "samples"
_MIB = 1024 * 1024
_CHUNK = 256 * 1024
_READERS = 16


def main() -> None:
    """Measure the service."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.service", description="The service under load.")
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--jobs", type=int, default=4, help="Of each client.")
    parser.add_argument("--clip-frames", type=int, default=16)
    parser.add_argument("--reads-per-s", type=int, default=200)
    parser.add_argument("--read-s", type=float, default=10)
    parser.add_argument("--uploads", type=int, default=50)
    parser.add_argument("--upload-mib", type=int, default=99)
    parser.add_argument("--save", action="store_true", help="Write benchmarks/results/service.json.")
    given = parser.parse_args()
    with scratch_folder() as folder:
        settings = Settings(data_dir=folder / "data")
        with Stack(settings, host="127.0.0.1", port=0, say=lambda _line: None) as stack:
            report = rounded(_measure(given, stack.url, folder))
    for key, value in report.items():
        print(f"{key:12} {value}")
    if given.save:
        RESULTS.mkdir(exist_ok=True)
        (RESULTS / "service.json").write_text(json.dumps(report, indent=2) + "\n")
    print(json.dumps(report))


def _measure(given: argparse.Namespace, url: str, folder: Path) -> dict[str, Any]:
    clip = short_clip(folder / "clip.mp4", given.clip_frames)
    report: dict[str, Any] = {"settings": vars(given), "circumstances": circumstances()}
    wait(url, submit(url, clip))  # loads the network
    for name, part in {
        "jobs": lambda: _jobs(url, clip, given.clients, given.jobs),
        "reads": lambda: _reads(url, clip, given.reads_per_s, given.read_s),
        "uploads": lambda: _uploads(url, clip, given.uploads, given.upload_mib * _MIB),
    }.items():
        # Looking at memory holds up who is looked at: seldom where a few milliseconds count.
        with _memory(every_s=4 if name == "reads" else 0.25) as highest:
            report[name] = part()
        report[name]["memory_mib"] = {process: bytes_ / _MIB for process, bytes_ in sorted(highest.items())}
        print(f"{name}: {rounded(report[name])}", flush=True)
    return report


def _jobs(url: str, clip: Path, clients: int, each: int) -> dict[str, Any]:
    """Every client submits, waits for the end, and submits again."""

    def client(_number: int) -> list[dict[str, float]]:
        own = []
        for _ in range(each):
            started_s = time.monotonic()
            animation_id = submit(url, clip)
            submitted_s = time.monotonic()
            final = wait(url, animation_id)
            own.append(
                {
                    "submit": submitted_s - started_s,
                    "queue": seconds_between(final, "created_at", "started_at"),
                    "run": seconds_between(final, "started_at", "finished_at"),
                    "all": time.monotonic() - started_s,
                }
            )
        return own

    started_s = time.monotonic()
    with ThreadPoolExecutor(clients) as pool:
        done = [one for own in pool.map(client, range(clients)) for one in own]
    return {
        "clients": clients,
        "jobs": len(done),
        "jobs_per_s": len(done) / (time.monotonic() - started_s),
        "seconds": {step: percentiles([one[step] for one in done]) for step in ("submit", "queue", "run", "all")},
    }


def _reads(url: str, clip: Path, per_s: int, seconds: float) -> dict[str, Any]:
    """Reads at a steady rate; a late answer counts from when its request was due, not from when it was sent."""
    busy = [submit(url, clip) for _ in range(8)]
    times_s = asyncio.run(_steady_reads(url, f"/animations/{busy[-1]}", per_s, seconds))
    for animation_id in busy:
        httpx.post(f"{url}/animations/{animation_id}/cancel")
    return {"per_s": per_s, "ms": {name: 1000 * value for name, value in percentiles(times_s).items()}}


async def _steady_reads(url: str, path: str, per_s: int, seconds: float) -> list[float]:
    """The seconds that each answer took. Streams without a client around them: it would want as much as the API."""
    place = urlsplit(url)
    request = f"GET {path} HTTP/1.1\r\nHost: {place.netloc}\r\n\r\n".encode()
    first_due_s = time.monotonic() + 0.1
    times_s: list[float] = []

    async def connection(number: int) -> None:
        reader, writer = await asyncio.open_connection(place.hostname, place.port)
        for turn in range(number, int(per_s * seconds), _READERS):
            due_s = first_due_s + turn / per_s
            await asyncio.sleep(max(0.0, due_s - time.monotonic()))
            writer.write(request)
            head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
            await reader.readexactly(int(head.split("content-length:")[1].split()[0]))
            if not head.startswith("http/1.1 200 "):
                raise RuntimeError(head)
            times_s.append(time.monotonic() - due_s)
        writer.close()

    await asyncio.gather(*map(connection, range(_READERS)))
    return times_s


def _uploads(url: str, clip: Path, count: int, size: int) -> dict[str, Any]:
    """Forms with a valid clip that was made large, all at once."""
    head, tail = _padded(clip, size)
    with ThreadPoolExecutor(count) as pool:
        started_s = time.monotonic()
        answers = list(pool.map(lambda _number: _upload(url, head, tail), range(count)))
        took_s = time.monotonic() - started_s
    for _, body in answers:
        if "id" in body:
            httpx.post(f"{url}/animations/{body['id']}/cancel")
    return {
        "uploads": count,
        "mib_each": size / _MIB,
        "mib_per_s": count * size / _MIB / took_s,
        "accepted": sum("id" in body for _, body in answers),
        "ms_from_last_byte_to_answer": {
            name: 1000 * value for name, value in percentiles([wait_s for wait_s, _ in answers]).items()
        },
    }


def _padded(clip: Path, size: int) -> tuple[bytes, int]:
    """The clip with the head of a box that players skip, and how many bytes are still to come in that box."""
    padding = size - clip.stat().st_size
    return clip.read_bytes() + struct.pack(">I4s", padding, b"free"), padding - 8


def upload_large(url: str, clip: Path, size: int) -> dict[str, Any]:
    """Submit the clip, made so many bytes large; return the answer."""
    return _upload(url, *_padded(clip, size))[1]


def _upload(url: str, head: bytes, tail: int) -> tuple[float, dict[str, Any]]:
    """Send a form piece by piece; return how long the answer took after the last byte, and the answer."""
    line = "--piece\r\nContent-Disposition: form-data; name={!r}; filename={!r}\r\n\r\n"
    source = line.format("source_image", "source.png").replace("'", '"').encode()
    source += (_SAMPLES / "source.png").read_bytes() + b"\r\n"
    driving = line.format("driving_video", "driving.mp4").replace("'", '"').encode() + head
    end = b"\r\n--piece--\r\n"
    connection = HTTPConnection(urlsplit(url).netloc, timeout=600)
    connection.putrequest("POST", "/animations")
    connection.putheader("Content-Type", "multipart/form-data; boundary=piece")
    connection.putheader("Content-Length", str(len(source) + len(driving) + tail + len(end)))
    connection.endheaders()
    connection.send(source + driving)
    zeros = bytes(_CHUNK)
    for start in range(0, tail, _CHUNK):
        connection.send(zeros[: tail - start])
    connection.send(end)
    sent_s = time.monotonic()
    answer = connection.getresponse()
    waited_s = time.monotonic() - sent_s
    body = json.loads(answer.read())
    connection.close()
    return waited_s, body


def submit(url: str, clip: Path) -> str:
    """Submit the clip with the sample picture; return the id."""
    files = {"source_image": (_SAMPLES / "source.png").read_bytes(), "driving_video": clip.read_bytes()}
    answer = httpx.post(f"{url}/animations", files=files, timeout=120)
    answer.raise_for_status()
    return answer.json()["id"]


def wait(url: str, animation_id: str) -> dict[str, Any]:
    """Return the animation when it is final."""
    while True:
        answer = httpx.get(f"{url}/animations/{animation_id}", headers={"Prefer": "wait=20"}, timeout=60)
        answer.raise_for_status()
        if answer.json()["status"] in ("succeeded", "failed", "canceled"):
            return answer.json()


def seconds_between(animation: dict[str, Any], start: str, end: str) -> float:
    """Return the seconds between two moments of an animation."""
    from datetime import datetime

    return (datetime.fromisoformat(animation[end]) - datetime.fromisoformat(animation[start])).total_seconds()


def percentiles(values: list[float]) -> dict[str, float]:
    """Return the median, the 95th and the 99th percentile, and the largest."""
    ordered = sorted(values)
    p95, p99 = (ordered[min(len(ordered) - 1, int(share * len(ordered)))] for share in (0.95, 0.99))
    return {"p50": statistics.median(ordered), "p95": p95, "p99": p99, "max": ordered[-1]}


@contextmanager
def _memory(every_s: float) -> Iterator[dict[str, int]]:
    """The highest memory of each of our processes within the block."""
    highest: dict[str, int] = {}
    ended = threading.Event()

    def look() -> None:
        while not ended.wait(every_s):
            for name, used in _processes(os.getpid()):
                highest[name] = max(highest.get(name, 0), used)

    watcher = threading.Thread(target=look, daemon=True)
    watcher.start()
    try:
        yield highest
    finally:
        ended.set()
        watcher.join()


def _processes(pid: int) -> list[tuple[str, int]]:
    """Names and bytes of the children of a process and of theirs."""
    found = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in _read(task).split():
            command = _read(Path(f"/proc/{child}/cmdline")).replace("\0", " ")
            pss = [line for line in _read(Path(f"/proc/{child}/smaps_rollup")).splitlines() if line.startswith("Pss:")]
            found += [(_name(command, pid), int(pss[0].split()[1]) * 1024)] if pss else []
            found += _processes(int(child))
    return found


def _name(command: str, parent: int) -> str:
    for sign, name in {"uvicorn": "api", "redis": "redis", "valkey": "redis", "ffmpeg": "ffmpeg"}.items():
        if sign in command:
            return name
    if "preflight_lane" in command:
        return "preflight lane"
    if "celery" in command:
        return "worker parent" if parent == os.getpid() else "worker child"
    return "decoder" if "confinement" in command else "other"


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""  # it has just ended


def short_clip(path: Path, frames: int) -> Path:
    """Write the first frames of the sample with its sound."""
    sample = _SAMPLES / "driving.mp4"
    facts = media.probe_video(sample, UNLIMITED)
    first = next(iter(media.read_frames(sample, facts, batch_frames=frames)))
    media.write_video(path, [first], fps=Fraction(facts.fps), width=facts.width, height=facts.height, audio_from=sample)
    return path


if __name__ == "__main__":
    main()
