"""The page, its files, and the sample pairs. Open to all: whoever needs a key types it into the page."""

from __future__ import annotations

from contextlib import suppress
from functools import lru_cache
from typing import Literal
from urllib.parse import urlsplit

from fastapi import APIRouter, Request, Response
from pydantic import Field

from api.dependencies import Services, ServicesDep
from api.entity_tags import matches
from api.errors import NotFound
from api.openapi import problems
from api.resource import root_path
from api.schemas import PublicModel
from api.threads import in_thread
from api.web_files import WebFile, WebFiles
from worker.errors import StorageUnavailable

router = APIRouter(tags=["service"])

_FOR_GOOD = "public, max-age=31536000, immutable"
_ASK_AGAIN = "no-cache"
_POLICY = (
    "default-src 'none'",
    "script-src 'self'",
    "style-src 'self'",
    "img-src 'self' blob: data:{storage}",
    "media-src 'self' blob:{storage}",
    "connect-src 'self'",
    "form-action 'none'",
    "base-uri 'none'",
    "frame-ancestors 'none'",
)
"""What a browser may do with the page: nothing comes from elsewhere, but results where a storage sends them itself."""
_PAGE_HEADERS = {
    "Permissions-Policy": "camera=(self), microphone=(self), geolocation=(), payment=(), usb=()",
    "Cross-Origin-Opener-Policy": "same-origin",
}


class SampleFile(PublicModel):
    """A file of a sample pair."""

    url: str = Field(examples=["/samples/source.png"])
    media_type: str
    size_bytes: int


class SamplePair(PublicModel):
    """A picture and a video to try together."""

    id: str
    title: str
    source_image: SampleFile
    driving_video: SampleFile


class SampleList(PublicModel):
    """The sample pairs that come with the service."""

    object: Literal["list"] = "list"
    data: list[SamplePair]


@lru_cache(maxsize=1)
def _files() -> WebFiles:
    return WebFiles()


@router.get("/", include_in_schema=False)
@router.head("/", include_in_schema=False)
async def get_page(request: Request, services: ServicesDep) -> Response:
    """The page."""
    storage = await in_thread(_storage_origin, services) if services.api_settings.result_redirect else ""
    policy = "; ".join(_POLICY).format(storage=storage and f" {storage}")
    return _sent(request, _files().page, _ASK_AGAIN, {"Content-Security-Policy": policy, **_PAGE_HEADERS})


@router.get("/web/{version}/{name}", include_in_schema=False)
@router.head("/web/{version}/{name}", include_in_schema=False)
async def get_asset(request: Request, version: str, name: str) -> Response:
    """A script, style or picture of the page."""
    files = _files()
    if name not in files.assets:
        raise NotFound("The page has no such file.", code="not_found")
    # While several versions serve side by side, a page of the other one gets ours, and does not keep it.
    return _sent(request, files.assets[name], _FOR_GOOD if version == files.version else _ASK_AGAIN)


@router.get(
    "/samples",
    response_model=SampleList,
    operation_id="list_samples",
    summary="List pairs to try at once",
    responses=problems(),
)
async def list_samples(request: Request, response: Response) -> SampleList:
    """Pictures and videos that come with the service, drawn by a program: nobody's, and free to use."""
    files = _files()
    response.headers["Cache-Control"] = _ASK_AGAIN

    def named(name: str) -> SampleFile:
        sample = files.samples[name]
        return SampleFile(
            url=f"{root_path(request)}/samples/{name}", media_type=sample.media_type, size_bytes=len(sample.body)
        )

    return SampleList(
        data=[
            SamplePair(
                id=pair["id"],
                title=pair["title"],
                source_image=named(pair["source_image"]),
                driving_video=named(pair["driving_video"]),
            )
            for pair in files.pairs
        ]
    )


@router.get("/samples/{name}", include_in_schema=False)
@router.head("/samples/{name}", include_in_schema=False)
async def get_sample(request: Request, name: str) -> Response:
    """A file of a sample pair."""
    files = _files()
    if name not in files.samples:
        raise NotFound("There is no such sample.", hint="GET /samples lists those that exist.", code="not_found")
    return _sent(request, files.samples[name], _ASK_AGAIN)


def _sent(request: Request, file: WebFile, cache_control: str, more: dict[str, str] | None = None) -> Response:
    """`file` as an answer, or 304 when the browser has it."""
    headers = {"ETag": file.etag, "Cache-Control": cache_control, **(more or {})}
    if file.is_compressible:
        headers["Vary"] = "Accept-Encoding"
    if matches(request.headers.get("if-none-match"), file.etag):
        return Response(status_code=304, headers=headers)
    body = file.body
    if file.is_compressible and "gzip" in request.headers.get("accept-encoding", ""):
        body, headers["Content-Encoding"] = file.compressed, "gzip"
    return Response(body, headers=headers, media_type=file.media_type)


def _storage_origin(services: Services) -> str:
    """Where downloads are redirected to, as a policy names it; empty when they are not."""
    with suppress(StorageUnavailable):
        if url := services.storage.presigned_url("animations/page", 1):
            parts = urlsplit(url)
            return f"{parts.scheme}://{parts.netloc}"
    return ""
