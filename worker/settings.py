"""Everything that can be set from outside, read once: environment variables `ANIMATO_*`.

The only place of `worker/` that reads the environment. Names carry their unit.
"""

from __future__ import annotations

import os
from functools import cached_property
from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

MIB = 1024 * 1024


def tracing_endpoint() -> str:
    """Where traces are sent, by the names that every OpenTelemetry SDK reads; empty: nowhere."""
    names = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
    return next((value for name in names if (value := os.environ.get(name))), "")


class MediaLimits(BaseModel):
    """What a source image and a driving video may be (docs/api.md lists them; the reasons are there too)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    image_max_bytes: int = 16 * MIB
    image_max_pixels: int = 40_000_000
    image_min_side_px: int = 64
    image_timeout_s: float = 20.0
    """To decode a picture: seconds by the clock, and of the processor."""
    video_max_bytes: int = 100 * MIB
    video_max_pixels: int = 8_294_400
    """Of one frame: 3840 × 2160."""
    video_min_side_px: int = 64
    video_max_fps: int = 120
    video_max_duration_s: float = 60.0
    video_max_frames: int = 3_600
    """Counted while decoding: a header can lie."""
    probe_timeout_s: float = 60.0
    decode_stall_timeout_s: float = 60.0
    """The longest time ffmpeg may take for one batch of frames."""
    decode_timeout_s: float = 300.0
    """The longest time that is spent waiting for ffmpeg while one video is decoded for its animation."""


UNLIMITED = MediaLimits(
    image_max_bytes=10**12,
    image_max_pixels=500_000_000,
    image_min_side_px=16,
    image_timeout_s=600.0,
    video_max_bytes=10**12,
    video_max_pixels=100_000_000,
    video_min_side_px=16,
    video_max_fps=1000,
    video_max_duration_s=10.0**7,
    video_max_frames=10**9,
    probe_timeout_s=10.0**6,
    decode_stall_timeout_s=600.0,
    decode_timeout_s=10.0**6,
)
"""For the command line, where people animate files of their own: only what would be a mistake is refused."""


class Settings(BaseSettings):
    """Settings that the API and the worker share."""

    model_config = SettingsConfigDict(env_prefix="ANIMATO_", extra="ignore", frozen=True, env_nested_delimiter="__")

    data_dir: Path = Path("data")
    """Where the local folder storage and the embedded Redis keep their files."""
    redis_url: str = "redis://127.0.0.1:6379/0"
    """`redis://`, `rediss://` or `unix:///path/to/redis.sock`."""
    redis_timeout_s: float = Field(default=5.0, gt=0)
    redis_server: str = ""
    """The server program that `animato up` starts; empty: look for valkey-server and redis-server."""
    storage_url: str = ""
    """Empty: the folder `<data_dir>/objects`. Else `file:///folder`, `s3://bucket/prefix`, ..."""
    storage_endpoint_url: str = ""
    """Of an S3 server that is not Amazon's, such as `http://object-store:8333`."""
    storage_public_endpoint_url: str = ""
    """The same server as clients reach it, for `ANIMATO_RESULT_REDIRECT`; empty: the same address."""
    storage_region: str = "us-east-1"
    storage_access_key_id: str = ""
    storage_secret_access_key: str = Field(default="", repr=False)
    storage_timeout_s: float = Field(default=120.0, gt=0)
    """Of one request to a storage that is not a local folder, bytes included."""

    models: str = ""
    """Folders with imported bundles, separated by `:`; the bundles that ship are always found."""
    model: str = "avatars-256"
    """The bundle that is used when a request names none."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    """`auto`: bf16 where the device computes in it (CUDA, AVX512-BF16, AMX), fp32 elsewhere."""
    torch_compile: bool = False
    """On a GPU: let `torch.compile` join the network's steps. Faster, after most of a minute for each batch size; needs
    a C compiler."""
    batch_frames: int = Field(default=8, ge=1, le=256)
    """Driving frames that go through the network at once."""
    threads: int = Field(default=0, ge=0)
    """CPU threads of one worker child; 0 leaves the choice to torch."""

    mark: Literal["on_request", "always"] = "on_request"
    """`always`: every result has the visible label, whatever the option `mark` says."""
    mark_text: str = Field(default="animated", min_length=1, max_length=32)
    """What the label says."""
    mark_font: str = ""
    """A TrueType or OpenType file with the letters of the label; empty: the built-in font, for ASCII."""
    provenance: bool = True
    """Whether results say in their metadata what made them."""

    lease_s: float = Field(default=30.0, gt=0)
    """How long a worker owns a job after its last heartbeat."""
    heartbeat_s: float = Field(default=10.0, gt=0)
    """At most half the lease: one heartbeat may be late."""
    max_attempts: int = Field(default=3, ge=1)
    """Claims of one job before it is given up as failed."""
    job_time_limit_s: float = Field(default=3600.0, gt=0)
    preflight_timeout_s: float = Field(default=30.0, gt=0)
    """How long whoever asks for a preflight waits for a lane; a lane works on one no longer."""
    preflight_lane: bool = True
    """Whether `animato up` starts a lane."""
    retry_backoff_s: float = Field(default=5.0, ge=0)
    """Wait before the second attempt, give or take a fifth; doubles with each."""
    first_ring_wait_s: float = Field(default=15.0, ge=0)
    """How long a queued animation waits before its doorbell is rung a second time; doubles with each ring."""
    job_deadline_s: float = Field(default=24 * 3600.0, gt=0)
    """From submission: an animation that is not final by then is failed."""
    retention_s: float = Field(default=7 * 24 * 3600.0, gt=0)
    """How long the record and the objects of a final animation are kept."""
    motion_retention_s: float = Field(default=30 * 24 * 3600.0, gt=0)
    """The same for a motion template."""
    tombstone_s: float = Field(default=30 * 24 * 3600.0, gt=0)
    """How long an expired animation is remembered as gone."""
    shutdown_grace_s: float = Field(default=25.0, ge=0)
    """How long a worker that is asked to go by SIGQUIT waits for its animation before it hands it over."""
    worker_concurrency: int = Field(default=1, ge=1)
    """Worker children: one per device."""

    api_keys: str = ""
    """Keys besides those in Redis: `NAME:SHA256` entries, separated by commas or spaces (`animato keys create NAME
    --for-settings` makes one). Hashes, so that the environment holds nothing that opens the door."""
    api_keys_file: str = ""
    """A file with such entries, one a line, `#` begins a comment: for the secrets of a container."""
    allow_anonymous: bool = False
    """Without any key only callers on this machine are let in, unless this says that all are."""

    worker_metrics_port: int = Field(default=0, ge=0, le=65535)
    """Where a worker's parent answers Prometheus; 0: nowhere."""
    worker_metrics_host: str = "127.0.0.1"

    log_level: str = "INFO"
    limits: MediaLimits = MediaLimits()

    @model_validator(mode="after")
    def _heartbeat_within_lease(self) -> Self:
        if self.heartbeat_s > self.lease_s / 2:
            raise ValueError("heartbeat_s must be at most half of lease_s")
        return self

    @field_validator("mark_text")
    @classmethod
    def _mark_is_one_line(cls, text: str) -> str:
        if not text.isprintable() or not text.strip():
            raise ValueError("the label is one line of letters")
        return text.strip()

    @property
    def resolved_storage_url(self) -> str:
        """The storage as a URL, also when it is the default folder."""
        return self.storage_url or (self.data_dir / "objects").absolute().as_uri()

    @cached_property
    def model_dirs(self) -> tuple[Path, ...]:
        """The folders of `models`, in the order in which they are searched."""
        return tuple(Path(part).expanduser() for part in self.models.split(":") if part)

    def as_environment(self) -> dict[str, str]:
        """The environment for a child process that shall see these settings (and all else of ours)."""
        ours = {
            f"{self.model_config.get('env_prefix')}{name}".upper(): value.model_dump_json()
            if isinstance(value, BaseModel)
            else str(value)
            for name, value in ((name, getattr(self, name)) for name in type(self).model_fields)
        }
        return {**os.environ, **ours}
