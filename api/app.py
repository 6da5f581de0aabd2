"""The application: `uvicorn --factory api.app:create_app`."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from functools import partial
from importlib.metadata import version

import anyio
import anyio.to_thread
from fastapi import Depends, FastAPI

from api import openapi, problem_answers
from api.access import Door
from api.dependencies import Services, caller
from api.forecast import Forecaster
from api.housekeeper import Housekeeper
from api.metrics import ApiMetrics
from api.middleware import RequestBorder
from api.object_sweeper import ObjectSweeper
from api.rate_limits import RateLimiter
from api.routes import animations, events, health, metrics, models, motions, preflights, results, web
from api.settings import ApiSettings
from api.shutdown import told_to_stop
from api.signed_links import LinkSigner
from api.upload_folder import open_upload_folder
from api.uploads import UploadDesk
from api.watching import Watcher
from api.webhook_delivery import WebhookCourier
from api.webhook_signing import WebhookSigner
from worker import logs, tracing
from worker.api_keys import KeyStore
from worker.job_queue import make_queue, ring
from worker.job_store import JobStore
from worker.media_probe import check_ffmpeg
from worker.preflights import PreflightLine
from worker.redis_client import connect
from worker.settings import Settings
from worker.storage import open_storage

_SWITCH_INTERVAL_S = 0.0005
_DESCRIPTION = """Animate a picture like a video: send both, poll, download.

Errors are `application/problem+json` with a stable `code` (docs/api.md has the table)."""


def create_app(settings: Settings | None = None, api_settings: ApiSettings | None = None) -> FastAPI:
    """The application on these settings, by default those of the environment. Connects when it is started."""
    settings = settings or Settings()
    api_settings = api_settings or ApiSettings()
    numbers = ApiMetrics()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        logs.configure(settings.log_level)
        # A request goes back and forth between the event loop and threads that ask Redis; beside a busy thread each way
        # would wait for up to Python's 5 ms.
        sys.setswitchinterval(_SWITCH_INTERVAL_S)
        tracing.set_up("animato-api")
        check_ffmpeg()
        with ExitStack() as stack:
            app.state.services = services = await anyio.to_thread.run_sync(
                lambda: _open_services(stack, settings, api_settings, numbers)
            )
            housekeeper = Housekeeper(services.job_store, services.ring, api_settings)
            sweeper = ObjectSweeper(services.job_store, services.storage, services.uploads.folder.parent, api_settings)
            courier = WebhookCourier(services)
            housekeeper.start()
            sweeper.start()
            if api_settings.webhooks_enabled:
                courier.start()
            loop = asyncio.get_running_loop()
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(services.watcher.run)
                try:
                    with told_to_stop(lambda: loop.call_soon_threadsafe(services.watcher.close)):
                        yield
                finally:
                    services.watcher.close()
                    with anyio.CancelScope(shield=True):
                        await anyio.to_thread.run_sync(housekeeper.stop)
                        await anyio.to_thread.run_sync(sweeper.stop)
                        await anyio.to_thread.run_sync(courier.stop)
                        await anyio.to_thread.run_sync(tracing.shut_down)

    app = FastAPI(
        title="Animato",
        version=version("animato"),
        description=_DESCRIPTION,
        lifespan=lifespan,
        # The pages that show the document load scripts from other hosts.
        docs_url=None,
        redoc_url=None,
        openapi_tags=[
            {"name": "animations", "description": "From the upload to the result."},
            {"name": "motions", "description": "The motion of a video, extracted once."},
            {"name": "service", "description": "What this service has and how it is."},
        ],
    )
    # Everything behind the door, but for what says whether the process is well; metrics have a second key to it.
    app.include_router(health.router)
    app.include_router(metrics.router)
    app.include_router(web.router)
    app.include_router(results.router)  # brings a door of its own: a signed link opens it too
    for routes in (preflights, animations, events, motions, models):
        app.include_router(routes.router, dependencies=[Depends(caller)])
    problem_answers.install_handlers(app, api_settings.retry_after_s)
    openapi.complete(app, webhooks=api_settings.webhooks_enabled, input_urls=bool(api_settings.input_hosts))
    app.add_middleware(RequestBorder, settings=api_settings, metrics=numbers)
    return app


def _open_services(stack: ExitStack, settings: Settings, api_settings: ApiSettings, numbers: ApiMetrics) -> Services:
    job_store = JobStore.connect(settings)
    stack.callback(job_store.close)
    # Keys and quotas share connections of their own, so that no long look at records keeps callers waiting at the door.
    client = connect(settings)
    stack.callback(client.close)
    door = Door(KeyStore(client, settings), RateLimiter(client), api_settings, allow_anonymous=settings.allow_anonymous)
    queue = make_queue(settings, only_rings=True)
    stack.callback(queue.close)
    numbers.show_animations(job_store, client)
    upload_dir = api_settings.upload_dir or settings.data_dir / "uploads"
    folder = stack.enter_context(open_upload_folder(upload_dir))
    return Services(
        settings=settings,
        api_settings=api_settings,
        door=door,
        links=LinkSigner(client, api_settings),
        webhook_signer=WebhookSigner(client, api_settings),
        job_store=job_store,
        preflights=PreflightLine(client),
        storage=open_storage(settings, numbers.storage_call),
        ring=partial(ring, queue),
        uploads=UploadDesk(folder=folder, settings=api_settings, media_limits=settings.limits),
        watcher=Watcher(job_store, api_settings.watch_interval_s),
        forecaster=Forecaster(job_store),
        metrics=numbers,
    )
