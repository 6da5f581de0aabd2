"""Comparing entity tags (RFC 9110, section 8.8.3)."""

from __future__ import annotations


def matches(if_none_match: str | None, etag: str) -> bool:
    """Whether the header names `etag`, with the weak comparison that If-None-Match asks for."""
    if if_none_match is None:
        return False
    tags = (tag.strip().removeprefix("W/") for tag in if_none_match.split(","))
    return any(tag in ("*", etag.removeprefix("W/")) for tag in tags)
