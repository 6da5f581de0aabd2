"""A network and a pair of inputs for the tests of the engine."""

from __future__ import annotations

from pathlib import Path

import pytest

from model.inference.animator import Animator
from tests.conftest import REPOSITORY
from worker.engine.process import WorkerProcess
from worker.settings import Settings


@pytest.fixture(scope="session")
def animator() -> Animator:
    """The network that ships."""
    return WorkerProcess(Settings(precision="fp32")).animator("avatars-256")


@pytest.fixture(scope="session")
def source() -> Path:
    return REPOSITORY / "tests" / "samples" / "source.png"
