"""Every scenario of `make chaos` at its small size. docs/operations.md says what was broken to see each fail."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.chaos import report
from tests.chaos.__main__ import run
from tests.chaos.scenarios.catalog import SCENARIOS

_SEED = 7
_PATIENCE = 5.0
"""Times are marks of `make chaos`; here they are bounds against hanging, beside other tests on few cores."""


@pytest.mark.parametrize("name", list(SCENARIOS))
@pytest.mark.timeout(400)
def test_scenario(name: str, tmp_path: Path) -> None:
    outcome = run(name, "small", _SEED, tmp_path, _PATIENCE)
    if outcome.skipped:
        pytest.skip(outcome.skipped)
    assert outcome.passed, report.line(outcome)
