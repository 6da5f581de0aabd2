"""Who runs a job: a name for each delivery, from which others on the same machine can tell whether it still lives."""

from __future__ import annotations

import os
import socket
import uuid
from pathlib import Path


def process_name() -> str:
    """`host/pid namespace/pid`. The namespace tells two containers with one host name apart."""
    return f"{_here()}/{os.getpid()}"


def new_owner() -> str:
    """The name of this process and a token."""
    return f"{process_name()}/{uuid.uuid4().hex[:8]}"


def is_gone(owner: str) -> bool:
    """Whether the process of `owner` ran here and has ended. False when that cannot be known from here."""
    place, _, rest = owner.rpartition("/")[0].rpartition("/")
    if place != _here() or not rest.isdigit():
        return False
    return int(rest) == os.getpid() or not is_running(int(rest))


def is_running(pid: int) -> bool:
    """Whether a process has this number here."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _here() -> str:
    try:
        namespace = Path("/proc/self/ns/pid").readlink().name
    except OSError:
        namespace = "-"  # not Linux
    return f"{socket.gethostname()}/{namespace}"
