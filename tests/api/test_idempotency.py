"""`Idempotency-Key`: one animation for one request, however often it is sent and wherever it is cut."""

from __future__ import annotations

import random
import signal
import socket
import threading
import time
from collections.abc import Callable
from contextlib import closing

import httpx
import pytest

from api.idempotency import read_key
from tests.api.conftest import Service, assert_problem, make_picture
from tests.api.server_process import server_process
from tests.conftest import job_result, wait_until
from worker.api_keys import KeyStore
from worker.job_store import JobStore
from worker.settings import Settings

Files = dict[str, tuple[str, bytes]]


def post(service: Service, files: Files, key: str, **data: str) -> httpx.Response:
    return service.http.post("/animations", files=files, data=data, headers={"Idempotency-Key": key})


def raw_request(files: Files, key: str) -> bytes:
    """The whole request, head and body, as bytes on the wire."""
    request = httpx.Request("POST", "http://127.0.0.1/animations", files=files, headers={"Idempotency-Key": key})
    head = "".join(f"{name}: {value}\r\n" for name, value in request.headers.items())
    return f"POST /animations HTTP/1.1\r\n{head}Connection: close\r\n\r\n".encode() + request.read()


def connect(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=60)


def answer_of(connection: socket.socket) -> bytes:
    with connection.makefile("rb") as stream:
        return stream.read()


def half_sent(service: Service, files: Files, key: str) -> tuple[socket.socket, bytes]:
    """A connection on which all but the end of a request was sent, and that end; the upload holds the key."""
    request = raw_request(files, key)
    connection = connect(service.port)
    connection.sendall(request[:-20])
    wait_until(lambda: bool(service.redis.keys("animato:reserved:*")), "the key is reserved")
    return connection, request[-20:]


def test_a_repeated_request_makes_no_second_animation(service: Service, files: Files) -> None:
    first = post(service, files, "one", motion_transfer="relative", audio="true")
    assert first.status_code == 202
    stored = sorted(service.storage.list_keys("animations"))

    # The options are the same, written in another way.
    second = post(service, files, "one", audio="1", adapt_scale="false")

    assert second.status_code == 202
    assert second.json()["id"] == first.json()["id"]
    assert second.headers["location"] == first.headers["location"]
    assert sorted(service.storage.list_keys("animations")) == stored
    assert len(service.job_store.page(10)) == 1
    assert post(service, files, "another").json()["id"] != first.json()["id"]


def test_when_it_has_ended_the_repeated_request_says_so(service: Service, files: Files) -> None:
    animation_id = post(service, files, "one").json()["id"]
    claim = service.job_store.claim(animation_id, "a worker")
    assert claim
    service.job_store.commit(animation_id, claim.fence, job_result())

    again = post(service, files, "one")

    assert (again.status_code, again.json()["status"]) == (200, "succeeded")


def test_another_request_with_the_same_key_is_refused(service: Service, files: Files) -> None:
    assert post(service, files, "one").status_code == 202

    other = {**files, "source_image": ("face.png", make_picture(90, 90))}
    assert_problem(post(service, other, "one"), 422, "idempotency_key_reused")
    assert_problem(post(service, files, "one", motion_transfer="absolute"), 422, "idempotency_key_reused")
    assert len(service.job_store.page(10)) == 1
    assert len(list(service.storage.list_keys("animations"))) == 2


def test_while_the_first_is_still_coming_in(service: Service, files: Files) -> None:
    connection, rest = half_sent(service, files, "one")
    with closing(connection):
        refused = post(service, files, "one")
        assert_problem(refused, 409, "idempotency_in_progress")
        assert int(refused.headers["retry-after"]) > 0
        connection.sendall(rest)
        assert b"202 Accepted" in answer_of(connection)

    assert post(service, files, "one").json()["id"] == service.job_store.page(10)[0].id


def test_a_request_that_is_cut_gives_its_key_back(service: Service, files: Files) -> None:
    connection, _ = half_sent(service, files, "one")
    connection.close()

    wait_until(lambda: not service.redis.keys("animato:reserved:*"), "the key is free")
    assert post(service, files, "one").status_code == 202


def test_a_request_that_is_refused_gives_its_key_back(service: Service, files: Files, clip: bytes) -> None:
    broken = {**files, "driving_video": ("talk.mp4", clip[: len(clip) // 2])}
    assert post(service, broken, "one").status_code == 422
    assert post(service, files, "one", motion_transfer="sideways").status_code == 422

    assert post(service, files, "one").status_code == 202


def test_a_slow_upload_keeps_its_key(serve: Callable[..., Service], settings: Settings, files: Files) -> None:
    service = serve(settings=settings, idempotency_hold_s=0.3)
    connection, rest = half_sent(service, files, "one")
    renewals = service.redis.info("commandstats")["cmdstat_evalsha"]["calls"]  # pyright: ignore
    wait_until(
        lambda: service.redis.info("commandstats")["cmdstat_evalsha"]["calls"] >= renewals + 6,  # pyright: ignore
        "it was renewed for longer than one reservation lives",
    )
    with closing(connection):
        assert_problem(post(service, files, "one"), 409, "idempotency_in_progress")
        connection.sendall(rest)
        assert b"202 Accepted" in answer_of(connection)


def test_a_killed_process_lets_go_of_its_keys(settings: Settings, job_store: JobStore, files: Files) -> None:
    environment = {"ANIMATO_IDEMPOTENCY_HOLD_S": "2"}
    request = raw_request(files, "one")
    with server_process(settings, **environment) as server, closing(connect(server.port)) as connection:
        connection.sendall(request[:-20])
        wait_until(lambda: bool(job_store._redis.keys("animato:reserved:*")), "the key is reserved")
        server.process.send_signal(signal.SIGKILL)
        server.process.wait()
    with server_process(settings, **environment) as server:

        def accepted() -> bool:
            answer = httpx.post(f"{server.url}/animations", files=files, headers={"Idempotency-Key": "one"})
            assert answer.status_code in (202, 409), answer.text
            return answer.status_code == 202

        wait_until(accepted, "the key is free")
    assert len(job_store.page(10)) == 1


def test_two_uploads_that_both_believe_to_hold_the_key(service: Service, files: Files) -> None:
    """A process that slept longer than its reservation lived finds the animation of the one that came after it."""
    connection, rest = half_sent(service, files, "one")
    with closing(connection):
        service.redis.delete(*service.redis.keys("animato:reserved:*"))  # pyright: ignore
        second = post(service, files, "one")
        connection.sendall(rest)
        answer = answer_of(connection)

    assert second.status_code == 202
    assert b"202 Accepted" in answer
    assert second.json()["id"].encode() in answer
    assert len(service.job_store.page(10)) == 1
    assert len(list(service.storage.list_keys("animations"))) == 2


def test_a_late_upload_of_another_request_is_refused(service: Service, files: Files) -> None:
    connection, rest = half_sent(service, files, "one")
    with closing(connection):
        service.redis.delete(*service.redis.keys("animato:reserved:*"))  # pyright: ignore
        other, other_rest = half_sent(service, {**files, "source_image": ("f", make_picture(90, 90))}, "one")
        connection.sendall(rest)
        assert b"idempotency_in_progress" in answer_of(connection)
        with closing(other):
            other.sendall(other_rest)
            assert b"202 Accepted" in answer_of(other)
    assert len(service.job_store.page(10)) == 1
    assert len(list(service.storage.list_keys("animations"))) == 2


def test_the_key_of_a_removed_animation(service: Service, files: Files) -> None:
    animation_id = post(service, files, "one").json()["id"]
    service.job_store.purge(animation_id)

    assert_problem(post(service, files, "one"), 410, "animation_expired")
    assert service.job_store.page(10) == []


@pytest.mark.parametrize("key", ["", "a b", "a" * 256, "schlüssel", "a\x7f", "٣", '""', '"a\tb"'])
def test_keys_that_cannot_be_used(service: Service, files: Files, key: str) -> None:
    response = service.http.post("/animations", files=files, headers=[(b"Idempotency-Key", key.encode())])

    assert_problem(response, 400, "invalid_idempotency_key", "Idempotency-Key")
    service.assert_nothing_left()


@pytest.mark.parametrize(("value", "key"), [('"a-1"', "a-1"), ('"a b"', "a b"), (r'"a\"\\"', 'a"\\'), ('"a', '"a')])
def test_quotes_around_a_key_are_none_of_it(value: str, key: str) -> None:
    assert read_key([value]) == key


def test_two_keys_are_no_key(service: Service, files: Files) -> None:
    response = service.http.post(
        "/animations", files=files, headers=[("Idempotency-Key", "a"), ("Idempotency-Key", "b")]
    )
    assert_problem(response, 400, "invalid_idempotency_key", "Idempotency-Key")


def test_keys_of_different_clients_have_nothing_to_do_with_each_other(
    serve: Callable[..., Service], settings: Settings, files: Files
) -> None:
    clients = KeyStore.connect(settings)
    tokens = [clients.create(name)[0] for name in ("ann", "ben")]
    clients.close()
    service = serve(settings=settings)

    ids = [
        service.http.post(
            "/animations", files=files, headers={"Idempotency-Key": "one", "Authorization": f"Bearer {token}"}
        ).json()["id"]
        for token in (*tokens, *tokens)
    ]

    assert ids[:2] == ids[2:]
    assert ids[0] != ids[1]


def test_longest_key(service: Service, files: Files) -> None:
    assert post(service, files, "~" * 255).status_code == 202


def test_a_storm_of_duplicates_that_are_cut_anywhere(service: Service, files: Files) -> None:
    storm(service, files, clients=8, duplicates=10)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_great_storm(service: Service, files: Files) -> None:
    storm(service, files, clients=50, duplicates=20)


def storm(service: Service, files: Files, *, clients: int, duplicates: int) -> None:
    """Each client sends its request `duplicates` times from four threads, most of them cut at a random byte."""
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    answers: dict[str, set[str]] = {f"key-{client}": set() for client in range(clients)}
    deadline = time.monotonic() + 600

    def send_some(key: str, rng: random.Random) -> None:
        request = raw_request(files, key)
        for _ in range(duplicates // 4):
            with closing(connect(service.port)) as connection:
                cut = rng.randrange(len(request) + 1) if rng.random() < 0.5 else len(request)
                connection.sendall(request[:cut])
                if cut == len(request) and rng.random() < 0.5:
                    answer_of(connection)

    def be_a_client(key: str) -> None:
        senders = [
            threading.Thread(target=send_some, args=(key, random.Random(f"{seed} {key} {number}")))
            for number in range(4)
        ]
        for sender in senders:
            sender.start()
        for sender in senders:
            sender.join()
        # What any client does in the end: repeat until there is an answer; and once more.
        while len(answers[key]) == 0 or rings.get(key, 0) < 2:
            assert time.monotonic() < deadline
            try:
                response = httpx.post(
                    f"http://127.0.0.1:{service.port}/animations",
                    files=files,
                    headers={"Idempotency-Key": key},
                    timeout=120,
                )
            except httpx.TransportError:
                continue
            assert response.status_code in (202, 409, 503), response.text
            if response.status_code == 202:
                answers[key].add(response.json()["id"])
                rings[key] = rings.get(key, 0) + 1

    rings: dict[str, int] = {}
    threads = [threading.Thread(target=be_a_client, args=(key,)) for key in answers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(660)
        assert not thread.is_alive()

    assert [len(ids) for ids in answers.values()] == [1] * clients
    wait_until(lambda: not service.server.server_state.tasks, "all requests have ended", 120)
    records = {job.id for job in service.job_store.page(10 * clients)}
    assert records == set().union(*answers.values()), "exactly one animation for each client"
    assert len(list(service.storage.list_keys("animations"))) == 2 * clients, "and no object too many"
    assert service.uploaded_files() == []
