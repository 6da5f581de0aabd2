"""The public numbers of an installation: everything a client can run into."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field

from api.schemas import PublicModel
from api.settings import ApiSettings
from worker.settings import MediaLimits, Settings


class _Numbers(PublicModel):
    """Settings under their own names."""

    @classmethod
    def of(cls, settings: ApiSettings | Settings) -> Self:
        """Those of `settings` that this model has."""
        return cls(**settings.model_dump(include=set(cls.model_fields)))


class RequestLimits(_Numbers):
    """What a request may be."""

    body_max_bytes: int
    max_parts: int
    field_max_bytes: int
    upload_total_timeout_s: float
    upload_min_bytes_per_s: int
    upload_grace_s: float
    page_default: int = Field(description="Animations on a page of the list.")
    page_max: int


class QueueLimits(_Numbers):
    """How much can be under way; above it the answer is 429 or 503."""

    max_queued: int = Field(description="Animations that wait, of all clients together.")
    live_per_client: int = Field(description="Animations of one client with an API key that are not finished.")
    uploads_at_once: int = Field(description="Of one API process.")


class RateLimits(_Numbers):
    """How often a client with an API key may ask."""

    requests_per_minute: int
    submissions_per_minute: int


class WaitLimits(_Numbers):
    """How to wait for the end of an animation."""

    poll_after_s: int
    wait_max_s: int = Field(description="The most that `Prefer: wait=N` gets.")
    events_heartbeat_s: float = Field(description="The longest silence of an event stream.")


class IdempotencyLimits(_Numbers):
    """How long an `Idempotency-Key` has a meaning."""

    idempotency_keep_s: float
    idempotency_hold_s: float = Field(description="How long it stays reserved for an upload whose process died.")


class RetentionLimits(_Numbers):
    """How long things are kept and tried."""

    job_deadline_s: float = Field(description="From its submission an animation has this long to end.")
    job_time_limit_s: float = Field(description="For one attempt.")
    max_attempts: int
    retention_s: float = Field(description="How long an animation is kept after its end, with its files.")
    tombstone_s: float = Field(description="How long it is 410 after that; then 404.")
    link_ttl_s: int = Field(description="How long the signed link of a result works at least.")


class DisclosureRules(_Numbers):
    """How results tell that they are animations."""

    mark: Literal["on_request", "always"] = Field(description="`always`: every result is marked, asked for or not.")
    mark_text: str = Field(description="What the label says.")
    provenance: bool = Field(description="Whether the files say in their metadata what made them.")


class Limits(PublicModel):
    """All limits, and what else an installation does with every result."""

    request: RequestLimits
    media: MediaLimits
    queue: QueueLimits
    rate: RateLimits
    wait: WaitLimits
    idempotency: IdempotencyLimits
    retention: RetentionLimits
    disclosure: DisclosureRules

    @classmethod
    def of(cls, settings: Settings, api_settings: ApiSettings) -> Limits:
        """The limits of an installation with these settings."""
        retention = {**settings.model_dump(), "link_ttl_s": api_settings.link_ttl_s}
        return cls(
            request=RequestLimits.of(api_settings),
            media=settings.limits,
            queue=QueueLimits.of(api_settings),
            rate=RateLimits.of(api_settings),
            wait=WaitLimits.of(api_settings),
            idempotency=IdempotencyLimits.of(api_settings),
            disclosure=DisclosureRules.of(settings),
            retention=RetentionLimits(**{name: retention[name] for name in RetentionLimits.model_fields}),
        )
