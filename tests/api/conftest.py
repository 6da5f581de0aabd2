"""A real server of the API for each test, small media made on the spot, and a look at what a request left behind."""

from __future__ import annotations

import io
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import imageio_ffmpeg
import pytest
import redis
import uvicorn
from fastapi import FastAPI
from PIL import Image

from api.app import create_app
from api.settings import ApiSettings
from tests.conftest import wait_until
from worker.job_store import JobStore
from worker.jobs import FOLDERS
from worker.settings import Settings
from worker.storage import Storage, open_storage

UPKEEP_KEYS = {
    f"animato:{name}"
    for name in ("housekeeper", "object_sweeper", "orphan_sweep", "storage-mark", "link-secret", "counts")
}
"""What belongs to the installation and not to a request."""


@dataclass(frozen=True, kw_only=True)
class Service:
    """A running API and what stands behind it."""

    http: httpx.Client
    port: int
    settings: Settings
    job_store: JobStore
    storage: Storage
    redis: redis.Redis
    server: uvicorn.Server
    app: FastAPI

    def post(self, files: object, data: dict[str, str] | None = None) -> httpx.Response:
        return self.http.post("/animations", files=files, data=data)  # pyright: ignore[reportArgumentType]

    def reset(self) -> None:
        """Empty the queue and the storage, when no request is going on (the doorbell rings after the answer)."""
        wait_until(lambda: not self.server.server_state.tasks, "all requests have ended")
        self.redis.flushdb()
        for key in [key for folder in FOLDERS for key in self.storage.list_keys(folder)]:
            self.storage.delete(key)

    def assert_nothing_left(self) -> None:
        """No file in the upload folder or the storage, no key in Redis, no child process."""
        wait_until(lambda: not self.uploaded_files(), "the upload folder is empty")
        assert [key for folder in FOLDERS for key in self.storage.list_keys(folder)] == []
        keys: list[str] = self.redis.keys("animato:*")  # pyright: ignore[reportAssignmentType]
        assert [key for key in keys if key not in UPKEEP_KEYS] == []
        children = Path("/proc/self/task")
        found = [pid for task in children.iterdir() for pid in (task / "children").read_text().split()]
        assert [pid for pid in found if "ffmpeg" in _command_of(pid) or "confinement" in _command_of(pid)] == []

    def uploaded_files(self) -> list[Path]:
        folder = self.settings.data_dir / "uploads"
        return [path for path in folder.glob("api-*/*/**/*") if path.is_file()] + list(folder.glob("api-*/*/"))


def _command_of(pid: str) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text()
    except OSError:
        return ""


@contextmanager
def running(settings: Settings, *, host: str = "127.0.0.1", **api: object) -> Iterator[Service]:
    """The API under uvicorn on a free port of `host`; `http` reaches it on the loopback."""
    listener = socket.create_server((host, 0))
    port = listener.getsockname()[1]
    app = create_app(settings, ApiSettings(**{"disk_reserve_bytes": 0, **api}))  # pyright: ignore[reportArgumentType]
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, access_log=False))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, name="api")
    thread.start()
    service = Service(
        http=httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30),
        port=port,
        settings=settings,
        job_store=JobStore.connect(settings),
        storage=open_storage(settings),
        redis=redis.Redis.from_url(settings.redis_url, decode_responses=True),
        server=server,
        app=app,
    )
    try:
        wait_until(lambda: server.started, "the API listens")
        yield service
    finally:
        for client in (service.http, service.job_store, service.redis):
            client.close()
        server.should_exit = True
        thread.join(60)  # on a busy machine, threads of the pool take their time
        assert not thread.is_alive()


@pytest.fixture
def serve(settings: Settings) -> Iterator[Callable[..., Service]]:
    """Starts the API with other settings: `serve(body_max_bytes=...)`, `serve(settings=...)`."""
    with ExitStack() as stack:
        yield lambda settings=settings, **api: stack.enter_context(running(settings, **api))


@pytest.fixture(scope="session")
def shared_service(redis_socket: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """One API for all tests that need nothing special. Its housekeeper sleeps, so that no test meets it."""
    settings = Settings(redis_url=f"unix://{redis_socket}?db=4000", data_dir=tmp_path_factory.mktemp("service"))
    with running(settings, housekeeping_interval_s=3600) as service:
        yield service


@pytest.fixture
def service(shared_service: Service) -> Service:
    """The API as it is by default, with nothing in its queue and storage."""
    shared_service.reset()
    return shared_service


@pytest.fixture(scope="session")
def picture() -> bytes:
    """A small PNG."""
    return make_picture(80, 72)


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A short MP4: 5 frames of 96 × 64 at 10 frames a second."""
    return make_clip(tmp_path_factory.mktemp("clip"), "testsrc=size=96x64:rate=10:duration=0.5")


@pytest.fixture
def files(picture: bytes, clip: bytes) -> dict[str, tuple[str, bytes]]:
    """The two files of a form that is accepted."""
    return {"source_image": ("face.png", picture), "driving_video": ("talk.mp4", clip)}


def make_picture(width: int, height: int, image_format: str = "PNG") -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (width, height), (200, 120, 40)).save(stream, image_format)
    return stream.getvalue()


def make_clip(folder: Path, source: str) -> bytes:
    path = folder / "clip.mp4"
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-y", "-f", "lavfi", "-i", source, "-pix_fmt", "yuv420p"]
    subprocess.run([*command, str(path)], check=True)
    return path.read_bytes()


def assert_problem(response: httpx.Response, status: int, code: str, field: str | None = None) -> dict[str, object]:
    """The response is a problem with this status and code; its JSON."""
    problem = response.json()
    assert (response.status_code, problem["code"]) == (status, code), response.text
    assert response.headers["content-type"] == "application/problem+json"
    assert problem["type"] == f"urn:animato:problem:{code}"
    assert problem["status"] == status
    assert problem["title"]
    assert problem["detail"]
    assert problem["request_id"] == response.headers["x-request-id"]
    assert problem["instance"] == response.request.url.path
    assert problem.get("field") == field
    if status in (429, 503):
        assert int(response.headers["retry-after"]) > 0
    return problem
