"""The whole service as people get it: `animato up` in its own processes, spoken to over HTTP."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest

from tests.conftest import REPOSITORY, wait_until
from worker import media
from worker.job_store import JobStore
from worker.settings import UNLIMITED, Settings
from worker.storage import open_storage

SAMPLES = REPOSITORY / "api" / "samples"
FINAL = {"succeeded", "failed", "canceled"}


class Service(NamedTuple):
    client: httpx.Client
    process: subprocess.Popen[str]
    data_dir: Path

    def submit(self, driving: Path = SAMPLES / "driving.mp4", **options: str) -> Any:
        with (SAMPLES / "source.png").open("rb") as image, driving.open("rb") as clip:
            answer = self.client.post("/animations", files={"source_image": image, "driving_video": clip}, data=options)
        assert answer.status_code == 202, answer.text
        assert answer.headers["location"] == f"/animations/{answer.json()['id']}"
        return answer.json()

    def read(self, animation: Any) -> Any:
        return self.client.get(animation["links"]["self"]).raise_for_status().json()

    def finished(self, animation: Any, timeout_s: float = 240) -> Any:
        wait_until(lambda: self.read(animation)["status"] in FINAL, f"{animation['id']} ends", timeout_s)
        return self.read(animation)

    def processing(self, animation: Any) -> Any:
        """Wait until some frames are done, but not all."""

        def running() -> bool:
            now = self.read(animation)
            assert now["status"] in ("queued", "processing"), now
            return now["progress"]["frames_done"] > 0

        # The keypoints of the whole clip are read before the first frame is drawn.
        wait_until(running, "frames are done", timeout_s=200)
        return self.read(animation)

    def store(self) -> JobStore:
        return JobStore.connect(Settings(redis_url=f"unix://{self.socket()}"))

    def socket(self) -> Path:
        found = re.search(rb"ready to accept connections at (\S+)", (self.data_dir / "logs" / "redis.log").read_bytes())
        assert found
        return Path(os.fsdecode(found[1]))

    def worker_pids(self) -> list[int]:
        """The worker's processes, its parent first: those whose environment names our data directory."""
        pids = []
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                if (
                    b"worker.engine.tasks" in (folder / "cmdline").read_bytes()
                    and f"ANIMATO_DATA_DIR={self.data_dir}\0".encode() in (folder / "environ").read_bytes()
                ):
                    pids.append(int(folder.name))
            except OSError:
                continue
        return sorted(pids)


@contextmanager
def running(data_dir: Path, **environment: str) -> Iterator[Service]:
    """`animato up` on a free port; stopped with SIGTERM at the end, and it must end by itself and cleanly."""
    process = subprocess.Popen(
        [sys.executable, "animato.py", "up", "--port", "0", "--data-dir", str(data_dir)],
        cwd=REPOSITORY,
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        found = re.search(r"http://\S+", line)
        assert found, line
        with httpx.Client(base_url=found[0], timeout=30) as client:
            service = Service(client, process, data_dir)

            def ready() -> bool:
                try:
                    return client.get("/readyz").is_success
                except httpx.TransportError:
                    return False

            wait_until(ready, "the service is ready")
            yield service
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(90)
        process.stdout.close() if process.stdout else None
    assert process.returncode == 0


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    # A lease short enough for the test's time, and long enough not to end by itself on a busy machine.
    with running(
        tmp_path_factory.mktemp("data"), ANIMATO_LEASE_S="20", ANIMATO_HEARTBEAT_S="4", ANIMATO_BATCH_FRAMES="4"
    ) as service:
        yield service


def test_post_poll_download(service: Service, tmp_path: Path) -> None:
    animation = service.submit(motion_transfer="relative")
    assert animation["status"] in ("queued", "processing")
    done = service.finished(animation)
    assert done["status"] == "succeeded", done
    assert done["progress"] == {"percent": 100, "frames_done": 107, "frames_total": 107}
    assert (done["attempt"], done["error"], done["options"]["model"]) == (1, None, "avatars-256")

    answer = service.client.get(done["links"]["result"]).raise_for_status()
    assert answer.headers["content-type"] == "video/mp4"
    video = tmp_path / "result.mp4"
    video.write_bytes(answer.content)
    driving, result = (media.probe_video(path, UNLIMITED) for path in (SAMPLES / "driving.mp4", video))
    assert (result.frames, Fraction(result.fps), result.has_audio) == (driving.frames, Fraction(driving.fps), True)
    assert (result.width, result.height, result.codec) == (256, 256, "h264")
    assert result.sha256 == done["result"]["sha256"]
    assert list((service.data_dir / "work").iterdir()) == [], "nothing is left in the worker's folder"
    uploads = [path for path in (service.data_dir / "uploads").rglob("*") if path.is_file()]
    assert {path.name for path in uploads} == {"lock"}, "nor in the API's"


def test_the_parent_of_the_pool_has_no_torch(service: Service) -> None:
    wait_until(lambda: len(service.worker_pids()) >= 2, "the worker has a parent and a child")
    parent = service.worker_pids()[0]
    assert "libtorch" not in Path(f"/proc/{parent}/maps").read_text()


def test_killing_the_worker_in_mid_job_loses_nothing(service: Service) -> None:
    animation = service.submit()
    service.processing(animation)
    for pid in service.worker_pids():
        os.kill(pid, signal.SIGKILL)
    done = service.finished(animation)
    assert (done["status"], done["attempt"]) == ("succeeded", 2), done
    keys = sorted(open_storage(Settings(data_dir=service.data_dir)).list_keys(f"animations/{animation['id']}"))
    assert [key for key in keys if "result" in key] == [next(key for key in keys if "result" in key)], "one result"
    assert len(keys) == 3


def test_a_dead_child_is_replaced_without_waiting_for_its_lease(tmp_path: Path) -> None:
    with running(tmp_path / "data", ANIMATO_LEASE_S="3600", ANIMATO_BATCH_FRAMES="4") as patient:
        animation = patient.submit()
        patient.processing(animation)
        os.kill(patient.worker_pids()[-1], signal.SIGKILL)
        done = patient.finished(animation)
    assert (done["status"], done["attempt"]) == ("succeeded", 2), done


def test_cancel_stops_running_work_and_the_next_job_runs(service: Service, short_clip: Path) -> None:
    running_one, next_one = service.submit(), service.submit(driving=short_clip, audio="false")
    service.processing(running_one)
    assert service.read(next_one)["queue_position"] == 0
    assert service.client.post(running_one["links"]["cancel"]).status_code == 202
    assert service.finished(running_one)["status"] == "canceled"
    done = service.finished(next_one)
    assert (done["status"], done["result"]["has_audio"]) == ("succeeded", False)


def test_the_worker_heartbeat_file_is_touched(service: Service) -> None:
    alive = service.data_dir / "worker-alive"
    wait_until(alive.exists, "the heartbeat file is there")
    before = alive.stat().st_mtime_ns
    wait_until(lambda: alive.stat().st_mtime_ns > before, "the file is touched again")


def test_a_second_instance_on_the_same_data_is_refused(service: Service) -> None:
    second = subprocess.run(
        [sys.executable, "animato.py", "up", "--port", "0", "--data-dir", str(service.data_dir)],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert second.returncode == 1
    assert "[data_dir_in_use]" in second.stderr
    assert str(service.process.pid) in second.stderr
    assert "Traceback" not in second.stderr
    assert service.client.get("/readyz").is_success


def test_what_was_queued_is_resumed_by_the_next_start(tmp_path: Path, short_clip: Path) -> None:
    short = {"ANIMATO_LEASE_S": "20", "ANIMATO_HEARTBEAT_S": "4"}  # shorter ones end by themselves on a busy machine
    with running(tmp_path / "data", **short) as first:
        animations = [first.submit(), first.submit(driving=short_clip)]
        first.processing(animations[0])
        # The power goes: nothing is drained.
        for pid in (first.process.pid, *first.worker_pids()):
            os.kill(pid, signal.SIGSTOP)
        os.kill(first.process.pid, signal.SIGKILL)
        first.process.wait()
        for pid in first.worker_pids():
            os.kill(pid, signal.SIGKILL)
        socket = first.socket()
        wait_until(lambda: not socket.exists(), "the orphaned Redis has ended")
        first.process.returncode = 0  # killed on purpose
    with running(tmp_path / "data", **short) as second:
        for animation in animations:
            assert second.finished(animation)["status"] == "succeeded"
        page = second.client.get("/animations").raise_for_status().json()
        assert {item["id"] for item in page["data"]} == {animation["id"] for animation in animations}


def test_logs_are_json_and_carry_the_animation_id(service: Service, short_clip: Path) -> None:
    animation = service.finished(service.submit(driving=short_clip))

    def mine() -> list[str]:
        lines = (service.data_dir / "logs" / "worker.log").read_text().splitlines()
        events = [json.loads(line) for line in lines if line.startswith("{") and line.endswith("}")]
        return [event["event"] for event in events if event.get("animation_id") == animation["id"]]

    wait_until(lambda: mine()[-1:] == ["animation_succeeded"], "the worker has written what it has committed")
    assert mine()[0] == "animation_claimed"
