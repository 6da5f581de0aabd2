"""Webhooks: written down with the end itself, signed, delivered at least once, to where they may go."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from api.settings import ApiSettings
from api.webhook_delivery import SCHEDULE_S, message_id
from api.webhook_signing import WebhookSecretUnusable, WebhookSigner
from tests.api.conftest import Service, assert_problem
from tests.api.receiver import Receiver, receiving
from tests.conftest import job_result, wait_until
from worker.job_store import JobStore
from worker.jobs import AnimationOptions, Job, JobContext, JobError, JobInput, JobState, WebhookTarget, new_id
from worker.settings import Settings

Serve = Callable[..., Service]
OUTBOX = "animato:outbox:webhooks"
ALL = (JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELED)
LAX: dict[str, Any] = {"webhooks_enabled": True, "webhook_allow_http": True, "webhook_allow_private": True}


def submit(
    store: JobStore, job_input: JobInput, url: str, states: tuple[JobState, ...] = ALL, client_id: str | None = None
) -> Job:
    context = JobContext(client_id=client_id, webhook=WebhookTarget(url=url, states=states))
    return store.submit(new_id(), job_input, AnimationOptions(model="m"), context)


def succeed(store: JobStore, job: Job) -> None:
    claim = store.claim(job.id, "a worker")
    assert claim
    assert store.commit(job.id, claim.fence, job_result(key=f"animations/{job.id}/result-1.mp4"))


def serving(serve: Serve, receiver: Receiver, **more: object) -> Service:
    return serve(**{**LAX, "webhook_ports": str(receiver.port), "webhook_interval_s": 0.05, **more})


def signer(service: Service, **settings: str) -> WebhookSigner:
    return WebhookSigner(service.redis, ApiSettings(**settings))  # pyright: ignore[reportArgumentType]


def due_in_s(service: Service, job: Job) -> float | None:
    score: Any = service.redis.zscore(OUTBOX, job.id)
    now: Any = service.redis.time()
    return None if score is None else score / 1000 - now[0] - now[1] / 1e6


# -- delivery -------------------------------------------------------------------------------------------------------


def test_an_end_is_told_signed(serve: Serve, job_input: JobInput) -> None:
    with receiving() as receiver:
        service = serving(serve, receiver, public_url="https://animato.example.org")
        job = submit(service.job_store, job_input, f"http://127.0.0.1:{receiver.port}/hook?x=1", client_id="one")
        succeed(service.job_store, job)
        wait_until(lambda: service.redis.zcard(OUTBOX) == 0, "it is delivered")

    [(method, path, headers, body)] = receiver.seen
    assert (method, path) == ("POST", "/hook?x=1")
    assert headers["content-type"] == "application/json"
    assert headers["webhook-id"] == message_id(job) == f"msg_{job.id[4:]}"
    [secret] = signer(service).secrets_of("one")
    told = Webhook(secret).verify(body, headers)
    assert told["type"] == "animation.succeeded"
    assert told["data"]["id"] == job.id
    assert told["data"]["status"] == "succeeded"
    assert told["timestamp"] == told["data"]["finished_at"]
    assert told["data"]["result"]["url"].startswith(f"https://animato.example.org/animations/{job.id}/result?")
    assert len(body) < 20_000
    # Not with the secret of another client, nor with another body.
    [other] = signer(service).secrets_of("two")
    for key, changed in ((other, body), (secret, body.replace(b"succeeded", b"failed"))):
        with pytest.raises(WebhookVerificationError):
            Webhook(key).verify(changed, headers)


def test_what_fails_is_sent_again_under_the_same_id(serve: Serve, job_input: JobInput) -> None:
    with receiving() as receiver:
        receiver.status = 500
        service = serving(serve, receiver)
        job = submit(service.job_store, job_input, f"http://127.0.0.1:{receiver.port}/")
        service.job_store.cancel(job.id)
        for attempt, expected_s in enumerate(SCHEDULE_S, start=1):
            wait_until(lambda n=attempt: len(receiver.seen) == n, f"attempt {attempt}")
            wait_until(lambda s=expected_s: (due_in_s(service, job) or 0) > 0.9 * s - 1, "it is put off")
            # An attempt that is going on is put off for 80 s: only the waits below and above that are told apart.
            if expected_s != 5:
                wait = due_in_s(service, job)
                assert wait is not None
                assert expected_s - 60 < wait <= 1.1 * expected_s
            receiver.status = [503, 302, 404][attempt % 3]
            service.redis.zadd(OUTBOX, {job.id: 0}, xx=True)  # as if the wait were over
        wait_until(lambda: len(receiver.seen) == 10, "the last attempt")
        wait_until(lambda: service.redis.zcard(OUTBOX) == 0, "it is given up")

    assert {headers["webhook-id"] for _, _, headers, _ in receiver.seen} == {message_id(job)}
    assert {json.loads(body)["type"] for *_, body in receiver.seen} == {"animation.canceled"}


def test_a_receiver_may_ask_for_more_time_or_for_no_more(serve: Serve, job_input: JobInput) -> None:
    with receiving() as receiver:
        receiver.status, receiver.headers = 429, {"Retry-After": "5000"}
        service = serving(serve, receiver)
        job = submit(service.job_store, job_input, f"http://127.0.0.1:{receiver.port}/")
        service.job_store.cancel(job.id)
        wait_until(lambda: (due_in_s(service, job) or 0) > 4000, "it waits as it was asked to")

        receiver.status, receiver.headers = 410, {}
        service.redis.zadd(OUTBOX, {job.id: 0}, xx=True)
        wait_until(lambda: service.redis.zcard(OUTBOX) == 0, "it is gone")
    assert len(receiver.seen) == 2


def test_a_name_that_leads_inside_is_not_called(serve: Serve, job_input: JobInput) -> None:
    with receiving() as receiver:
        service = serving(serve, receiver, webhook_allow_private=False)
        # `localhost` passes the form, which asks no resolver; the connection is where it is judged.
        job = submit(service.job_store, job_input, f"http://localhost:{receiver.port}/")
        service.job_store.cancel(job.id)
        wait_until(lambda: service.redis.hget(f"animato:job:{job.id}", "webhook_attempts") == "1", "it was tried")
        wait_until(lambda: 0 < (due_in_s(service, job) or 0) <= 6, "it is put off")
    assert receiver.seen == []


def test_off_by_default(serve: Serve, job_input: JobInput) -> None:
    assert not ApiSettings().webhooks_enabled
    service = serve()
    job = submit(service.job_store, job_input, "https://hooks.example.org/")
    service.job_store.cancel(job.id)
    assert service.redis.hget(f"animato:job:{job.id}", "webhook_attempts") is None


def test_both_secrets_sign_while_one_is_replaced(serve: Serve) -> None:
    service = serve()
    old, new = "whsec_" + "b2xk" * 11, "whsec_" + "bmV3" * 11
    now = datetime.now(UTC)
    headers = signer(service, webhook_secrets=f"{new},{old}").headers("one", "msg_1", now, b"{}")
    for secret in (old, new):
        [own] = signer(service, webhook_secrets=secret).secrets_of("one")
        assert own != secret
        Webhook(own).verify("{}", headers)
    for wrong in ("b2xk", "whsec_b2xk", "whsec_%%%%" + "b2xk" * 11):
        with pytest.raises(WebhookSecretUnusable):
            signer(service, webhook_secrets=wrong)


# -- the outbox -----------------------------------------------------------------------------------------------------


def outbox(store: JobStore) -> list[str]:
    return store._redis.zrange(OUTBOX, 0, -1)  # pyright: ignore


def test_every_way_to_an_end_writes_it_down(settings: Settings, job_input: JobInput) -> None:
    """One script makes the end and the entry: there is no moment between them."""
    store = JobStore.connect(settings)
    hasty = JobStore.connect(settings.model_copy(update={"lease_s": 0.001, "max_attempts": 1}))
    url = "https://hooks.example.org/"
    ended: list[str] = []

    done = submit(store, job_input, url)
    succeed(store, done)
    ended.append(done.id)
    assert outbox(store) == ended

    queued = submit(store, job_input, url)
    store.cancel(queued.id)
    ended.append(queued.id)
    assert sorted(outbox(store)) == sorted(ended)

    failed = submit(store, job_input, url)
    claim = store.claim(failed.id, "w")
    assert claim
    store.fail(failed.id, claim.fence, JobError(code="media_rejected", detail="no"), attempt=1)
    ended.append(failed.id)
    assert sorted(outbox(store)) == sorted(ended)

    lost = submit(store, job_input, url)
    assert hasty.claim(lost.id, "dies")
    wait_until(lambda: hasty.claim(lost.id, "another") is None and lost.id in outbox(store), "it is given up")
    store.close()
    hasty.close()


def test_only_the_ends_that_were_asked_for(job_store: JobStore, job_input: JobInput) -> None:
    quiet = submit(job_store, job_input, "https://hooks.example.org/", (JobState.FAILED,))
    succeed(job_store, quiet)
    without = job_store.submit(new_id(), job_input, AnimationOptions(model="m"))
    succeed(job_store, without)
    assert outbox(job_store) == []


def test_one_process_at_a_time_and_another_when_it_dies(job_store: JobStore, job_input: JobInput) -> None:
    job = submit(job_store, job_input, "https://hooks.example.org/")
    job_store.cancel(job.id)

    assert [due.attempt for due in job_store.webhooks.take(10, 0.2)] == [1]
    first_look = job_store.webhooks.take(10, 60)
    wait_until(lambda: bool(first_look or job_store.webhooks.take(10, 60)), "it comes again")
    assert job_store.webhooks.take(10, 60) == []


def test_what_was_deleted_is_told_to_nobody(job_store: JobStore, job_input: JobInput) -> None:
    job = submit(job_store, job_input, "https://hooks.example.org/")
    job_store.cancel(job.id)
    assert job_store.webhooks.take(1, 0.0)

    job_store.purge(job.id)
    job_store.webhooks.put_off(job.id, 0.0)  # the attempt that was on its way

    assert outbox(job_store) == []
    assert job_store._redis.exists(f"animato:job:{job.id}") == 0


# -- the form -------------------------------------------------------------------------------------------------------


def test_the_form_names_who_is_told(serve: Serve, files: object) -> None:
    service = serve(webhooks_enabled=True)

    answer = service.post(
        files,
        {"webhook_url": "https://hooks.example.org/a?b", "webhook_events": "animation.failed, animation.succeeded"},
    )

    assert answer.status_code == 202, answer.text
    job = service.job_store.get(answer.json()["id"])
    assert job is not None
    assert job.context.webhook == WebhookTarget(
        url="https://hooks.example.org/a?b", states=(JobState.FAILED, JobState.SUCCEEDED)
    )
    assert "hooks.example.org" not in answer.text  # it may have a secret in it
    only_url = service.post(files, {"webhook_url": "https://hooks.example.org/"}).json()["id"]
    job = service.job_store.get(only_url)
    assert job is not None
    assert job.context.webhook is not None
    assert job.context.webhook.states == ALL


@pytest.mark.parametrize(
    ("data", "code", "field"),
    [
        ({"webhook_url": "http://hooks.example.org/"}, "webhook_url_refused", "webhook_url"),
        ({"webhook_url": "https://127.0.0.1/"}, "webhook_url_refused", "webhook_url"),
        ({"webhook_url": "https://[::ffff:169.254.169.254]/"}, "webhook_url_refused", "webhook_url"),
        ({"webhook_url": "https://a:b@hooks.example.org/"}, "webhook_url_refused", "webhook_url"),
        ({"webhook_url": "https://hooks.example.org:6379/"}, "webhook_url_refused", "webhook_url"),
        ({"webhook_url": "x"}, "webhook_url_refused", "webhook_url"),
        ({"webhook_url": " "}, "invalid_options", "webhook_url"),
        ({"webhook_events": "animation.failed"}, "invalid_options", "webhook_events"),
        (
            {"webhook_url": "https://a.example/", "webhook_events": "animation.begun"},
            "invalid_options",
            "webhook_events",
        ),
        ({"webhook_url": "https://a.example/", "webhook_events": ","}, "invalid_options", "webhook_events"),
    ],
)
def test_a_form_that_cannot_be_used(serve: Serve, files: object, data: dict[str, str], code: str, field: str) -> None:
    service = serve(webhooks_enabled=True)
    problem = assert_problem(service.post(files, data), 422, code, field)
    assert problem["detail"]
    assert list(service.storage.list_keys("animations")) == []


def test_an_installation_without_webhooks_says_so(service: Service, files: object) -> None:
    answer = service.post(files, {"webhook_url": "https://hooks.example.org/"})
    assert_problem(answer, 422, "webhooks_disabled", "webhook_url")
    service.assert_nothing_left()
