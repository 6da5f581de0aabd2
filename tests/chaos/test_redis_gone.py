"""Redis is away in the moment in which an animation ends: what R4 meets only now and then, met each time."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import pytest

from tests.chaos.cluster import SHORT, Cluster
from tests.chaos.trial import Trial
from tests.conftest import wait_until
from worker.jobs import JobState

PATIENCE_S = 90.0


@pytest.mark.timeout(300)
def test_what_is_drawn_waits_for_redis(tmp_path: Path) -> None:
    with (
        Cluster(tmp_path, replace(SHORT, lease_s=60.0), apis=1, workers=1) as cluster,
        Trial("redis", cluster, tmp_path, random.Random(0)) as trial,
    ):
        job_id = trial.submit_directly(trial.new_source(seconds=3.0)).animation_id

        def runs() -> bool:
            job = trial.watcher.last(job_id)
            return job is not None and job.state is JobState.PROCESSING

        wait_until(runs, "it runs", PATIENCE_S)
        cluster.redis.kill()
        stored = f"animations/{job_id}/result-1.mp4"
        wait_until(lambda: stored in trial.storage.list_keys(f"animations/{job_id}"), "it is drawn", PATIENCE_S)
        cluster.start_redis()
        wait_until(lambda: trial.watcher.ended_at_s(job_id) is not None, "it ends", PATIENCE_S)
        job = trial.watcher.last(job_id)
        assert job is not None
        assert (job.state, job.attempt) == (JobState.SUCCEEDED, 1)
