"""A real API with real Redis and storage; the test is the worker, so that it decides when what happens."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from client.service import Animation
from tests.api.conftest import Service as Api
from tests.api.conftest import make_clip, make_picture, running
from tests.api.media_host import media_host
from tests.client.cutting_proxy import CuttingProxy, cutting_proxy
from tests.conftest import job_result
from worker.jobs import Job, JobError
from worker.settings import Settings

RESULT = bytes(range(256)) * 4000


@dataclass
class Watcher:
    """Who is told how it goes, and remembers."""

    said: list[str] = field(default_factory=list)
    uploads: list[tuple[int, int]] = field(default_factory=list)
    standings: list[Animation] = field(default_factory=list)
    downloads: list[tuple[int, int]] = field(default_factory=list)

    def uploading(self, done: int, total: int) -> None:
        self.uploads.append((done, total))

    def standing(self, animation: Animation) -> None:
        self.standings.append(animation)

    def downloading(self, done: int, total: int) -> None:
        self.downloads.append((done, total))

    def say(self, text: str) -> None:
        self.said.append(text)


@pytest.fixture(scope="session")
def shared_api(redis_socket: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    settings = Settings(redis_url=f"unix://{redis_socket}?db=4020", data_dir=tmp_path_factory.mktemp("api"))
    with running(settings, housekeeping_interval_s=3600, watch_interval_s=0.02) as api:
        yield api


@pytest.fixture
def api(shared_api: Api) -> Api:
    shared_api.reset()
    return shared_api


@pytest.fixture
def proxy(api: Api) -> Iterator[CuttingProxy]:
    with cutting_proxy(api.port) as proxy:
        yield proxy


@pytest.fixture(scope="session")
def pair(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Two files, by the names of their parts."""
    folder = tmp_path_factory.mktemp("pair")
    source, driving = folder / "face.png", folder / "talk.mp4"
    source.write_bytes(make_picture(80, 72))
    driving.write_bytes(make_clip(folder, "testsrc=size=96x64:rate=10:duration=0.5"))
    return {"source_image": source, "driving_video": driving}


def succeed(
    api: Api, animation_id: str, content: bytes = RESULT, sha256: str = "", warnings: tuple[str, ...] = ()
) -> None:
    """Be the worker that ends an animation well."""
    claim = api.job_store.claim(animation_id, "a worker")
    assert claim
    key = f"animations/{animation_id}/result-1.mp4"
    api.storage.put_bytes(key, content)
    digest = sha256 or hashlib.sha256(content).hexdigest()
    result = job_result(key=key, size_bytes=len(content), sha256=digest, warnings=warnings)
    api.job_store.commit(animation_id, claim.fence, result)


def fail(api: Api, animation_id: str) -> None:
    """Be the worker that does not."""
    claim = api.job_store.claim(animation_id, "a worker")
    assert claim
    error = JobError(code="subject_not_found", detail="There is no such face.", hint="Count them.")
    api.job_store.fail(animation_id, claim.fence, error, attempt=1)


def only_job(api: Api) -> Job:
    [job] = api.job_store.page(10)
    return job


@pytest.fixture
def serve() -> Iterator[Callable[..., Api]]:
    """Starts the API with other settings."""
    with ExitStack() as stack:
        yield lambda settings, **api: stack.enter_context(running(settings, housekeeping_interval_s=3600, **api))


@pytest.fixture
def media_server() -> Iterator[str]:
    """The address of a server that is not Animato."""
    with media_host({}) as host:
        yield host.url("")
