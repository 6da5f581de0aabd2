"""`source_url` and `driving_url`: files that the caller keeps elsewhere, fetched before the answer.

The 202 stays a promise: what is accepted was fetched, looked at and stored, so its host is not needed any more.
"""

from __future__ import annotations

import time

import anyio
import anyio.to_thread
from starlette.requests import ClientDisconnect, Request

from api.errors import ApiError, InputUrlRefused, InvalidForm
from api.fetching import Fetch
from api.file_parts import SOURCE_IMAGE, URL_FIELDS, ReceivedFile
from api.outbound import DestinationRefused, OutboundPolicy, check_url
from api.settings import ApiSettings
from api.uploads import ReceivedForm, UploadDesk, disk_problem
from worker import logs

log = logs.get_logger(__name__)


def input_policy(settings: ApiSettings) -> OutboundPolicy:
    """Where the settings let inputs be fetched from."""
    return OutboundPolicy(
        ports=settings.input_ports,
        allow_http=settings.input_url_allow_http,
        networks=settings.input_networks,
        hosts=settings.input_hosts,
        timeout_s=settings.upload_total_timeout_s,
    )


def check_urls(form: ReceivedForm, settings: ApiSettings) -> None:
    """Raise ApiError for URLs that are not allowed as they are. Names are looked up when a connection is made."""
    for part, field in URL_FIELDS.items():
        url = form.fields.get(field)
        if url is None:
            continue
        if not settings.input_hosts:
            raise InvalidForm(
                "This installation fetches no inputs.",
                code="input_urls_disabled",
                field=field,
                hint=f"Send the file as {part}, or tell the operator of ANIMATO_INPUT_URL_HOSTS.",
            )
        if part in form.files:
            raise InvalidForm(f"{field} is given beside {part}: one of them is enough.", field=field)
        try:
            check_url(url, input_policy(settings))
        except DestinationRefused as error:
            raise InputUrlRefused(
                f"{field} cannot be used. {error}",
                field=field,
                hint="Which hosts are allowed is up to the operator (ANIMATO_INPUT_URL_HOSTS).",
            ) from error


async def fetch_inputs(request: Request, form: ReceivedForm, desk: UploadDesk) -> None:
    """Add the files that URLs of `form` stand for, one after the other. Raises ApiError.

    Both share the time of one upload. It ends when the caller leaves: nobody would want what a slow host sends.
    """
    until_s = time.monotonic() + desk.settings.upload_total_timeout_s
    for part, field in URL_FIELDS.items():
        if field in form.fields:
            form.files[part] = await _fetch(request, form, desk, part, until_s)


async def _fetch(request: Request, form: ReceivedForm, desk: UploadDesk, part: str, until_s: float) -> ReceivedFile:
    limits = desk.media_limits
    max_bytes = limits.image_max_bytes if part == SOURCE_IMAGE else limits.video_max_bytes
    desk.check_disk(max_bytes)
    fetch = Fetch(
        part,
        form.fields[URL_FIELDS[part]],
        form.folder / part,
        max_bytes=max_bytes,
        policy=input_policy(desk.settings),
        settings=desk.settings,
        until_s=until_s,
    )
    failure: Exception | None = None
    file: ReceivedFile | None = None
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(_stop_when_left, request, fetch)
        try:
            file = await anyio.to_thread.run_sync(fetch.run, limiter=desk.fetches)
        except (ApiError, OSError) as error:
            # Not through the task group, which would wrap it.
            failure = disk_problem(error) if isinstance(error, OSError) else error
            if fetch.is_unwanted:
                failure = ClientDisconnect()
        tasks.cancel_scope.cancel()
    if file is None:
        raise failure or AssertionError("a fetch ends with a file or an error")
    log.info("input_fetched", field=URL_FIELDS[part], size_bytes=file.size_bytes, sha256=file.sha256)
    return file


async def _stop_when_left(request: Request, fetch: Fetch) -> None:
    try:
        while (await request.receive())["type"] != "http.disconnect":
            pass
        fetch.is_unwanted = True
    finally:
        # Also when this request is given up at the end of the process: a thread cannot be.
        fetch.stop()
