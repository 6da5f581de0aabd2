"""From a received form to the answer of a preflight lane: nothing is queued, and nothing is left of it."""

from __future__ import annotations

import time

import anyio
from fastapi import Request

from api.dependencies import Services
from api.errors import InvalidForm, Unavailable
from api.input_urls import check_urls, fetch_inputs
from api.motion_choice import chosen_motion
from api.submission import FIELDS, delete_inputs, look_at, read_options, store_inputs
from api.threads import in_thread
from api.webhook_form import read_target
from worker import logs
from worker.jobs import JobInput, JobKind, new_id
from worker.preflights import Answer, Preflight, Question, Refusal

_LOOK_EVERY_S = 0.1
_WAITING_AT_MOST = 4
"""Questions before ours: each takes seconds."""
log = logs.get_logger(__name__)


async def preflight(request: Request, services: Services, client_id: str | None) -> Preflight:
    """What the animation of this form would be. Raises what a submission raises, and Unavailable."""
    await _check_lane(services)
    # An id as animations have: what a killed process leaves in the storage is an orphan like theirs.
    question_id = new_id()
    job_input: JobInput | None = None
    try:
        # Left before the wait: it would hold a place that uploads need.
        async with services.uploads.receive(request, FIELDS[JobKind.ANIMATION]) as form:
            motion = await chosen_motion(services, form, client_id)
            options = await in_thread(read_options, form.fields, services, motion)
            read_target(form.fields, services.api_settings)
            check_urls(form, services.api_settings)
            await fetch_inputs(request, form, services.uploads)
            job_input = await look_at(services, form, options, question_id, motion)
            await store_inputs(services, form, job_input, motion)
        question = Question(input=job_input, options=options)
        answer = await _ask(request, services, question_id, question)
    finally:
        with anyio.CancelScope(shield=True):
            if job_input:
                await delete_inputs(services, job_input)
    if answer.preflight is None:
        raise _refused(answer.refusal)
    return answer.preflight


async def _check_lane(services: Services) -> None:
    waiting = await in_thread(services.preflights.length)
    if waiting is None:
        raise _unavailable("No preflight lane is running.", "Submit without it, or tell the operator.")
    if waiting >= _WAITING_AT_MOST:
        raise _unavailable("Too many preflights wait.", "Try again in a moment.")


async def _ask(request: Request, services: Services, question_id: str, question: Question) -> Answer:
    line, timeout_s = services.preflights, services.settings.preflight_timeout_s
    give_up_at_s = time.monotonic() + timeout_s
    try:
        await in_thread(line.ask, question_id, question, timeout_s)
        while time.monotonic() < give_up_at_s and not await request.is_disconnected():
            if answer := await in_thread(line.answer_to, question_id):
                return answer
            await anyio.sleep(_LOOK_EVERY_S)
    finally:
        with anyio.CancelScope(shield=True):
            await in_thread(line.forget, question_id)
    log.warning("preflight_not_answered", preflight_id=question_id)
    raise _unavailable(f"No preflight lane answered within {timeout_s:g} s.", "Try again, or submit without it.")


def _refused(refusal: Refusal | None) -> Exception:
    if refusal is not None and 400 <= refusal.http_status < 500:
        # Of the options or a file: as the animation would have failed.
        return InvalidForm(refusal.detail, code=refusal.code, hint=refusal.hint)
    log.warning("preflight_failed", code=refusal.code if refusal else None)
    return _unavailable("The preflight failed.", "Try again, or submit without it.")


def _unavailable(detail: str, hint: str) -> Unavailable:
    return Unavailable(detail, code="preflight_unavailable", hint=hint)
