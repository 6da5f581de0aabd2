"""The worker of the chaos runs: the real life of a job, with only the network (and its torch) replaced.

`celery -A tests.chaos.stub_tasks worker` listens with the real application and the real task: claim, heartbeat,
workspace, storage, commit and retry are `worker.engine`'s own. What a stub animation does stands in its source image
(`tests.chaos.inputs`).
"""

from __future__ import annotations

import hashlib
import os
import resource
import signal
import time
from collections.abc import Callable
from pathlib import Path

from tests.chaos.inputs import Behaviour, read_behaviour, result_bytes
from worker.engine import tasks
from worker.engine.animation import AnimationReport
from worker.jobs import VideoFacts

_STEP_S = 0.05

app = tasks.queue
if limits := os.environ.get("CHAOS_TIME_LIMITS_S"):
    # Production adds 30 s between the soft and the hard limit: too long for a test.
    app.conf.task_soft_time_limit, app.conf.task_time_limit = map(float, limits.split(","))
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def animate_video(
    source: Path,
    driving: Path,
    facts: VideoFacts,
    output: Path,
    *_: object,
    on_progress: Callable[[int], None] = lambda _done: None,
    **__: object,
) -> AnimationReport:
    """Sleep as long as the source says, then write a result that tells what it was made of."""
    behaviour = read_behaviour(source)
    on_progress(0)
    ends_at_s = time.monotonic() + behaviour.seconds
    while (left_s := ends_at_s - time.monotonic()) > 0:
        time.sleep(min(_STEP_S, left_s))
        done = 1 - (ends_at_s - time.monotonic()) / max(behaviour.seconds, _STEP_S)
        on_progress(min(facts.frames, int(done * facts.frames)))
    _misbehave(behaviour, source)
    output.write_bytes(result_bytes(_sha256(source), _sha256(driving), behaviour.result_bytes))
    return AnimationReport(
        frames=facts.frames,
        fps=facts.fps,
        width=64,
        height=64,
        duration_s=facts.duration_s,
        has_audio=False,
        source_crop="0,0,64,64",
        driving_crop="0,0,64,64",
        reference_frame=0,
        warnings=(),
    )


def _misbehave(behaviour: Behaviour, source: Path) -> None:
    if behaviour.poison == "crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    elif behaviour.poison == "memory":
        _exhaust_memory()
    elif behaviour.poison == "loop":
        while True:  # as a loop in C does: it hears neither a cancellation nor the soft time limit
            try:
                time.sleep(_STEP_S)
            except BaseException:
                continue
    elif behaviour.poison == "freeze" and _is_first(source):
        os.kill(os.getpid(), signal.SIGSTOP)  # until somebody sends SIGCONT: the lease runs out meanwhile


def _is_first(source: Path) -> bool:
    """Whether nobody has run this source before."""
    folder = tasks.settings.data_dir / "seen"
    folder.mkdir(exist_ok=True)
    try:
        (folder / _sha256(source)).touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


def _exhaust_memory() -> None:
    used_bytes = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (used_bytes + 32 * 2**20, hard))
    try:
        bytearray(256 * 2**20)
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


tasks.animate_video = animate_video
tasks.process.animator = lambda *_: None  # pyright: ignore[reportAttributeAccessIssue]
