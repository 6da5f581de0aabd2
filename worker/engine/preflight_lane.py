"""`python -m worker.engine.preflight_lane`: answers preflights, one at a time, beside the workers.

A process of its own, so that a look takes seconds also while an animation runs for an hour. It is no Celery worker:
nothing has to survive here. Who asks waits, and asks again; a lane that dies is started again by whoever started it
(`animato up`, the container's restart policy), and what it had fetched is removed by the next process that works there.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING, NoReturn

from worker import logs
from worker.catalog import find_model
from worker.engine.apart import apart
from worker.engine.device_faults import as_inference_failure
from worker.engine.disclosure import Disclosure, check_label
from worker.engine.driver import driver_of
from worker.engine.motion_template import read_template
from worker.engine.preflight import look_ahead
from worker.engine.process import WorkerProcess
from worker.engine.workspace import workspace
from worker.errors import AnimationError, JobCanceled, JobStopped, QueueUnavailable
from worker.media_probe import check_ffmpeg
from worker.preflights import LANE_SEEN_S, Answer, Preflight, PreflightLine, Question, Refusal
from worker.settings import Settings

if TYPE_CHECKING:
    from model.inference.animator import Animator

_BROKEN_DEVICE_EXIT_CODE = 70
_AGAIN_AFTER_S = 1.0
log = logs.get_logger(__name__)


class PreflightLane:
    """Answers questions until it is told to stop."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._line = PreflightLine.connect(settings)
        self._process = WorkerProcess(settings)
        self._stopping = threading.Event()

    def run(self) -> None:
        """Until `stop`; a question that is being answered is finished first."""
        threading.Thread(target=self._tell_alive, name="alive", daemon=True).start()
        self._warm_up()
        pulse = self._settings.data_dir / "lane-alive"
        pulse.parent.mkdir(parents=True, exist_ok=True)
        while not self._stopping.is_set():
            # From this loop, not from the thread: it grows old when a look does not end (docs/operations.md).
            pulse.touch()
            try:
                self.answer_next(min(1.0, self._settings.redis_timeout_s / 2))
            except QueueUnavailable:
                self._stopping.wait(_AGAIN_AFTER_S)

    def stop(self) -> None:
        """Let `run` return."""
        self._stopping.set()

    def answer_next(self, wait_s: float) -> bool:
        """Answer the next question, if one comes within `wait_s`. Raises QueueUnavailable."""
        taken = self._line.take(wait_s)
        if taken is None:
            return False
        question_id, question = taken
        with logs.bound(preflight_id=question_id):
            try:
                # Not to be interrupted: a half imported torch would spoil the questions to come.
                animator = self._process.animator(question.options.model or self._settings.model)
                with _at_most(self._settings.preflight_timeout_s):
                    answer = Answer(preflight=self._look(question_id, question, animator))
            except JobStopped:
                log.info("preflight_left")
                return True
            except QueueUnavailable:
                raise
            except AnimationError as error:
                answer = Answer(refusal=Refusal.of(error))
            except Exception as error:
                log.exception("preflight_crashed")
                failure = as_inference_failure(error) or AnimationError("The preflight failed.")
                answer = Answer(refusal=Refusal.of(failure))
                if failure.code == "device_error":
                    self._line.answer(question_id, answer)
                    os._exit(_BROKEN_DEVICE_EXIT_CODE)  # a CUDA context never recovers from a fault
            log.info("preflight_answered", code=answer.refusal.code if answer.refusal else None)
            self._line.answer(question_id, answer)
        return True

    def _look(self, question_id: str, question: Question, animator: Animator) -> Preflight:
        settings, storage = self._settings, self._process.storage

        def go_on(_done: int = 0) -> None:
            if not self._line.is_waited_for(question_id):
                raise JobCanceled

        with workspace(settings.data_dir, question_id) as folder:
            source, driving, driver = folder / "source", folder / "driving", None
            try:
                apart(storage.fetch, question.input.source_key, source)
                apart(storage.fetch, question.input.driving_key, driving)
            except FileNotFoundError:
                raise JobCanceled from None  # whoever asked has cleared away
            go_on()
            model = find_model(question.options.model or settings.model, settings.model_dirs)
            if question.input.motion is not None:
                driver = driver_of(read_template(driving, model))
            return look_ahead(
                source,
                driving,
                question.input.driving,
                animator,
                question.options,
                limits=settings.limits,
                batch_frames=settings.batch_frames,
                driver=driver,
                disclosure=Disclosure.of(settings, question.options, model),
                frames_per_s=self._process.store.speed(question.options.model or settings.model),
                on_progress=go_on,
            )

    def _warm_up(self) -> None:
        """Load the usual network now: the first to ask shall not wait for it."""
        try:
            self._process.animator(self._settings.model)
        except AnimationError as error:
            log.warning("model_not_loaded", code=error.code, detail=error.detail)

    def _tell_alive(self) -> None:
        while not self._stopping.is_set():
            try:
                self._line.tell_alive()
            except QueueUnavailable:
                log.warning("presence_not_told")
            self._stopping.wait(LANE_SEEN_S / 4)


@contextmanager
def _at_most(seconds: float) -> Iterator[None]:
    """Leave the block by JobCanceled after so long, from wherever it waits: nobody waits for the answer any more."""
    if threading.current_thread() is not threading.main_thread():
        yield  # no signals here: only `on_progress` leaves
        return

    def leave(_number: int, _frame: FrameType | None) -> NoReturn:
        raise JobCanceled

    before = signal.signal(signal.SIGALRM, leave)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def main() -> int:
    """Serve until SIGTERM or SIGINT."""
    settings = Settings()
    logs.configure(settings.log_level)
    check_label(settings)
    check_ffmpeg()
    lane = PreflightLane(settings)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT):
        signal.signal(number, lambda *_: lane.stop())
    log.info("preflight_lane_ready")
    lane.run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
