"""Download a file of an animation: whole and right under its name, or not at all.

What has arrived stays in a hidden file beside it, named after the content it belongs to, so that a later try, also of
another process, asks for the rest only.
"""

from __future__ import annotations

import base64
import hashlib
import os
import re
from collections.abc import Callable
from pathlib import Path

import httpx

from client.errors import DownloadBroken, Refused
from client.patience import retry_after_s
from client.service import Download, Service, may_pass, refused

_CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+|\*)")
_DIGEST = re.compile(r"(?:^|,)\s*sha-256=:([A-Za-z0-9+/=]+):")
_STRONG_SHA256 = re.compile(r'"([0-9a-f]{64})"')

Report = Callable[[int, int], None]


def download(
    service: Service, path: str, target: Path, facts: Download, report: Report = lambda _done, _total: None
) -> None:
    """Fetch `path` of the service into `target`, which is replaced in one step.

    Raises Refused, Unreachable, DownloadBroken (twice other bytes than the service told of), OSError.
    """
    mark = (facts.sha256 or hashlib.sha256(path.encode()).hexdigest())[:16]
    part = target.with_name(f".{target.name}.{mark}.part")
    for is_last in (False, True):
        expected = _fetch(service, path, part, facts, report)
        if expected is None or expected == _sha256_of(part):
            with part.open("rb") as file:
                os.fsync(file.fileno())
            part.replace(target)
            return
        # Whatever is wrong with these bytes, more of them will not help.
        part.unlink()
        if is_last:
            raise DownloadBroken(
                f"{target.name}: twice the download had another SHA-256 than the service told of.",
                hint="Something between here and the service changes the bytes.",
            )


def _fetch(service: Service, path: str, part: Path, facts: Download, report: Report) -> str | None:
    """Complete `part`; the SHA-256 that it should have, when anybody told it."""
    service.patience.went_forward()
    expected = facts.sha256
    etag = f'"{facts.sha256}"' if facts.sha256 else ""
    while True:
        have = part.stat().st_size if part.exists() else 0
        if have and facts.size_bytes is not None and have >= facts.size_bytes:
            return expected
        headers = {"Accept-Encoding": "identity"}
        if have:
            headers["Range"] = f"bytes={have}-"
            # A storage that downloads are redirected to has tags of its own, and answers with the whole.
            headers |= {"If-Range": etag} if etag else {}
        try:
            with service.opened(path, headers) as answer:
                if answer.status_code == 416:
                    part.unlink()
                    continue
                if may_pass(answer):
                    service.patience.wait(
                        f"The server answered {answer.status_code}.", retry_after_s(answer.headers.get("retry-after"))
                    )
                    continue
                if answer.is_error:
                    raise refused(answer)
                expected = expected or _told(answer)
                _append(answer, part, have, facts.size_bytes, service, report)
                return expected
        except httpx.TransportError as error:
            service.patience.wait(f"The download was cut ({type(error).__name__}).")


def _append(answer: httpx.Response, part: Path, have: int, size: int | None, service: Service, report: Report) -> None:
    """Write the body to where it belongs. Raises httpx.TransportError when it ends too early."""
    begins = 0
    if answer.status_code == 206:
        told = _CONTENT_RANGE.fullmatch(answer.headers.get("content-range", ""))
        if told is None or int(told[1]) != have:
            raise Refused("The server sent another part of the file than was asked for.", code="bad_range")
        begins = have
    total = size or begins + int(answer.headers.get("content-length", "0"))
    with part.open("r+b" if part.exists() else "xb") as file:
        file.truncate(begins)
        file.seek(begins)
        for chunk in answer.iter_bytes():
            file.write(chunk)
            service.patience.went_forward()
            report(file.tell(), total)
        if size is not None and file.tell() < size:
            raise httpx.ReadError("the body ended too early")


def _told(answer: httpx.Response) -> str | None:
    """The SHA-256 of the whole file, from `Content-Digest` (RFC 9530; of a whole answer) or a strong entity tag."""
    if answer.status_code == 200 and (digest := _DIGEST.search(answer.headers.get("content-digest", ""))):
        return base64.b64decode(digest[1]).hex()
    tag = _STRONG_SHA256.fullmatch(answer.headers.get("etag", ""))
    return tag[1] if tag else None


def _sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
