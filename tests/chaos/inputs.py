"""What the chaos clients send: a tiny clip, and source images that tell the stub animator how to behave."""

from __future__ import annotations

import hashlib
import io
import json
import os
import random
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngImageFile, PngInfo

from worker import media

Poison = Literal["", "crash", "memory", "loop", "freeze"]
_NOTE = "chaos"
_SHORTEST_S, _LONGEST_S = 0.2, 3.0


@dataclass(frozen=True, kw_only=True)
class Behaviour:
    """What one stub animation does."""

    seconds: float
    poison: Poison = ""
    result_bytes: int = 4096


def any_duration(dice: random.Random) -> float:
    """A duration of 0.2 to 3 s; most are short."""
    return _SHORTEST_S + (_LONGEST_S - _SHORTEST_S) * dice.random() ** 3


def make_source(dice: random.Random, behaviour: Behaviour) -> bytes:
    """A picture that nobody else sends, with the behaviour as a note in it."""
    note = PngInfo()
    note.add_text(_NOTE, json.dumps(asdict(behaviour) | {"token": f"{dice.getrandbits(128):032x}"}))
    stream = io.BytesIO()
    Image.new("RGB", (64, 64), tuple(dice.randbytes(3))).save(stream, "PNG", pnginfo=note)
    return stream.getvalue()


def read_behaviour(source: Path) -> Behaviour:
    """The note of `make_source`."""
    with Image.open(source) as picture:
        assert isinstance(picture, PngImageFile)
        note = json.loads(picture.text[_NOTE])
    note.pop("token")
    return Behaviour(**note)


def make_clip(folder: Path) -> bytes:
    """A clip of four frames."""
    path = folder / "clip.mp4"
    frames_THWC = np.zeros((4, 64, 64, 3), np.uint8)
    media.write_video(path, [frames_THWC], fps=Fraction(10), width=64, height=64)
    return path.read_bytes()


def result_bytes(source_sha256: str, driving_sha256: str, size: int) -> bytes:
    """A result that names its inputs and differs from every other, also from that of another attempt."""
    head = f"{source_sha256} {driving_sha256} ".encode()
    return head + os.urandom(max(16, size - len(head)))


def is_result_of(content: bytes, source_sha256: str) -> bool:
    """Whether `content` was made from this source."""
    return content.startswith(source_sha256.encode() + b" ")


def sha256(content: bytes) -> str:
    """The hash as the records spell it."""
    return hashlib.sha256(content).hexdigest()
