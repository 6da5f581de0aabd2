"""Which animation a command means, so that the same command, run again, goes on with it.

The idempotency key is made of what the files contain and of what is asked for them. So it needs nothing that a crash
could take away: it is the same after a power cut, in a fresh container, and on another machine. What it alone cannot
do is spare the upload of an animation that is accepted already, and begin anew after one that failed; for these a small
note lies beside the result until the result is there. A lost note costs an upload, never a second animation.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError


class Note(BaseModel):
    """What is remembered of a command."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    request: str
    """The fingerprint of the files and fields it belongs to, and of the server."""
    turn: int = 1
    """Each animation that ended without a result makes the next command a new turn."""
    animation_id: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Memory:
    """The note of one command, in a hidden file beside its result; without a result there is none."""

    request: str
    path: Path | None

    @classmethod
    def of(cls, server: str, request: str, output: Path | None) -> Memory:
        """The memory of a request to `server` whose result shall be `output`."""
        where = output.with_name(f".{output.name}.animato") if output else None
        return cls(request=hashlib.sha256(f"{server} {request}".encode()).hexdigest(), path=where)

    def read(self) -> Note:
        """The note, when it belongs to this request; else a fresh one."""
        fresh = Note(request=self.request)
        try:
            found = Note.model_validate_json(self.path.read_bytes()) if self.path else fresh
        except (FileNotFoundError, ValidationError):
            return fresh
        return found if found.request == self.request else fresh

    def write(self, note: Note) -> None:
        """Remember. Raises OSError."""
        if self.path:
            new = self.path.with_name(f"{self.path.name}.new")
            new.write_text(note.model_dump_json())
            new.replace(self.path)

    def forget(self) -> None:
        """The result is there."""
        if self.path:
            self.path.unlink(missing_ok=True)


def fingerprint(files: Mapping[str, Path], fields: Mapping[str, str]) -> str:
    """What makes two commands the same: the bytes of the files, and the fields. Raises OSError."""
    hashes = {}
    for name, path in files.items():
        with path.open("rb") as file:
            hashes[name] = hashlib.file_digest(file, "sha256").hexdigest()
    return hashlib.sha256(json.dumps([hashes, dict(fields)], sort_keys=True).encode()).hexdigest()


def key_of(request: str, turn: int) -> str:
    """The `Idempotency-Key` of a request."""
    return f"animato-{request}-{turn}"
