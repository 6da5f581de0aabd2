"""The first program of every child that decodes what a person sent: gives up what a decoder does not need.

It is run by its path, before the decoder, in a process that has only just begun:

    python -I confinement.py LIMITS exec PROGRAM ARGUMENT...     becomes the program
    python -I confinement.py LIMITS run MODULE ARGUMENT...       calls `main(arguments)` of the module

So the limits hold from the decoder's first instruction on, and no code has to run between fork and exec in a parent
with threads. LIMITS is the JSON of `Limits`. Nothing is imported here but the standard library: this file's start-up
time is paid by every look at a file.
"""

from __future__ import annotations

import json
import os
import sys
from contextlib import suppress
from typing import NamedTuple

_PR_SET_PDEATHSIG = 1
_PR_SET_NO_NEW_PRIVS = 38
_SIGKILL = 9
_CLONE_NEWUSER = 0x10000000
_CLONE_NEWNET = 0x40000000


class Limits(NamedTuple):
    """What a child may use; None leaves it as it is."""

    cpu_s: int | None = None
    """Processor time of all its threads together."""
    memory_bytes: int | None = None
    """Address space."""
    file_bytes: int | None = 0
    """Of a file that it writes; pipes do not count."""
    open_files: int | None = 64
    processes: int | None = None
    """More than so many, threads included, of this user: no new one. Does not bind root."""


def confine(limits: Limits) -> None:
    """Give up rights for good. What the system cannot do is left out: the allow-lists of the decoders hold anyway."""
    import resource

    wanted = {
        "RLIMIT_CORE": 0,
        "RLIMIT_CPU": limits.cpu_s,
        "RLIMIT_AS": limits.memory_bytes,
        "RLIMIT_FSIZE": limits.file_bytes,
        "RLIMIT_NOFILE": limits.open_files,
        "RLIMIT_NPROC": limits.processes,
    }
    for name, ceiling in wanted.items():
        kind = getattr(resource, name, None)
        if kind is None or ceiling is None:
            continue
        hard = resource.getrlimit(kind)[1]
        soft = ceiling if hard == resource.RLIM_INFINITY else min(ceiling, hard)
        # SIGXCPU, by which the parent sees the reason, comes at the soft limit and only before the hard one's SIGKILL.
        with suppress(OSError, ValueError):
            resource.setrlimit(kind, (soft, soft + 1 if name == "RLIMIT_CPU" and soft == ceiling else soft))
    if sys.platform == "linux":
        stand_back_as_a_session()
        _give_up_privileges()


def stand_back_as_a_session() -> None:
    """Let the niceness of this process count, which has just begun a session of its own.

    Where the kernel groups processes by session (sched(7), autogroup), a niceness counts within the session only;
    that of a new session is 0, and its file is this one.
    """
    niceness = os.getpriority(os.PRIO_PROCESS, 0)
    if niceness > 0:
        with suppress(OSError), open("/proc/self/autogroup", "w") as group:
            group.write(str(niceness))


def _give_up_privileges() -> None:
    import ctypes

    libc = ctypes.CDLL(None)
    libc.prctl(_PR_SET_PDEATHSIG, _SIGKILL, 0, 0, 0)
    libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    # A network of its own, without any interface. Root may have one as it is; others only together with a user
    # namespace, which would take from root the right to read other people's files. Containers often forbid both.
    libc.unshare(_CLONE_NEWNET if os.geteuid() == 0 else _CLONE_NEWNET | _CLONE_NEWUSER)


def main(arguments: list[str]) -> None:
    """Confine this process, then become, or run, what the arguments name."""
    limits, way, target, *rest = arguments
    confine(Limits(**json.loads(limits)))
    if way == "exec":
        os.execv(target, [target, *rest])
    import importlib

    sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    importlib.import_module(target).main(rest)


if __name__ == "__main__":
    main(sys.argv[1:])
