"""Receive an upload within its limits of size, time and disk, and look at the two files before anybody relies on them.

Whatever happens, nothing of a request is left on the disk when `receive` is left.
"""

from __future__ import annotations

import errno
import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import anyio
import anyio.to_thread
from starlette.requests import Request

from api.errors import PartRejected, TooLarge, Unavailable, UploadTooSlow
from api.form_reader import DRIVING_VIDEO, SOURCE_IMAGE, FormLimits, FormReader, ReceivedFile
from api.settings import ApiSettings
from worker import logs, pictures
from worker.errors import MediaRejected
from worker.jobs import ImageFacts, VideoFacts
from worker.media import probe_video
from worker.settings import MediaLimits

T = TypeVar("T")
log = logs.get_logger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class ReceivedForm:
    """A complete form: two files on the disk, fields as text."""

    source_image: ReceivedFile
    driving_video: ReceivedFile
    fields: dict[str, str]


@dataclass(kw_only=True, slots=True)
class UploadDesk:
    """Where uploads of this process arrive, and how many at once."""

    folder: Path
    settings: ApiSettings
    media_limits: MediaLimits
    uploads: int = 0
    probes: anyio.CapacityLimiter = field(init=False)

    def __post_init__(self) -> None:
        self.probes = anyio.CapacityLimiter(self.settings.probes_at_once)

    @asynccontextmanager
    async def receive(self, request: Request, fields: Collection[str]) -> AsyncIterator[ReceivedForm]:
        """The form of `request`; its files exist inside the block. Raises ApiError, or ClientDisconnect."""
        if self.uploads >= self.settings.uploads_at_once:
            raise Unavailable(
                "Too many files are being uploaded.", code="too_many_uploads", hint="Try again in a moment."
            )
        self.uploads += 1
        try:
            self._check_disk(request)
            folder = Path(tempfile.mkdtemp(dir=self.folder))
            try:
                yield await self._read(request, folder, fields)
            finally:
                with anyio.CancelScope(shield=True):
                    await anyio.to_thread.run_sync(lambda: shutil.rmtree(folder, ignore_errors=True))
        finally:
            self.uploads -= 1

    async def probe(self, form: ReceivedForm) -> tuple[ImageFacts, VideoFacts]:
        """What the two files are. Raises PartRejected. The picture first: it takes less time to say no to."""
        limits = self.media_limits
        image = await self._probe(SOURCE_IMAGE, lambda: pictures.probe_image(form.source_image.path, limits))
        video = await self._probe(DRIVING_VIDEO, lambda: probe_video(form.driving_video.path, limits))
        return image, video

    async def _probe(self, part: str, probe: Callable[[], T]) -> T:
        try:
            return await anyio.to_thread.run_sync(probe, limiter=self.probes)
        except MediaRejected as error:
            raise PartRejected(part, error) from error

    async def _read(self, request: Request, folder: Path, fields: Collection[str]) -> ReceivedForm:
        settings = self.settings
        limits = FormLimits(
            max_parts=settings.max_parts, field_max_bytes=settings.field_max_bytes, media=self.media_limits
        )
        reader = FormReader(request.headers.get("content-type", ""), folder, fields, limits)
        received_bytes = 0
        try:
            async for chunk in _timed(request.stream(), settings):
                received_bytes += len(chunk)
                # A body with a Content-Length was refused before; this is for one without.
                if received_bytes > settings.body_max_bytes:
                    raise TooLarge(f"The body has more than {settings.body_max_bytes} bytes.")
                await anyio.to_thread.run_sync(reader.write, chunk)
            reader.finish()
        except OSError as error:
            raise _disk_problem(error) from error
        finally:
            reader.close()
        log.info(
            "upload_received",
            size_bytes=received_bytes,
            source_sha256=reader.files[SOURCE_IMAGE].sha256,
            driving_sha256=reader.files[DRIVING_VIDEO].sha256,
        )
        return ReceivedForm(
            source_image=reader.files[SOURCE_IMAGE], driving_video=reader.files[DRIVING_VIDEO], fields=reader.fields
        )

    def _check_disk(self, request: Request) -> None:
        announced_bytes = int(request.headers.get("content-length", "0"))
        free_bytes = shutil.disk_usage(self.folder).free
        if free_bytes - announced_bytes < self.settings.disk_reserve_bytes:
            log.error("disk_full", free_bytes=free_bytes, announced_bytes=announced_bytes)
            raise _disk_full()


async def _timed(stream: AsyncIterator[bytes], settings: ApiSettings) -> AsyncIterator[bytes]:
    """The chunks of `stream`, as long as they come fast enough. (The server has no time limit for bodies.)"""
    started_s = time.monotonic()
    received_bytes = 0
    while True:
        allowed_s = min(
            settings.upload_total_timeout_s,
            settings.upload_grace_s + received_bytes / settings.upload_min_bytes_per_s,
        )
        try:
            with anyio.fail_after(max(0.0, started_s + allowed_s - time.monotonic())):
                chunk = await anext(stream, None)
        except TimeoutError as error:
            raise UploadTooSlow(
                f"The upload was stopped after {allowed_s:.0f} s.",
                hint=f"It must bring {settings.upload_min_bytes_per_s} bytes per second and end within "
                f"{settings.upload_total_timeout_s:.0f} s.",
            ) from error
        if chunk is None:
            return
        received_bytes += len(chunk)
        if chunk:
            yield chunk


def _disk_problem(error: OSError) -> Exception:
    return _disk_full() if error.errno in (errno.ENOSPC, errno.EDQUOT) else error


def _disk_full() -> Unavailable:
    return Unavailable("There is not enough disk space for an upload.", code="disk_full", hint="Tell the operator.")
