"""`animato jobs`: what an operator does with animations: look at them, cancel, and try failed ones again."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import click

from commands.options import data_dir_option, read_settings
from worker.terminal import errors_in_one_line

if TYPE_CHECKING:
    from worker.job_store import JobStore
    from worker.jobs import Job
    from worker.settings import Settings


@click.group()
def jobs() -> None:
    """Look at animations, cancel them, try failed ones again."""


@jobs.command("list")
@click.option("--limit", type=click.IntRange(1, 1000), default=50, show_default=True)
@data_dir_option
@errors_in_one_line
def list_jobs(limit: int, data_dir: Path | None) -> None:
    """List animations, the newest first."""
    with _job_store(data_dir) as (store, _):
        for job in store.page(limit):
            click.echo(_line(job))


@jobs.command("dead")
@click.option("--limit", type=click.IntRange(1, 1000), default=50, show_default=True)
@data_dir_option
@errors_in_one_line
def list_dead(limit: int, data_dir: Path | None) -> None:
    """List failed animations that were not tried again, the newest first."""
    with _job_store(data_dir) as (store, _):
        for job in store.get_many(store.upkeep.dead(limit)):
            if job is not None:
                click.echo(_line(job))


@jobs.command("show")
@click.argument("animation_id")
@data_dir_option
@errors_in_one_line
def show_job(animation_id: str, data_dir: Path | None) -> None:
    """Show the whole record of an animation."""
    with _job_store(data_dir) as (store, _):
        click.echo(_found(store.get(animation_id), animation_id).model_dump_json(indent=2))


@jobs.command("cancel")
@click.argument("animation_id")
@data_dir_option
@errors_in_one_line
def cancel_job(animation_id: str, data_dir: Path | None) -> None:
    """Cancel an animation, queued or running."""
    with _job_store(data_dir) as (store, _):
        job = _found(store.cancel(animation_id), animation_id)
        stopping = " (its worker is told to stop)" if not job.state.is_terminal else ""
        click.echo(f"{job.id}: {job.state}{stopping}")


@jobs.command("retry")
@click.argument("animation_id", required=False)
@click.option("--all", "every", is_flag=True, help="All on the dead list.")
@click.option("--code", help="With --all: only those that failed with this code.")
@data_dir_option
@errors_in_one_line
def retry_jobs(animation_id: str | None, every: bool, code: str | None, data_dir: Path | None) -> None:
    """Try a failed animation again: as a new one, with the same files and options, linked by `retry_of`."""
    from worker.errors import QueueUnavailable
    from worker.job_queue import make_queue, ring
    from worker.retrying import retry
    from worker.storage import open_storage

    if (animation_id is None) != every or (code and not every):
        raise click.UsageError("give an id, or --all with or without --code")
    with _job_store(data_dir) as (store, settings):
        storage, queue = open_storage(settings), make_queue(settings, only_rings=True)
        failed = store.get_many(store.upkeep.dead(at_most=100_000) if every else [animation_id or ""])
        wanted = [job for job in failed if job and (not code or (job.error and job.error.code == code))]
        if animation_id is not None:
            _found(failed[0], animation_id)
        for job in wanted:
            again = retry(job, store, storage)
            if again is not None:
                with suppress(QueueUnavailable):  # the housekeeper rings
                    ring(queue, again.id)
                click.echo(f"{job.id}: tried again as {again.id}")
            elif not every:
                raise click.UsageError(f"{job.id} is not on the dead list (any more); it is {job.state}")
        if every:
            click.echo(f"{len(wanted)} on the dead list")


@contextmanager
def _job_store(data_dir: Path | None) -> Iterator[tuple[JobStore, Settings]]:
    from worker.embedded_redis import borrowed_redis
    from worker.job_store import JobStore

    with borrowed_redis(read_settings(data_dir=data_dir)) as settings:
        store = JobStore.connect(settings)
        try:
            yield store, settings
        finally:
            store.close()


def _found(job: Job | None, animation_id: str) -> Job:
    if job is None:
        raise click.UsageError(f"there is no animation {animation_id}")
    return job


def _line(job: Job) -> str:
    from worker.jobs import as_utc

    created = as_utc(job.created_at).strftime("%Y-%m-%d %H:%M:%S")
    frames = f"{job.frames_done}/{job.frames_total}"
    about = job.error.code if job.error else (job.context.client_id or "")
    return f"{job.id}  {created}  {job.state:10}  attempt {job.attempt}  {frames:>11}  {about}".rstrip()
