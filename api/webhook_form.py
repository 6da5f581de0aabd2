"""The fields of a submission that name who is told of the end, and where webhooks may go at all."""

from __future__ import annotations

import re

from api.errors import InvalidForm
from api.outbound import DestinationRefused, OutboundPolicy, check_url
from api.settings import ApiSettings
from worker.jobs import JobState, WebhookTarget

WEBHOOK_URL, WEBHOOK_EVENTS = "webhook_url", "webhook_events"
WEBHOOK_FIELDS = (WEBHOOK_URL, WEBHOOK_EVENTS)
EVENTS = {
    "animation.succeeded": JobState.SUCCEEDED,
    "animation.failed": JobState.FAILED,
    "animation.canceled": JobState.CANCELED,
}


def outbound_policy(settings: ApiSettings) -> OutboundPolicy:
    """Where the settings let webhooks go."""
    return OutboundPolicy(
        ports=frozenset(int(port) for port in re.split(r"[\s,]+", settings.webhook_ports.strip()) if port),
        allow_http=settings.webhook_allow_http,
        allow_private=settings.webhook_allow_private,
        timeout_s=settings.webhook_timeout_s,
    )


def read_target(fields: dict[str, str], settings: ApiSettings) -> WebhookTarget | None:
    """Who the form wants to be told; None when nobody. Raises InvalidForm.

    The name of the host is not looked up here: it is judged when a connection is made, which is what counts.
    """
    url, events = fields.get(WEBHOOK_URL), fields.get(WEBHOOK_EVENTS)
    if url is None and events is None:
        return None
    if not settings.webhooks_enabled:
        raise InvalidForm(
            "This installation sends no webhooks.",
            code="webhooks_disabled",
            field=WEBHOOK_EVENTS if url is None else WEBHOOK_URL,
            hint="Leave the field out and poll, or tell the operator of ANIMATO_WEBHOOKS_ENABLED.",
        )
    if url is None:
        raise InvalidForm(f"{WEBHOOK_EVENTS} is of no use without {WEBHOOK_URL}.", field=WEBHOOK_EVENTS)
    try:
        check_url(url, outbound_policy(settings))
    except DestinationRefused as error:
        raise InvalidForm(
            f"{WEBHOOK_URL} cannot be used. {error}", code="webhook_url_refused", field=WEBHOOK_URL
        ) from error
    wanted = list(EVENTS) if events is None else [event for event in re.split(r"[\s,]+", events) if event]
    if not wanted or not set(wanted) <= set(EVENTS):
        raise InvalidForm(
            f"{WEBHOOK_EVENTS} names an event that does not exist, or none.",
            field=WEBHOOK_EVENTS,
            hint=f"One or more of {', '.join(EVENTS)}, separated by commas.",
        )
    return WebhookTarget(url=url, states=tuple(dict.fromkeys(EVENTS[event] for event in wanted)))
