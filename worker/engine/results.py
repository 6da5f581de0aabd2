"""From the files that an animation left to the objects of its result: all of them visible in one commit, or none."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from worker.engine.animation import AnimationReport
from worker.job_store import Claim
from worker.jobs import TEMPLATE_MEDIA_TYPE, JobResult, JobView, folder_of
from worker.result_formats import RESULT_FORMATS, VIEW_FORMAT, FormatName, ViewName
from worker.storage import Storage


class Outcome(NamedTuple):
    """A result and the local files of its objects."""

    result: JobResult
    files: dict[str, Path]
    """By key."""

    def store(self, storage: Storage) -> None:
        """Store every object. Nobody sees them before the commit. Raises StorageUnavailable."""
        types = {stored.key: stored.media_type for stored in (self.result, *self.result.views.values())}
        for key, path in self.files.items():
            storage.put_file(key, path, types[key])

    def remove(self, storage: Storage) -> None:
        """Delete them again: they were not committed."""
        for key in self.files:
            storage.delete(key)


def outcome_of(
    claim: Claim, output: Path, report: AnimationReport, *, model: str, result_format: FormatName
) -> Outcome:
    """What this attempt has made."""
    # The fence in the keys: two workers that both believe to own the job never write the same object. All begin with
    # `result-`: what no commit has made visible is swept (`api.object_sweeper`).
    stem = f"animations/{claim.job.id}/result-{claim.fence}"
    known = RESULT_FORMATS[result_format]
    views: dict[ViewName, JobView] = {
        view.name: JobView(
            key=f"{stem}-{view.name}{view.path.suffix}",
            media_type=RESULT_FORMATS[VIEW_FORMAT].media_type,
            size_bytes=view.path.stat().st_size,
            sha256=_sha256(view.path),
            width=view.width,
            height=view.height,
        )
        for view in report.views
    }
    result = JobResult(
        key=f"{stem}{known.suffix}",
        media_type=known.media_type,
        size_bytes=output.stat().st_size,
        sha256=_sha256(output),
        model=model,
        views=views,
        **{name: value for name, value in report._asdict().items() if name != "views"},
    )
    return Outcome(result, {result.key: output, **{views[view.name].key: view.path for view in report.views}})


def template_outcome(claim: Claim, output: Path, report: Mapping[str, Any]) -> Outcome:
    """What this attempt at a motion template has made."""
    job_id = claim.job.id
    result = JobResult(
        key=f"{folder_of(job_id)}/result-{claim.fence}{output.suffix}",
        media_type=TEMPLATE_MEDIA_TYPE,
        size_bytes=output.stat().st_size,
        sha256=_sha256(output),
        model=claim.job.options.model or "",
        **report,
    )
    return Outcome(result, {result.key: output})


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
