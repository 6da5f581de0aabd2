"""Try a failed animation again: as a new animation, because a final record never changes (docs/decisions/0004)."""

from __future__ import annotations

from worker.errors import AnimationError
from worker.job_store import JobStore
from worker.jobs import Job, folder_of, new_id
from worker.storage import Storage
from worker.submit_refusals import AlreadyRetriedError


def retry(failed: Job, store: JobStore, storage: Storage) -> Job | None:
    """The new animation, with copies of the inputs; None when `failed` is not on the dead list (any more).

    The copies come first and the record last, as with an upload: what is left of one that was cut off is an orphan.
    Raises AnimationError (`input_missing`), QueueUnavailable, StorageUnavailable.
    """
    job_id = new_id(failed.kind)
    keys = {key: f"{folder_of(job_id)}/{key.rpartition('/')[2]}" for key in failed.input.keys}
    try:
        for key, copy in keys.items():
            storage.copy(key, copy)
    except FileNotFoundError as error:
        raise AnimationError(f"An input of {failed.id} is no longer stored.", code="input_missing") from error
    job_input = failed.input.model_copy(
        update={"source_key": keys.get(failed.input.source_key, ""), "driving_key": keys[failed.input.driving_key]}
    )
    context = failed.context.model_copy(update={"retry_of": failed.id})
    try:
        return store.submit(job_id, job_input, failed.options, context)
    except AlreadyRetriedError:
        for key in keys.values():
            storage.delete(key)
        return None
