"""What a pool child does with the signals that tell its worker to go; R9 of `make chaos` shows the whole way."""

from __future__ import annotations

import os
import signal

import pytest

from worker.engine.leaving import leaving_when_told
from worker.errors import WorkerLeaves


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGQUIT])
def test_the_job_is_left_once(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    cleaned_up: list[bool] = []

    def job() -> None:
        with leaving_when_told():
            try:
                os.kill(os.getpid(), number)
            finally:
                os.kill(os.getpid(), number)  # what cleans up is not disturbed by a second one
                cleaned_up.append(True)

    with pytest.raises(WorkerLeaves):
        job()
    assert cleaned_up == [True]
    assert signal.getsignal(number) is before
