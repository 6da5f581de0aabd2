"""A client of the event stream."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import httpx


class Event(NamedTuple):
    """One event as it was received."""

    name: str
    id: int
    data: dict[str, Any]


class EventSource:
    """An open stream: iterate over its events; `comments` counts the heartbeats so far."""

    def __init__(self, response: httpx.Response) -> None:
        self.response = response
        self.comments = 0

    def __iter__(self) -> Iterator[Event]:
        fields: dict[str, str] = {}
        for line in self.response.iter_lines():
            if line.startswith(":"):
                self.comments += 1
            elif line:
                name, _, value = line.partition(": ")
                fields[name] = value
            else:
                if "data" in fields:
                    yield Event(fields["event"], int(fields["id"]), json.loads(fields["data"]))
                fields = {}


@contextmanager
def follow(http: httpx.Client, animation_id: str, last_event_id: object = None) -> Iterator[EventSource]:
    """The events of an animation."""
    headers = {} if last_event_id is None else {"Last-Event-ID": str(last_event_id)}
    with http.stream("GET", f"/animations/{animation_id}/events", headers=headers) as response:
        assert response.status_code == 200, response.read()
        yield EventSource(response)
