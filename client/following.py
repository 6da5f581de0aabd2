"""Follow an animation to its end: by its events, and where these do not come through, by asking."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

import httpx

from client.errors import Refused
from client.patience import retry_after_s
from client.service import Animation, Progress, Service, json_of, may_pass, refused

_EVENT_TIMEOUT = httpx.Timeout(60, connect=15, read=45)
"""By default the service is silent for 15 s at most: longer is a dead connection, or a proxy that collects."""
_VAIN_STREAMS = 3
"""After so many streams without a single event only asking is left."""

Report = Callable[[Animation], None]


class Event(NamedTuple):
    """One event of a stream (WHATWG HTML, section 9.2)."""

    name: str
    data: str
    id: str


def follow(service: Service, animation: Animation, report: Report = lambda _: None) -> Animation:
    """The animation when it has ended; `report` is told of each change. Raises Refused, Unreachable."""
    report(animation)
    last_id, vain = "", 0
    while not animation.is_final and vain < _VAIN_STREAMS:
        got_any = False
        try:
            for event in _events(service, animation.id, last_id):
                got_any, last_id = True, event.id
                service.patience.went_forward()
                animation = _after(animation, event)
                report(animation)
        except httpx.TransportError as error:
            # A server that is not there says nothing of its events.
            absent = isinstance(error, httpx.ConnectError | httpx.ConnectTimeout)
            vain = 0 if got_any else vain + (not absent)
            if vain < _VAIN_STREAMS:
                service.patience.wait(f"The connection was cut ({type(error).__name__}).")
            continue
        except _NoEventsError:
            break
        vain = 0 if got_any else vain + 1
    return animation if animation.is_final else _poll(service, animation, report)


def _poll(service: Service, animation: Animation, report: Report) -> Animation:
    etag = ""
    while not animation.is_final:
        headers = {"If-None-Match": etag} if etag else {}
        answer = service.insist(lambda: service.http.get(f"animations/{animation.id}", headers=headers))  # noqa: B023
        if answer.status_code == 200:
            etag = answer.headers.get("etag", "")
            animation = Animation.read(json_of(answer))
            report(animation)
        if not animation.is_final:
            time.sleep(max(0.2, retry_after_s(answer.headers.get("retry-after")) or 2.0))
    return animation


class _NoEventsError(Exception):
    """There is no stream of events to be had here."""


def _events(service: Service, animation_id: str, last_id: str) -> Iterator[Event]:
    headers = {"Accept": "text/event-stream", "Cache-Control": "no-store"}
    if last_id:
        headers["Last-Event-ID"] = last_id
    with service.opened(f"animations/{animation_id}/events", headers, _EVENT_TIMEOUT) as answer:
        if answer.status_code == 204:  # the end was seen, or so it believes
            raise _NoEventsError
        if may_pass(answer):
            # By asking it is learnt how long to wait.
            raise _NoEventsError
        if answer.is_error:
            error = refused(answer)
            if error.status in (401, 403, 404, 410):
                raise error
            raise _NoEventsError
        if not answer.headers.get("content-type", "").startswith("text/event-stream"):
            raise _NoEventsError
        yield from parse(answer.iter_lines())


def parse(lines: Iterator[str]) -> Iterator[Event]:
    """The events of a stream; one that is cut off in its middle is dropped."""
    name, data, last_id = "message", list[str](), ""
    for line in lines:
        if not line:
            if data:
                yield Event(name, "\n".join(data), last_id)
            name, data = "message", []
            continue
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if field == "event":
            name = value
        elif field == "data":
            data.append(value)
        elif field == "id" and "\0" not in value:
            last_id = value


def _after(animation: Animation, event: Event) -> Animation:
    try:
        said = json.loads(event.data)
    except json.JSONDecodeError as error:
        raise Refused("An event of the server cannot be read.", code="not_animato") from error
    if event.name in ("status", "end"):
        return Animation.read(said)
    if event.name == "progress":
        progress = Progress.model_validate(said)
        return animation.model_copy(update={"progress": progress, "eta_s": progress.eta_s})
    return animation
