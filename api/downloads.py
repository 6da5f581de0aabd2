"""An object of the storage as an answer: conditional requests, one range, a redirect where the settings say so."""

from __future__ import annotations

from fastapi import Request, Response
from fastapi.responses import StreamingResponse

from api.dependencies import Services
from api.entity_tags import matches
from api.errors import Gone, RangeOutside
from api.ranges import RangeNotSatisfiable, parse_range
from api.threads import in_thread


async def download(
    request: Request,
    services: Services,
    *,
    key: str,
    media_type: str,
    size_bytes: int,
    sha256: str,
    file_name: str,
) -> Response:
    """The object, or the part of it that is asked for. Raises Gone, RangeOutside, StorageUnavailable."""
    etag = f'"{sha256}"'
    headers = {
        "ETag": etag,
        "Accept-Ranges": "bytes",
        # Kept by the client if it likes, but asked for again each time: it may be deleted.
        "Cache-Control": "private, no-cache",
    }
    if "signature" in request.query_params:
        # Who has the link may show the video in a page of their own.
        headers["Cross-Origin-Resource-Policy"] = "cross-origin"
    if matches(request.headers.get("if-none-match"), etag):
        return Response(status_code=304, headers=headers)
    wanted = None
    # A range of another version than the client has would make a broken file: then the whole is sent.
    # A range has a meaning for GET only (RFC 9110, 14.2).
    if request.method == "GET" and request.headers.get("if-range", etag) == etag:
        try:
            wanted = parse_range(request.headers.get("range"), size_bytes)
        except RangeNotSatisfiable as error:
            raise RangeOutside(
                f"The file has {size_bytes} bytes.",
                headers={"Content-Range": f"bytes */{size_bytes}", **headers},
            ) from error
    start, stop = wanted or (0, size_bytes)
    headers["Content-Length"] = str(stop - start)
    headers["Content-Disposition"] = f'attachment; filename="{file_name}"'
    if wanted:
        headers["Content-Range"] = f"bytes {start}-{stop - 1}/{size_bytes}"
    status = 206 if wanted else 200
    try:
        if request.method == "HEAD":
            await in_thread(services.storage.head, key)
            return Response(status_code=status, headers=headers, media_type=media_type)
        if services.api_settings.result_redirect:
            await in_thread(services.storage.head, key)
            ttl_s = services.api_settings.link_ttl_s
            if url := await in_thread(services.storage.presigned_url, key, ttl_s):
                return Response(status_code=307, headers={"Location": url, "Cache-Control": "no-store"})
        chunks = await in_thread(services.storage.read, key, start, stop)
    except FileNotFoundError as error:
        raise Gone("The file is no longer stored.") from error
    return StreamingResponse(chunks, status_code=status, headers=headers, media_type=media_type)
