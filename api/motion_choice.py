"""The field `motion`: the template that takes the place of the driving video, and whether it may."""

from __future__ import annotations

from api.dependencies import Services
from api.errors import Conflict, InvalidForm
from api.file_parts import DRIVING_VIDEO, MOTION, URL_FIELDS
from api.threads import in_thread
from api.uploads import ReceivedForm
from worker.catalog import ModelFacts
from worker.jobs import Job, JobKind, JobState, is_id

DRIVING_OPTIONS = ("driving_crop", "driving_subject")
"""What was decided when the template was extracted."""


async def chosen_motion(services: Services, form: ReceivedForm, client_id: str | None) -> Job | None:
    """The template that the form names; None when it has a driving video. Raises InvalidForm, Conflict."""
    name = form.fields.get(MOTION)
    if name is None:
        return None
    for other in (DRIVING_VIDEO, URL_FIELDS[DRIVING_VIDEO], *DRIVING_OPTIONS):
        if other in form.files or other in form.fields:
            raise InvalidForm(
                f"{other}: not together with 'motion', which has it already.", code="invalid_options", field=other
            )
    motion = await in_thread(services.job_store.get, name) if is_id(name, JobKind.MOTION) else None
    # That of another client is answered as one that does not exist.
    if motion is None or motion.context.client_id != client_id:
        raise unknown_motion()
    if motion.state in (JobState.FAILED, JobState.CANCELED):
        raise Conflict(
            f"The motion {motion.id} is '{motion.state}': it cannot be used.", code="motion_failed", field=MOTION
        )
    if motion.state is not JobState.SUCCEEDED:
        raise Conflict(
            f"The motion {motion.id} is '{motion.state}': it cannot be used yet.",
            code="motion_not_ready",
            field=MOTION,
            hint="Poll GET /motions/{id} until its status is 'succeeded'.",
            headers={"Retry-After": str(services.api_settings.poll_after_s)},
        )
    return motion


def check_model(motion: Job, facts: ModelFacts) -> None:
    """Raise InvalidForm unless the template was extracted with this very bundle."""
    if motion.result is None or motion.result.bundle_sha256 != facts.bundle_sha256:
        raise InvalidForm(
            f"The motion {motion.id} was extracted with another bundle ({motion.options.model}) than {facts.name} is.",
            code="motion_other_model",
            field=MOTION,
            hint="Leave 'model' out to use that of the motion, or extract the motion again.",
        )


def unknown_motion() -> InvalidForm:
    """The answer when there is no such template (any more), or it is another client's."""
    return InvalidForm(
        "There is no motion with this id.",
        code="unknown_motion",
        field=MOTION,
        hint="GET /motions lists those there are.",
    )
