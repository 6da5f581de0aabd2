"""What only the API needs to know, from environment variables `ANIMATO_*`. (Host and port are uvicorn's own.)"""

from __future__ import annotations

import re
from functools import cached_property
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

KIB = 1024
MIB = 1024 * KIB
_HOST_PATTERN = re.compile(r"(\*\.)?[a-z0-9]([a-z0-9.:_-]*[a-z0-9])?")


class ApiSettings(BaseSettings):
    """Limits of requests, times of the housekeeper. `worker.settings.Settings` has what the worker shares."""

    model_config = SettingsConfigDict(env_prefix="ANIMATO_", extra="ignore", frozen=True)

    body_max_bytes: int = Field(default=120 * MIB, ge=1)
    """Of a whole request; each file has its own limit below this (`MediaLimits`)."""
    max_parts: int = Field(default=32, ge=2)
    """Files and fields of one form."""
    field_max_bytes: int = Field(default=16 * KIB, ge=1)
    """Of one text field of the form."""

    upload_dir: Path | None = None
    """Where uploads lie until they are stored; unset: `<data_dir>/uploads`."""
    uploads_at_once: int = Field(default=64, ge=1)
    """They go to disk piece by piece: more of them need disk, not memory."""
    upload_total_timeout_s: float = Field(default=120.0, gt=0)
    upload_min_bytes_per_s: int = Field(default=16 * KIB, ge=1)
    upload_grace_s: float = Field(default=10.0, ge=0)
    """The minimum speed counts only after this time."""
    disk_reserve_bytes: int = Field(default=1024 * MIB, ge=0)
    """Uploads are refused when the disk of `upload_dir` would have less free space than this."""
    probes_at_once: int = Field(default=2, ge=1)
    """Each is an ffmpeg process; the rest waits."""

    max_queued: int = Field(default=1000, ge=1)
    """Animations that wait at the same time; further ones are refused."""
    idempotency_keep_s: float = Field(default=24 * 3600.0, gt=0)
    """How long an Idempotency-Key stands for its animation."""
    idempotency_hold_s: float = Field(default=15.0, gt=0)
    """How long a key stays reserved for an upload whose process has died."""

    poll_after_s: int = Field(default=2, ge=1)
    """What `Retry-After` tells a client whose animation is not finished."""
    retry_after_s: int = Field(default=5, ge=1)
    """What `Retry-After` tells a client when a part of the service is away."""
    wait_max_s: int = Field(default=30, ge=1)
    """The most that `Prefer: wait` gets."""
    watch_interval_s: float = Field(default=0.25, gt=0)
    """How often the records of waiting requests are looked at, all at once."""
    events_heartbeat_s: float = Field(default=15.0, gt=0)
    """How long an event stream is silent at most: proxies cut connections that look dead."""
    page_default: int = Field(default=20, ge=1)
    page_max: int = Field(default=100, ge=1)

    requests_per_minute: int = Field(default=600, ge=1)
    """Of one client with a key; as many may come at once."""
    submissions_per_minute: int = Field(default=60, ge=1)
    """`POST /animations` of one client with a key."""
    live_per_client: int = Field(default=100, ge=1)
    """Animations of one client with a key that are not finished."""

    cors_origins: str = ""
    """Origins whose pages may call this API, separated by commas; `*` for all. Empty: none."""
    hsts_max_age_s: int = Field(default=0, ge=0)
    """Set it when TLS ends in front of this API and shall be the only way for good; 0: no such header."""
    public_url: str = Field(default="", pattern=r"^(https?://[^\s?#]+)?$")
    """Where clients reach this API, such as `https://animato.example.org`; makes signed links absolute."""
    link_ttl_s: int = Field(default=3600, ge=1)
    """A signed link to a result works at least this long, and at most twice as long."""
    link_secret: str = Field(default="", repr=False)
    """What links are signed with; empty: a random one that Redis keeps for all API processes."""
    result_redirect: bool = False
    """Answer downloads with a redirect to the storage (S3 and the like), which then does the sending."""

    webhooks_enabled: bool = False
    """Whether clients may name a URL that is told of the end of an animation."""
    webhook_ports: str = "443,80"
    """Ports that such a URL may have, separated by commas."""
    webhook_allow_http: bool = False
    """Plain HTTP too, not HTTPS only."""
    webhook_allow_private: bool = False
    """Addresses that are not public too: then whoever may use the service can send requests into its own network."""
    webhook_timeout_s: float = Field(default=20.0, gt=0)
    """Of one attempt, as a whole."""
    webhook_senders: int = Field(default=8, ge=1)
    """Attempts of one API process at the same time."""
    webhook_interval_s: float = Field(default=1.0, gt=0)
    """How often the outbox is looked at."""
    webhook_secrets: str = Field(default="", repr=False)
    """`whsec_...` of the installation, separated by commas: each signs, the first is the one to hand out. Each client's
    own secret is made of it. Empty: a random one that Redis keeps."""

    input_url_hosts: str = ""
    """Hosts that inputs may be fetched from by `source_url` and `driving_url`, separated by commas: names, or
    `*.example.org` for all names below one. Empty: inputs come with the request only."""
    input_url_ports: str = Field(default="443,80", pattern=r"^\d+([\s,]+\d+)*$")
    """Ports that such a URL may have, separated by commas."""
    input_url_allow_http: bool = False
    """Plain HTTP too, not HTTPS only."""
    input_url_networks: str = ""
    """Networks that are not public and may be reached all the same, such as `10.1.2.0/24`, separated by commas."""
    input_url_max_redirects: int = Field(default=3, ge=0, le=20)

    housekeeping_interval_s: float = Field(default=5.0, gt=0)
    orphan_sweep_interval_s: float = Field(default=3600.0, gt=0)
    """How often the whole storage is listed to find objects without an animation."""
    orphan_age_s: float = Field(default=3600.0, ge=600)
    """Younger objects are left alone: their animation may just be on its way."""

    metrics_token: str = Field(default="", repr=False)
    """Lets whoever sends it as `Authorization: Bearer` read `/metrics`, and nothing else."""

    ready_queue_timeout_s: float = Field(default=1.0, gt=0)
    ready_storage_timeout_s: float = Field(default=2.0, gt=0)

    @cached_property
    def allowed_origins(self) -> tuple[str, ...]:
        """The origins of `cors_origins`, one by one."""
        return tuple(origin.rstrip("/") for origin in _listed(self.cors_origins))

    @cached_property
    def input_hosts(self) -> tuple[str, ...]:
        """The hosts of `input_url_hosts`, one by one."""
        return tuple(host.lower() for host in _listed(self.input_url_hosts))

    @cached_property
    def input_ports(self) -> frozenset[int]:
        """The ports of `input_url_ports`."""
        return frozenset(int(port) for port in _listed(self.input_url_ports))

    @cached_property
    def input_networks(self) -> tuple[IPv4Network | IPv6Network, ...]:
        """The networks of `input_url_networks`."""
        return tuple(ip_network(text) for text in _listed(self.input_url_networks))

    @field_validator("input_url_hosts")
    @classmethod
    def _hosts_are_names(cls, text: str) -> str:
        wrong = [host for host in _listed(text) if not _HOST_PATTERN.fullmatch(host.lower())]
        if wrong:
            raise ValueError(f"{wrong[0]!r} is neither a host nor *.suffix")
        return text

    @field_validator("input_url_networks")
    @classmethod
    def _networks_can_be_read(cls, text: str) -> str:
        for network in _listed(text):
            ip_network(network)  # raises ValueError
        return text


def _listed(text: str) -> list[str]:
    return [item for item in re.split(r"[\s,]+", text) if item]
