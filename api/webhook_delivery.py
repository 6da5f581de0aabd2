"""Delivers what the outbox holds: at least once, under an id that stays the same, on a schedule of days.

Every API process does so; `take` gives each webhook to one of them at a time, and to another when that one dies.
"""

from __future__ import annotations

import random
import threading
from datetime import UTC, datetime

from api.dependencies import Services
from api.outbound import DestinationRefused, Unanswered, post
from api.resource import public
from api.rounds import Rounds
from api.webhook_form import EVENTS, outbound_policy
from worker import logs
from worker.jobs import Job, WebhookTarget, as_utc
from worker.webhook_outbox import DueWebhook

log = logs.get_logger(__name__)

MINUTE, HOUR = 60, 3600
SCHEDULE_S = (5, 5 * MINUTE, 30 * MINUTE, 2 * HOUR, 5 * HOUR, 10 * HOUR, 14 * HOUR, 20 * HOUR, 24 * HOUR)
"""Waits after the first attempt, the second, ... as Standard Webhooks proposes; after the last it is given up."""
_JITTER = 0.1
_LONGEST_WAIT_S = 24 * HOUR
_GONE = 410
_NAMES = {state: event for event, state in EVENTS.items()}


class WebhookCourier:
    """A thread that looks into the outbox, and a few more that send."""

    def __init__(self, services: Services) -> None:
        settings = services.api_settings
        self._services = services
        self._policy = outbound_policy(settings)
        self._free = threading.Semaphore(settings.webhook_senders)
        self._rounds = Rounds("webhooks", self.send_due, settings.webhook_interval_s)

    def start(self) -> None:
        """Begin to deliver."""
        self._rounds.start()

    def stop(self) -> None:
        """End. What is on its way is taken up again by another process, or by the next one."""
        self._rounds.stop()

    def send_due(self) -> None:
        """Hand everything whose time has come to the senders. Raises QueueUnavailable."""
        # Taken one by one, each by a sender that is free: so none waits here while its hold runs out.
        while not self._rounds.stopping.is_set() and self._free.acquire(timeout=0.1):
            # Longer than an attempt can last, names that resolve slowly included.
            taken = []
            try:
                taken = self._services.job_store.webhooks.take(1, self._policy.timeout_s + 60)
            finally:
                if not taken:
                    self._free.release()
            if not taken:
                return
            # A daemon: a receiver that does not answer must not keep the process from ending.
            threading.Thread(target=self._send, args=taken, name="webhook", daemon=True).start()

    def _send(self, due: DueWebhook) -> None:
        with logs.bound(animation_id=due.job_id, webhook_attempt=due.attempt):
            try:
                self._deliver(due)
            except Exception:
                # It stays in the outbox and comes again after its hold.
                log.exception("webhook_attempt_broke")
            finally:
                self._free.release()

    def _deliver(self, due: DueWebhook) -> None:
        outbox = self._services.job_store.webhooks
        job = self._services.job_store.get(due.job_id)
        if job is None or job.context.webhook is None:
            outbox.remove(due.job_id)
            return
        status, asked_s = self._attempt(job, job.context.webhook)
        if status is not None and 200 <= status < 300:
            outbox.remove(job.id)
            log.info("webhook_delivered", status=status)
        elif status == _GONE or due.attempt > len(SCHEDULE_S):
            outbox.remove(job.id)
            log.warning("webhook_given_up", status=status)
        else:
            wait_s = SCHEDULE_S[due.attempt - 1] * random.uniform(1, 1 + _JITTER)  # noqa: S311 - no secret
            outbox.put_off(job.id, max(wait_s, min(asked_s or 0, _LONGEST_WAIT_S)))

    def _attempt(self, job: Job, target: WebhookTarget) -> tuple[int | None, int | None]:
        """The status of the answer, if any, and how long it asks to wait."""
        body = self._body(job)
        headers = {
            "Content-Type": "application/json",
            "User-Agent": "Animato",
            **self._services.webhook_signer.headers(job.context.client_id, message_id(job), datetime.now(UTC), body),
        }
        try:
            answer = post(target.url, body, headers, self._policy)
        except (DestinationRefused, Unanswered) as error:
            # The URL itself is not logged: it may have a secret in it.
            log.info("webhook_failed", reason=str(error))
            return None, None
        log.info("webhook_answered", status=answer.status)
        return answer.status, answer.retry_after_s

    def _body(self, job: Job) -> bytes:
        self._services.links.load()
        animation = public(job, self._services, "")
        ended_at = as_utc(job.finished_at or 0).isoformat().replace("+00:00", "Z")
        head = f'{{"type":"{_NAMES[job.state]}","timestamp":"{ended_at}","data":'
        return f"{head}{animation.model_dump_json()}}}".encode()


def message_id(job: Job) -> str:
    """The `webhook-id`: an animation ends once, so its own id will do. Receivers know by it what they have seen."""
    return f"msg_{job.id.removeprefix('anm_')}"
