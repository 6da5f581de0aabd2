"""One animation by a service, from two files to its result: submit, follow, download; each step can be resumed."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol

from client.download import download
from client.errors import ClientError, NotAnimated, Refused
from client.following import follow
from client.resuming import Memory, Note, fingerprint, key_of
from client.service import Animation, Download, Service

_MOST_TURNS = 50
_GONE = (404, 410)
_VIEW_ENDINGS = {"video/webm": ".webm", "image/gif": ".gif", "image/webp": ".webp"}


class Watch(Protocol):
    """Who is told how it goes."""

    def uploading(self, done: int, total: int) -> None: ...  # noqa: D102
    def standing(self, animation: Animation) -> None: ...  # noqa: D102
    def downloading(self, done: int, total: int) -> None: ...  # noqa: D102
    def say(self, text: str) -> None: ...  # noqa: D102


@dataclass(frozen=True, kw_only=True, slots=True)
class Order:
    """What is wanted."""

    files: Mapping[str, Path]
    """By the names of the form's parts."""
    fields: Mapping[str, str]
    output: Path | None
    """Where the result goes, and its views beside it (`OUT.flow.mp4`); None: nothing is fetched."""
    anew: bool = False
    """Not the animation of an earlier order that was the same."""


class Begun(NamedTuple):
    """An animation under way, and what is remembered of it."""

    animation: Animation
    memory: Memory


def submit(service: Service, order: Order, watch: Watch) -> Begun:
    """The animation of `order`, found again or begun. Raises ClientError, OSError."""
    request = fingerprint(order.files, order.fields)
    memory = Memory.of(str(service.http.base_url), request, order.output)
    note = memory.read()
    if order.anew:
        note = Note(request=memory.request, turn=int(time.time()))
        memory.write(note)  # so that this one can be resumed
    if note.animation_id:
        try:
            animation = service.read(note.animation_id)
        except Refused as error:
            if error.status not in _GONE:
                raise
        else:
            if animation.status in ("failed", "canceled"):
                note = Note(request=memory.request, turn=note.turn + 1)
            else:
                watch.say(f"Going on with {animation.id}.")
                return Begun(animation, memory)
    for turn in range(note.turn, note.turn + _MOST_TURNS):
        try:
            animation, has_ended = service.submit(order.files, order.fields, key_of(request, turn), watch.uploading)
        except Refused as error:
            if error.status in _GONE:
                continue  # of an earlier turn, and removed
            if note.turn == turn:
                memory.forget()
            raise
        if has_ended and animation.status != "succeeded":
            continue  # of an earlier turn, too
        memory.write(note.model_copy(update={"turn": turn, "animation_id": animation.id}))
        watch.say(f"{'Found again' if has_ended else 'Submitted'}: {animation.id}.")
        return Begun(animation, memory)
    raise ClientError(
        f"The last {_MOST_TURNS} animations of these files and options did not succeed.",
        code="too_many_failures",
        hint="--new begins one all the same.",
    )


def finish(service: Service, order: Order, begun: Begun, watch: Watch, *, cancel_on_interrupt: bool) -> Animation:
    """Wait for the end and fetch what is wanted. Raises ClientError, OSError; NotAnimated when there is no result.

    With `cancel_on_interrupt` the first KeyboardInterrupt is let pass, and the second cancels the animation.
    """
    memory = begun.memory
    animation = _wait(service, begun.animation, watch, cancel_on_interrupt=cancel_on_interrupt)
    if animation.status != "succeeded":
        memory.write(Note(request=memory.request, turn=memory.read().turn + 1))
        problem = animation.error
        raise NotAnimated(
            f"{animation.id} was canceled." if problem is None else problem.detail or problem.title,
            code="animation_canceled" if problem is None else problem.code,
            hint=problem.hint if problem else None,
        )
    if order.output:
        wanted = {"result": (order.output, animation.result or Download())}
        for name, facts in (animation.views or {}).items():
            ending = _VIEW_ENDINGS.get(facts.media_type, ".mp4")
            wanted[f"views/{name}"] = (order.output.with_name(f"{order.output.stem}.{name}{ending}"), facts)
        for path, (target, facts) in wanted.items():
            download(service, f"animations/{animation.id}/{path}", target, facts, watch.downloading)
        memory.forget()
    return animation


def _wait(service: Service, animation: Animation, watch: Watch, *, cancel_on_interrupt: bool) -> Animation:
    interrupts = 0
    while True:
        try:
            # In here: whoever reads this may press it again at once.
            if interrupts == 1:
                watch.say(f"{animation.id} goes on. Ctrl-C again cancels it.")
            elif interrupts == 2:
                watch.say(f"Canceling {animation.id}.")
                _cancel(service, animation)
            return follow(service, animation, watch.standing)
        except KeyboardInterrupt:
            interrupts += 1
            if not cancel_on_interrupt or interrupts > 2:
                raise


def _cancel(service: Service, animation: Animation) -> None:
    try:
        service.cancel(animation.id)
    except Refused as error:
        if error.code != "already_terminal":
            raise
