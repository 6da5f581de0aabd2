"""A motion template: the keypoints of a driving clip in a safetensors file, to be used with any picture.

    positions   float32 (T, K, 2)         as the detector found them; smoothing is done when they are used
    jacobians   float32 (T, K, 2, 2)      absent for models without
    audio       uint8 (N,)                the sound as a Matroska file with FLAC, in step; absent without sound

and one entry `animato` of metadata: JSON as in `Header`. Files come from anywhere: nothing in them is executed, and
everything is checked before it is used.

Shapes: T frames, K keypoints.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from worker.catalog import ModelFacts
from worker.errors import MotionRejected
from worker.jobs import VideoFacts
from worker.squares import Square

if TYPE_CHECKING:
    from model.networks.keypoints import Keypoints

FORMAT_VERSION = 1
_ENTRY = "animato"
_FILE_MAX_BYTES = 1 << 30
_HEADER_MAX_BYTES = 1 << 20
_FARTHEST = 1e3
"""No keypoint is so far outside of its frame."""


class Header(BaseModel):
    """What a template says of itself."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal["animato-motion"] = "animato-motion"
    format_version: int = FORMAT_VERSION
    model: str
    bundle_sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    """Keypoints mean something to the network that found them only."""
    driving: VideoFacts
    crop: tuple[int, int, int]
    """The square of the clip: left, top, side."""
    warnings: tuple[str, ...] = ()
    held_frames: tuple[tuple[int, int], ...] = ()
    """Where the motion of another frame is shown: first and last of each stretch."""


class MotionTemplate(NamedTuple):
    """A template in memory."""

    header: Header
    keypoints: Keypoints
    audio: bytes | None = None

    @property
    def square(self) -> Square:
        """The square of the clip that was followed."""
        return Square(*self.header.crop)


def write_template(path: Path, template: MotionTemplate) -> None:
    """Write it to `path`, as a whole or not at all."""
    from safetensors.numpy import save_file

    positions, jacobians = template.keypoints
    tensors = {"positions": positions.numpy()}
    if jacobians is not None:
        tensors["jacobians"] = jacobians.numpy()
    if template.audio is not None:
        tensors["audio"] = np.frombuffer(template.audio, np.uint8)
    unfinished = path.with_name(f".{path.name[:64]}.unfinished")
    try:
        save_file(
            {name: np.ascontiguousarray(values) for name, values in tensors.items()},
            unfinished,
            metadata={_ENTRY: template.header.model_dump_json()},
        )
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def read_template(path: Path, facts: ModelFacts) -> MotionTemplate:
    """The template in a file, for the bundle of `facts`.

    Raises MotionRejected: `motion_damaged`, `motion_version_unsupported`, `motion_other_model`.
    """
    import torch

    from model.networks.keypoints import Keypoints

    header, tensors = _read(path)
    if header.bundle_sha256 != facts.bundle_sha256:
        raise MotionRejected(
            f"The motion was extracted with another bundle ({header.model}) than {facts.name} is here.",
            code="motion_other_model",
            hint="Extract it again from its clip, or name the model that it belongs to.",
        )
    frames, num = header.driving.frames, facts.num_keypoints
    shapes = {"positions": (frames, num, 2), **({"jacobians": (frames, num, 2, 2)} if facts.has_jacobians else {})}
    found = {name: tensor.shape for name, tensor in tensors.items() if name != "audio"}
    if found != shapes or not all(np.abs(tensors[name]).max() < _FARTHEST for name in shapes):  # NaN compares false
        raise _damaged("its keypoints do not fit the model")
    positions, jacobians = (torch.from_numpy(tensors[name]) if name in shapes else None for name in _KEYPOINTS)
    assert positions is not None
    audio = tensors.get("audio")
    return MotionTemplate(header, Keypoints(positions, jacobians), None if audio is None else audio.tobytes())


_KEYPOINTS = ("positions", "jacobians")
_TYPES = {"positions": "F32", "jacobians": "F32", "audio": "U8"}


def read_header(path: Path) -> Header:
    """What a file says of itself. Raises MotionRejected: `motion_damaged`, `motion_version_unsupported`."""
    return _read(path, header_only=True)[0]


def _read(path: Path, *, header_only: bool = False) -> tuple[Header, Mapping[str, Any]]:
    from safetensors import SafetensorError, safe_open

    with path.open("rb") as stream:
        header_bytes = int.from_bytes(stream.read(8), "little")
    if path.stat().st_size > _FILE_MAX_BYTES or header_bytes > _HEADER_MAX_BYTES:
        raise _damaged("it is far too large")
    try:
        with safe_open(path, framework="np") as file:
            header = _header(file.metadata() or {})
            if not {"positions"} <= set(file.keys()) <= set(_TYPES) or any(
                file.get_slice(name).get_dtype() != _TYPES[name]
                for name in file.keys()  # noqa: SIM118
            ):
                raise _damaged("it holds other things than a motion does")
            if header_only:
                return header, {}
            return header, {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError, TypeError) as error:
        raise _damaged("it is no whole safetensors file") from error


def _header(metadata: Mapping[str, str]) -> Header:
    try:
        header = Header.model_validate_json(metadata.get(_ENTRY, ""))
        rate = Fraction(header.driving.fps)
    except (ValidationError, ValueError, ZeroDivisionError) as error:
        raise _damaged("it does not say what it is") from error
    if header.format_version != FORMAT_VERSION:
        raise MotionRejected(
            f"The motion has format version {header.format_version}; this program reads {FORMAT_VERSION}.",
            code="motion_version_unsupported",
            hint="Extract it again from its clip.",
        )
    seconds = header.driving.frames / rate if rate > 0 and header.driving.frames > 0 else math.inf
    if not seconds < _LONGEST_S or header.crop[2] < 1:
        raise _damaged("its numbers make no sense")
    return header


_LONGEST_S = 10.0**7


def _damaged(why: str) -> MotionRejected:
    return MotionRejected(f"The motion file is damaged: {why}.", hint="Extract it again from its clip.")
