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
from api.file_parts import DRIVING_VIDEO, FILE_PARTS, SOURCE_IMAGE, URL_FIELDS, ReceivedFile
from api.form_reader import FormLimits, FormReader
from api.settings import ApiSettings
from worker import logs
from worker.errors import MediaRejected
from worker.jobs import ImageFacts, VideoFacts
from worker.media_probe import probe_video
from worker.picture_probe import probe_image
from worker.settings import MediaLimits

_STORES_AT_ONCE = 8

T = TypeVar("T")
log = logs.get_logger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class ReceivedForm:
    """A complete form: files on the disk, fields as text."""

    folder: Path
    """Where its files lie."""
    files: dict[str, ReceivedFile]
    """By the names of their parts; one that a URL stands for is here as soon as it is fetched."""
    fields: dict[str, str]

    @property
    def source_image(self) -> ReceivedFile:
        """The picture."""
        return self.files[SOURCE_IMAGE]

    @property
    def driving_video(self) -> ReceivedFile:
        """The video."""
        return self.files[DRIVING_VIDEO]

    def field_of(self, part: str) -> str:
        """The field that the file `part` came by."""
        url_field = URL_FIELDS[part]
        return url_field if url_field in self.fields else part


@dataclass(kw_only=True, slots=True)
class UploadDesk:
    """Where uploads of this process arrive, and how many at once."""

    folder: Path
    settings: ApiSettings
    media_limits: MediaLimits
    uploads: int = 0
    expected_bytes: int = 0
    """Announced by uploads that are under way, and not yet here."""
    probes: anyio.CapacityLimiter = field(init=False)
    fetches: anyio.CapacityLimiter = field(init=False)
    """Threads that wait for other hosts: not those that requests wait for."""
    stores: anyio.CapacityLimiter = field(init=False)
    """Threads that wait for the disk or the storage with a large file, likewise."""

    def __post_init__(self) -> None:
        self.probes = anyio.CapacityLimiter(self.settings.probes_at_once)
        self.fetches = anyio.CapacityLimiter(self.settings.uploads_at_once)
        self.stores = anyio.CapacityLimiter(_STORES_AT_ONCE)

    @asynccontextmanager
    async def receive(
        self, request: Request, fields: Collection[str], file_parts: Collection[str] = FILE_PARTS
    ) -> AsyncIterator[ReceivedForm]:
        """The form of `request`; its files exist inside the block. Raises ApiError, or ClientDisconnect."""
        if self.uploads >= self.settings.uploads_at_once:
            raise Unavailable(
                "Too many files are being uploaded.", code="too_many_uploads", hint="Try again in a moment."
            )
        self.uploads += 1
        try:
            announced_bytes = int(request.headers.get("content-length", "0"))
            self.check_disk(announced_bytes)
            folder = Path(tempfile.mkdtemp(dir=self.folder))
            try:
                yield await self._read(request, announced_bytes, folder, fields, file_parts)
            finally:
                with anyio.CancelScope(shield=True):
                    await anyio.to_thread.run_sync(lambda: shutil.rmtree(folder, ignore_errors=True))
        finally:
            self.uploads -= 1

    async def probe_image(self, form: ReceivedForm) -> ImageFacts:
        """What the source image is. Raises PartRejected."""
        path = form.source_image.path
        return await self._probe(form.field_of(SOURCE_IMAGE), lambda: probe_image(path, self.media_limits))

    async def probe_video(self, form: ReceivedForm) -> VideoFacts:
        """What the driving video is. Raises PartRejected."""
        path = form.driving_video.path
        return await self._probe(form.field_of(DRIVING_VIDEO), lambda: probe_video(path, self.media_limits))

    async def _probe(self, field: str, probe: Callable[[], T]) -> T:
        try:
            return await anyio.to_thread.run_sync(probe, limiter=self.probes)
        except MediaRejected as error:
            raise PartRejected(field, error) from error

    async def _read(
        self,
        request: Request,
        announced_bytes: int,
        folder: Path,
        fields: Collection[str],
        file_parts: Collection[str],
    ) -> ReceivedForm:
        settings = self.settings
        limits = FormLimits(
            max_parts=settings.max_parts, field_max_bytes=settings.field_max_bytes, media=self.media_limits
        )
        reader = FormReader(request.headers.get("content-type", ""), folder, fields, limits, file_parts)
        received_bytes, to_come_bytes = 0, announced_bytes
        self.expected_bytes += to_come_bytes
        try:
            async for chunk in _timed(request.stream(), settings):
                received_bytes += len(chunk)
                came_bytes = min(len(chunk), to_come_bytes)  # without a Content-Length nothing was expected
                to_come_bytes -= came_bytes
                self.expected_bytes -= came_bytes
                # A body with a Content-Length was refused before; this is for one without.
                if received_bytes > settings.body_max_bytes:
                    raise TooLarge(f"The body has more than {settings.body_max_bytes} bytes.")
                await anyio.to_thread.run_sync(reader.write, chunk)
            reader.finish()
        except OSError as error:
            raise disk_problem(error) from error
        finally:
            self.expected_bytes -= to_come_bytes
            reader.close()
        log.info(
            "upload_received",
            size_bytes=received_bytes,
            **{f"{name}_sha256": file.sha256 for name, file in reader.files.items()},
        )
        return ReceivedForm(folder=folder, files=reader.files, fields=reader.fields)

    def check_disk(self, announced_bytes: int) -> None:
        """Raise Unavailable when the disk has no room for so many bytes more, with what is still to come of others."""
        free_bytes = shutil.disk_usage(self.folder).free - self.expected_bytes
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


def disk_problem(error: OSError) -> Exception:
    """The answer to what the disk said."""
    return _disk_full() if error.errno in (errno.ENOSPC, errno.EDQUOT) else error


def _disk_full() -> Unavailable:
    return Unavailable("There is not enough disk space for an upload.", code="disk_full", hint="Tell the operator.")
