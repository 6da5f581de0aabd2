"""The `Range` header (RFC 9110, section 14), for one range of bytes."""

from __future__ import annotations

import re
from typing import NamedTuple

_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})", re.IGNORECASE | re.ASCII)


class ByteRange(NamedTuple):
    """From `start` up to, not including, `stop`."""

    start: int
    stop: int


class RangeNotSatisfiable(ValueError):
    """The range lies outside the object."""


def parse_range(header: str | None, size_bytes: int) -> ByteRange | None:
    """The range that is asked for; None means the whole object.

    A header that is no range, or more than one range, is ignored, as the standard allows: many small ranges cost the
    server more than they bring anybody. Raises RangeNotSatisfiable.
    """
    match = _RANGE.fullmatch(header.strip()) if header else None
    if match is None or match.group(1) == match.group(2) == "":
        return None
    first, last = match.groups()
    if not first:  # the last bytes
        start, stop = max(0, size_bytes - int(last)), size_bytes
    else:
        start, stop = int(first), min(size_bytes, int(last) + 1) if last else size_bytes
        if last and int(last) < start:
            return None
    if start >= stop:
        raise RangeNotSatisfiable
    return ByteRange(start, stop)
