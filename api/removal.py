"""Remove a job at the wish of its owner, in any state."""

from __future__ import annotations

from contextlib import suppress

import anyio
import anyio.to_thread

from api.dependencies import Services
from api.object_sweeper import delete_objects
from api.threads import in_thread
from worker.errors import QueueUnavailable, StorageUnavailable
from worker.jobs import Job

_WAIT_S = 5.0
"""For the objects; when the storage does not answer in time, the object sweeper deletes them later."""


async def remove(job: Job, services: Services) -> None:
    """The record, then its objects as far as the storage answers. Raises QueueUnavailable."""
    # First the record, which puts the id into the trash in the same step: from then on the objects are deleted whatever
    # happens here, and no worker can make a result visible any more.
    await in_thread(services.job_store.purge, job.id)
    with anyio.move_on_after(_WAIT_S), suppress(StorageUnavailable, QueueUnavailable):
        await anyio.to_thread.run_sync(
            delete_objects, services.job_store, services.storage, job.id, abandon_on_cancel=True
        )
