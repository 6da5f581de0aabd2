"""Fixtures that many tests share: a real Redis of this test run, settings on a temporary folder, a store, a storage."""

from __future__ import annotations

import gc
import itertools
import os

# One thread a process: the tests run side by side, and torch's threads spin while they wait for a busy core.
os.environ.setdefault("OMP_NUM_THREADS", "1")
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from fractions import Fraction
from pathlib import Path

import httpx
import pytest
import redis
import yaml

from tests.scheduling import SharedScheduling, in_order
from worker import media
from worker.embedded import find_redis_server, redis_arguments
from worker.errors import StorageUnavailable
from worker.job_store import JobStore
from worker.jobs import ImageFacts, JobInput, JobResult, VideoFacts
from worker.settings import UNLIMITED, Settings
from worker.storage import Storage, open_storage

REPOSITORY = Path(__file__).resolve().parent.parent
_database = itertools.count()
_DISK_BYTES, _DISK_SHARE = 3 << 30, 50
"""Free space: what the tests write, and twice the hundredth of a disk below which SeaweedFS stops to take anything."""
S3_KEYS = {"AWS_ACCESS_KEY_ID": "animato-test", "AWS_SECRET_ACCESS_KEY": "animato-test-secret"}


@pytest.hookimpl(optionalhook=True)
def pytest_configure() -> None:
    """A shell's background jobs ignore Ctrl-C, and so would every command that a test starts and interrupts."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_sessionstart(session: pytest.Session) -> None:
    """A disk that is nearly full would come out as failures of tests that have nothing to do with it."""
    if hasattr(session.config, "workerinput"):
        return
    folder = session.config.getoption("basetemp") or tempfile.gettempdir()
    disk = shutil.disk_usage(folder if Path(folder).exists() else Path(folder).parent)
    needed_bytes = max(_DISK_BYTES, disk.total // _DISK_SHARE)
    if disk.free < needed_bytes:
        reason = f"The tests want {needed_bytes / 2**30:.1f} GiB of free space in {folder}, which has"
        pytest.exit(
            f"{reason} {disk.free / 2**30:.1f}. TMPDIR names another folder.", returncode=pytest.ExitCode.USAGE_ERROR
        )


def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> SharedScheduling:
    """Who runs what, when several processes share the tests."""
    return SharedScheduling(config, log)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """In a run of several processes: what takes long begins early."""
    if hasattr(config, "workerinput"):
        items[:] = in_order(items)


def pytest_collection_finish() -> None:
    """Two thousand tests and their libraries are a million objects, which every collection of garbage would visit."""
    gc.freeze()


@pytest.fixture(scope="session")
def redis_socket(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The unix socket of a Redis server that lives as long as the test run."""
    # A socket's path may have 107 bytes at most: pytest's own temporary folders can be longer.
    folder = Path(tmp_path_factory.mktemp("redis"))
    socket = folder / "redis.sock"
    arguments = [*redis_arguments(find_redis_server(), folder, socket), "--databases", "4096"]
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(arguments, stdout=log, stderr=log)
    client = redis.Redis(unix_socket_path=str(socket))
    wait_until(lambda: socket.exists() and bool(client.ping()), "Redis answers")
    client.close()
    yield socket
    server.terminate()
    server.wait(10)
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def redis_url(redis_socket: Path) -> str:
    """A database of its own for each test."""
    return f"unix://{redis_socket}?db={next(_database)}"


@pytest.fixture
def settings(redis_url: str, tmp_path: Path) -> Settings:
    """Settings on a fresh database and a temporary folder."""
    return Settings(redis_url=redis_url, data_dir=tmp_path / "data")


@pytest.fixture
def job_store(settings: Settings) -> Iterator[JobStore]:
    """The job store of `settings`."""
    store = JobStore.connect(settings)
    yield store
    store.close()


@pytest.fixture
def storage(settings: Settings) -> Storage:
    """A local folder as storage."""
    return open_storage(settings)


@pytest.fixture(scope="module")
def s3_settings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """Settings for a bucket on a SeaweedFS server that lives as long as the tests of a file.

    Not longer: with nothing to do it takes 7% of a core, and four of them a sixth of two cores.
    """
    with running_s3(tmp_path_factory.mktemp("weed")) as settings:
        yield settings


@contextmanager
def running_s3(folder: Path, *more: str, vacuum_every_s: int = 600) -> Iterator[Settings]:
    """Settings for a bucket on a SeaweedFS server that lives as long as the block, run as docker-compose.yml runs it.

    With more of its options, if any.
    """
    ports = {name: free_port() for name in ("master", "volume", "filer", "s3", "admin")}
    compose = yaml.safe_load((REPOSITORY / "docker-compose.yml").read_text())
    *shell, script, name = compose["services"]["object-store"]["entrypoint"]
    changes = {"$$": "$", "/data": str(folder), ":9333": f":{ports['master']}", "sleep 600": f"sleep {vacuum_every_s}"}
    for old, new in changes.items():
        assert old in script
        script = script.replace(old, new)
    arguments = [*shell, script, name, "-ip=127.0.0.1", "-ip.bind=127.0.0.1"]
    arguments += [f"-{name}.port={ports[name]}" for name in ("master", "volume", "filer", "s3")]
    arguments += ["-s3.port.iceberg=0", "-s3.port.lance=0", *more]  # else at ports that every such server wants
    with (folder / "log").open("wb") as log:
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        environment = {**os.environ, **S3_KEYS, "S3_BUCKET": "animations", "PATH": path}
        server = subprocess.Popen(arguments, env=environment, stdout=log, stderr=log, start_new_session=True)
    url = f"http://127.0.0.1:{ports['s3']}"
    settings = Settings(
        storage_url="s3://animations/tests",
        storage_endpoint_url=url,
        storage_access_key_id=S3_KEYS["AWS_ACCESS_KEY_ID"],
        storage_secret_access_key=S3_KEYS["AWS_SECRET_ACCESS_KEY"],
    )
    probe_file = folder / "probe"
    probe_file.write_bytes(b"x")

    def accepts_objects() -> bool:
        if server.poll() is not None:
            raise AssertionError((folder / "log").read_text()[-3000:])
        try:
            if httpx.get(f"{url}/healthz").is_error:
                return False
            open_storage(settings).put_file("probe", probe_file, "text/plain")
        except (httpx.TransportError, StorageUnavailable):
            return False
        open_storage(settings).delete("probe")
        return True

    try:
        wait_until(accepts_objects, "the S3 server accepts objects", timeout_s=60)
        yield settings
    finally:
        # The shell's loop as well. Asked to end, it would wait for connections that nobody uses, or for a full disk.
        with suppress(ProcessLookupError):
            os.killpg(server.pid, signal.SIGKILL)
        server.wait()


@pytest.fixture(scope="session")
def media_dir() -> Path:
    """Real clips and pictures for trying the software on; they do not come with the repository."""
    folder = Path(os.environ.get("ANIMATO_TEST_MEDIA", REPOSITORY.parent / "shared" / "media"))
    if not folder.is_dir():
        pytest.skip("set ANIMATO_TEST_MEDIA to a folder with sample media")
    return folder


def job_result(**changes: object) -> JobResult:
    """The result of an animation that nobody has drawn, with `changes`."""
    result = JobResult(
        key="animations/x/result-1.mp4",
        media_type="video/mp4",
        size_bytes=1,
        sha256="2" * 64,
        width=256,
        height=256,
        fps="25/1",
        frames=100,
        duration_s=4.0,
        has_audio=False,
        model="avatars-256",
    )
    return result.model_copy(update=changes)


def children_of(pid: int) -> list[int]:
    """The ids of the processes that a process has started; none of one that has ended."""
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        with suppress(OSError):
            found += [int(child) for child in task.read_text().split()]
    return found


def decoding_children() -> list[int]:
    """The ids of all ffmpeg processes and picture decoders, zombies included, that this process started."""
    return [pid for pid in children_of(os.getpid()) if _decodes(Path(f"/proc/{pid}"))]


def _decodes(process: Path) -> bool:
    state = (process / "stat").read_text().rsplit(")", 1)[1].split()[0]
    name = (process / "comm").read_text()
    # A zombie has no command line any more; of ours that are Python, only decoders are left to become one.
    return name.startswith("ffmpeg") or state == "Z" or "confinement.py" in (process / "cmdline").read_text()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_until(condition: Callable[[], bool], what: str, timeout_s: float = 30.0) -> None:
    """Wait for `condition`, looking often. Errors of a connection that is not there yet count as not yet."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        try:
            if condition():
                return
        except (redis.ConnectionError, OSError):
            pass
        time.sleep(0.02)
    raise AssertionError(f"waited {timeout_s} s in vain until {what}")


@pytest.fixture
def job_input() -> JobInput:
    """The input of an animation that nobody will run."""
    image = ImageFacts(media_type="image/png", width=256, height=256, size_bytes=10, sha256="0" * 64)
    video = VideoFacts(
        media_type="video/mp4",
        codec="h264",
        width=256,
        height=256,
        fps="25/1",
        frames=100,
        duration_s=4.0,
        rotation_deg=0,
        variable_frame_rate=False,
        has_audio=False,
        has_alpha=False,
        size_bytes=20,
        sha256="1" * 64,
    )
    return JobInput(source_key="a/source", source=image, driving_key="a/driving", driving=video)


@pytest.fixture(scope="session")
def short_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first 16 frames of a drawn clip, with its sound."""
    path = tmp_path_factory.mktemp("clip") / "short.mp4"
    sample = REPOSITORY / "tests" / "samples" / "driving.mp4"
    facts = media.probe_video(sample, UNLIMITED)
    first = next(iter(media.read_frames(sample, facts, batch_frames=16, limits=UNLIMITED)))
    media.write_video(path, [first], fps=Fraction(25), width=256, height=256, audio_from=sample)
    return path
