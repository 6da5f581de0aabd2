"""Deletes objects that belong to no animation any more: of removed records, of uploads that never became one, and
results of workers that came too late.

Like the housekeeper one process at a time does it, every step may be done twice, and nothing is lost when the storage
is away: the ids of removed records stay in the trash until all their objects are gone.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator
from datetime import timedelta
from itertools import chain, islice
from pathlib import Path

from api.rounds import Rounds
from api.settings import ApiSettings
from api.upload_folder import remove_abandoned
from worker import logs
from worker.errors import StorageUnavailable
from worker.job_store import JobStore
from worker.jobs import FOLDERS, Job, JobKind, as_utc, folder_of, id_time, is_id
from worker.storage import Storage, StoredObject

_HOLD_S = 300
"""Longer than one call of the storage can take."""
_LOOKED_UP_AT_ONCE = 200
_DELETED_AT_MOST = 1000
_OWNER_KEY = "owner"

log = logs.get_logger(__name__)


def delete_objects(job_store: JobStore, storage: Storage, job_id: str) -> None:
    """Delete every object of a removed record and take it out of the trash. Raises StorageUnavailable."""
    keys = list(storage.list_keys(folder_of(job_id)))
    for key in keys:
        storage.delete(key)
    job_store.upkeep.objects_deleted(job_id)
    log.info("objects_deleted", animation_id=job_id, count=len(keys))


class ObjectSweeper:
    """Empties the trash every few seconds and looks for orphans every hour, from `start` until `stop`."""

    def __init__(self, job_store: JobStore, storage: Storage, upload_dir: Path, settings: ApiSettings) -> None:
        self._job_store = job_store
        self._storage = storage
        self._upload_dir = upload_dir
        self._orphan_interval_s = settings.orphan_sweep_interval_s
        self._grace = timedelta(seconds=settings.orphan_age_s)
        self._next_upload_sweep_s = 0.0
        self._name = secrets.token_hex(8)
        self._rounds = Rounds("object_sweeper", self.sweep, settings.housekeeping_interval_s)
        self.start, self.stop = self._rounds.start, self._rounds.stop

    def sweep(self) -> None:
        """One round. Raises QueueUnavailable or StorageUnavailable."""
        if time.monotonic() >= self._next_upload_sweep_s:
            # Each process for itself: the folder is that of its machine.
            self._next_upload_sweep_s = time.monotonic() + self._orphan_interval_s
            remove_abandoned(self._upload_dir)
        if not self._keeps_duty():
            return
        self.empty_trash()
        # A name of its own each time: the duty cannot be taken again, by anybody, before its time is over.
        if self._job_store.upkeep.take_duty("orphan_sweep", secrets.token_hex(8), self._orphan_interval_s):
            self.remove_orphans()

    def empty_trash(self) -> None:
        """Delete the objects of removed records."""
        upkeep = self._job_store.upkeep
        for job_id in upkeep.trash():
            if not self._keeps_duty():
                return
            try:
                delete_objects(self._job_store, self._storage, job_id)
            except StorageUnavailable:
                # One that cannot be deleted must not keep the others waiting.
                upkeep.put_off_deletion(job_id)
                raise

    def remove_orphans(self) -> None:
        """Delete objects without a record, and results that are not the result of their animation, when they are old.

        Does nothing when the storage belongs to another Redis: with an empty one, everything would be an orphan.
        """
        self._storage.remove_unfinished(self._grace)
        if not self._is_ours():
            log.error("orphan_sweep_refused", reason="the storage belongs to another queue", object=_OWNER_KEY)
            return
        removed = 0
        for orphan in self._orphans():
            # Asked again: it was listed some time ago.
            if removed == _DELETED_AT_MOST or not self._keeps_duty():
                break
            if _is_orphan(orphan, self._job_store.get(_id_of(orphan.key))):
                self._storage.delete(orphan.key)
                log.warning("orphan_deleted", key=orphan.key)
                removed += 1

    def _orphans(self) -> Iterator[StoredObject]:
        oldest_kept = as_utc(self._job_store.upkeep.now_s()) - self._grace
        objects = chain.from_iterable(map(self._storage.list_objects, FOLDERS))
        while chunk := list(islice(objects, _LOOKED_UP_AT_ONCE)):
            # The id tells by the API's clock when it was made, the object by the storage's when it was written.
            old = [
                item
                for item in chunk
                if any(is_id(_id_of(item.key), kind) for kind in JobKind)
                and item.modified_at < oldest_kept
                and as_utc(id_time(_id_of(item.key))) < oldest_kept
            ]
            jobs = self._job_store.get_many([_id_of(item.key) for item in old])
            yield from (item for item, job in zip(old, jobs, strict=True) if _is_orphan(item, job))

    def _is_ours(self) -> bool:
        """Whether the storage has our queue's mark; one that has none gets it."""
        mark = self._job_store.upkeep.storage_mark(secrets.token_hex(16)).encode()
        try:
            size_bytes = self._storage.head(_OWNER_KEY).size_bytes
            return b"".join(self._storage.read(_OWNER_KEY, 0, size_bytes)) == mark
        except FileNotFoundError:
            self._storage.put_bytes(_OWNER_KEY, mark)
            return True

    def _keeps_duty(self) -> bool:
        stopping = self._rounds.stopping.is_set()
        return not stopping and self._job_store.upkeep.take_duty("object_sweeper", self._name, _HOLD_S)


def _id_of(key: str) -> str:
    """`animations/{id}/source` -> id; something else for a key of another form."""
    return (*key.split("/"), "", "")[1]


def _is_orphan(item: StoredObject, job: Job | None) -> bool:
    if job is None:
        return True
    # While it is not final, a worker may be about to commit it.
    name = item.key.rpartition("/")[2]
    is_the_result = job.result is not None and item.key in job.result.keys
    return job.state.is_terminal and name.startswith("result-") and not is_the_result
