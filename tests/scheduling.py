"""Which tests of a parallel run go together, and which go first.

Tests of one file share its processes, servers and networks, so they stay on one pytest process. The scenarios of
`tests/chaos` share nothing and mostly wait: each goes wherever there is room, and between the files that compute, so
that the processor has work while they wait. Files that take long begin early: one left to the end is waited for.
"""

from __future__ import annotations

from itertools import groupby, zip_longest
from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling

ONE_BY_ONE = "tests/chaos/test_chaos.py"
LONG_FILES = (
    "tests/test_cli.py",
    "tests/test_main_road.py",
    "tests/test_options_over_http.py",
    "tests/worker/test_job_protocol.py",
    "tests/worker/engine/test_tasks.py",
    "tests/web/test_page_errors.py",
    "tests/web/test_page.py",
    "tests/worker/engine/test_worker_process.py",
    "tests/chaos/test_redis_gone.py",
    "tests/worker/test_embedded.py",
    "tests/worker/engine/test_interruption.py",
    "tests/client/test_submission.py",
    "tests/worker/engine/test_views.py",
    "tests/model/test_avatar_pool.py",
    "tests/model/test_evaluation.py",
    "tests/worker/engine/test_motion_template.py",
)
"""Begun first, longest before shorter; the others follow, those with most tests first."""


class SharedScheduling(LoadScopeScheduling):
    """Gives whole files away, in the order of `in_order`."""

    def __init__(self, config: pytest.Config, log: Any = None) -> None:
        super().__init__(config, log)
        config.option.loadscopereorder = False

    def _split_scope(self, nodeid: str) -> str:
        return share_of(nodeid)


def share_of(nodeid: str) -> str:
    """What is given to one process as a whole."""
    file = nodeid.partition("::")[0]
    return nodeid if file == ONE_BY_ONE else file


def in_order(items: list[pytest.Item]) -> list[pytest.Item]:
    """The tests in the order in which they are given away: shares that wait and files that compute, in turn."""
    shares = {share: list(tests) for share, tests in groupby(items, lambda item: share_of(item.nodeid))}
    waiting = [tests for share, tests in shares.items() if share.startswith(ONE_BY_ONE)]
    others = [(share, tests) for share, tests in shares.items() if not share.startswith(ONE_BY_ONE)]
    ranks = {file: rank for rank, file in enumerate(LONG_FILES)}
    others.sort(key=lambda share: (ranks.get(share[0], len(ranks)), -len(share[1])))
    turns = zip_longest(waiting, (tests for _, tests in others), fillvalue=[])
    return [item for pair in turns for tests in pair for item in tests]
