"""Who is let in: keys, callers without one, quotas, headers, pages of other origins."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator

import httpx
import pytest
from fastapi.routing import APIRoute

from api.app import create_app
from api.openapi import OPEN_PATHS
from tests.api.conftest import Service, assert_problem
from tests.conftest import wait_until
from worker.api_keys import KeyStore, make_key
from worker.loopback import is_loopback
from worker.settings import Settings

Serve = Callable[..., Service]


@pytest.fixture
def keys(settings: Settings) -> Iterator[KeyStore]:
    """The keys of the installation that `serve` starts."""
    store = KeyStore.connect(settings)
    yield store
    store.close()


def bearer(text: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {text}"}


def test_with_a_key_in_existence_every_caller_needs_one(serve: Serve, keys: KeyStore) -> None:
    service = serve()
    assert service.http.get("/animations").status_code == 200

    text, key = keys.create("website")

    refused = service.http.get("/animations")
    assert_problem(refused, 401, "unauthorized")
    assert refused.headers["www-authenticate"] == 'Bearer realm="animato"'
    assert service.http.get("/animations", headers=bearer(text)).status_code == 200
    assert service.http.get("/animations", headers={"X-API-Key": text}).status_code == 200
    assert service.http.get("/animations", headers={"Authorization": f"bearer  {text}"}).status_code == 200
    keys.create("another")
    keys.revoke(key.id)
    assert_problem(service.http.get("/animations", headers=bearer(text)), 401, "unauthorized")


def test_a_refusal_does_not_say_whether_the_key_existed(serve: Serve, keys: KeyStore) -> None:
    service = serve()
    keys.create("website")
    revoked, key = keys.create("old")
    keys.revoke(key.id)

    answers = [
        service.http.get("/animations", headers={**bearer(text), "X-Request-ID": "12345678"})
        for text in (revoked, make_key("x")[0], "nonsense", "ank_" + "0" * 43)
    ]

    assert len({(answer.status_code, answer.text, answer.headers["www-authenticate"]) for answer in answers}) == 1
    assert answers[0].headers["www-authenticate"] == 'Bearer realm="animato", error="invalid_token"'


def test_a_key_is_refused_where_there_are_none(serve: Serve) -> None:
    assert_problem(serve().http.get("/animations", headers=bearer(make_key("x")[0])), 401, "unauthorized")


def test_every_route_is_behind_the_door(serve: Serve, keys: KeyStore) -> None:
    keys.create("website")
    service = serve()
    routers = [getattr(route, "original_router", None) for route in create_app(service.settings).routes]
    routes = [route for router in routers if router for route in router.routes if isinstance(route, APIRoute)]
    assert {route.path for route in routes} >= OPEN_PATHS

    for route in routes:
        path = route.path.replace("{animation_id}", "anm_" + "0" * 26)
        for method in route.methods or ():
            answer = service.http.request(method, path)
            assert (answer.status_code == 401) is (route.path not in OPEN_PATHS), (method, path, answer.text)
    assert service.http.get("/openapi.json").status_code == 200


def test_a_refused_upload_leaves_nothing_and_is_told_why(serve: Serve, keys: KeyStore, files: object) -> None:
    keys.create("website")
    service = serve()
    big = {"source_image": ("a", b"x" * 3_000_000), "driving_video": ("b", b"y" * 3_000_000)}

    assert_problem(service.post(big), 401, "unauthorized")

    assert list(service.storage.list_keys("animations")) == []


def test_without_redis_nobody_is_refused_for_good(serve: Serve, settings: Settings) -> None:
    entry = make_key("website")[1]
    away = settings.model_copy(update={"redis_url": "redis://127.0.0.1:1/0", "api_keys": entry})
    service = serve(settings=away)

    problem = assert_problem(service.http.get("/models", headers=bearer(make_key("x")[0])), 503, "queue_unavailable")

    assert problem["hint"]
    assert_problem(service.http.get("/models"), 401, "unauthorized")  # there is a key, whatever Redis says
    assert service.http.get("/healthz").status_code == 200


def test_openapi_knows_the_door(service: Service) -> None:
    document = service.http.get("/openapi.json").json()

    listed = document["paths"]["/animations"]["get"]
    assert listed["security"] == [{"bearer": []}, {"header": []}, {}]
    assert {"401", "403", "429", "503"} <= set(listed["responses"])
    assert "security" not in document["paths"]["/healthz"]["get"]
    assert "401" not in document["paths"]["/healthz"]["get"]["responses"]


# -- without keys ---------------------------------------------------------------------------------------------------


def address_of_this_machine() -> str:
    """An address that is not the loopback, for which nothing has to be sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            pytest.skip("this machine has no network")
        return probe.getsockname()[0]


def test_without_keys_only_this_machine_is_let_in(serve: Serve, settings: Settings, keys: KeyStore) -> None:
    address = address_of_this_machine()
    if is_loopback(address):
        pytest.skip("this machine has no network")
    service = serve(host="0.0.0.0")
    url = f"http://{address}:{service.port}"
    assert service.http.get("/animations").status_code == 200

    problem = assert_problem(httpx.get(f"{url}/animations"), 403, "anonymous_not_allowed")
    assert "animato keys create" in str(problem["hint"])
    assert httpx.get(f"{url}/healthz").status_code == 200

    text, _ = keys.create("website")
    assert httpx.get(f"{url}/animations", headers=bearer(text)).status_code == 200
    open_to_all = serve(settings=settings.model_copy(update={"allow_anonymous": True}), host="0.0.0.0")
    assert_problem(httpx.get(f"http://{address}:{open_to_all.port}/animations"), 401, "unauthorized")
    keys.revoke("website")
    assert httpx.get(f"http://{address}:{open_to_all.port}/animations").status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"X-Forwarded-For": "203.0.113.7"},
        {"Forwarded": "for=203.0.113.7"},
        {"Host": "rebound.example.org"},
        {"Host": "rebound.example.org:127"},
        {"Host": "[::1"},
    ],
)
def test_what_only_looks_local_is_not_let_in(service: Service, headers: dict[str, str]) -> None:
    """A proxy on this machine speaks for others; a page can have its name point here, but sends that name."""
    assert_problem(service.http.get("/animations", headers=headers), 403, "anonymous_not_allowed")


@pytest.mark.parametrize("host", ["localhost", "localhost:8000", "127.0.0.1", "127.9.9.9", "[::1]:8000"])
def test_names_of_this_machine(service: Service, host: str) -> None:
    assert service.http.get("/animations", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("127.0.0.1", True),
        ("127.255.0.3", True),
        ("::1", True),
        ("::ffff:127.0.0.1", True),
        ("10.0.0.1", False),
        ("0.0.0.0", False),
        ("::", False),
        ("::ffff:10.0.0.1", False),
        ("/run/socket", False),
        ("", False),
    ],
)
def test_loopback(address: str, expected: bool) -> None:
    assert is_loopback(address) is expected


def test_a_page_of_another_place_cannot_send_a_form(service: Service, files: object) -> None:
    answer = service.http.post("/animations", files=files, headers={"Origin": "https://evil.example"})  # pyright: ignore

    assert_problem(answer, 403, "cross_origin_refused")
    assert_problem(service.http.get("/models", headers={"Origin": "null"}), 403, "cross_origin_refused")
    own = {"Origin": f"http://127.0.0.1:{service.port}"}
    assert service.http.get("/models", headers=own).status_code == 200
    service.assert_nothing_left()


# -- quotas ---------------------------------------------------------------------------------------------------------


def test_more_requests_than_the_quota_wait(serve: Serve, keys: KeyStore) -> None:
    service = serve(requests_per_minute=3)
    text, _ = keys.create("website")
    same_client, _ = keys.create("website")
    other, _ = keys.create("other")

    passed = [service.http.get("/models", headers=bearer(key)) for key in (text, same_client, text)]
    assert [answer.status_code for answer in passed] == [200, 200, 200]
    assert passed[0].headers["ratelimit-policy"] == '"requests";q=3;w=60'
    assert passed[0].headers["ratelimit"].startswith('"requests";r=2;t=')
    assert passed[2].headers["ratelimit"].startswith('"requests";r=0;t=')

    refusals = [service.http.get("/models", headers=bearer(text)) for _ in range(3)]
    for refused in refusals:  # who is refused loses nothing by it
        assert_problem(refused, 429, "rate_limited")
        assert 1 <= int(refused.headers["retry-after"]) <= 20  # a third of the quota is back after a third of a minute
    assert refusals[0].headers["ratelimit"].startswith('"requests";r=0;t=')
    assert service.http.get("/models", headers=bearer(other)).status_code == 200
    assert service.http.get("/healthz").status_code == 200


def test_the_quota_comes_back(serve: Serve, keys: KeyStore) -> None:
    service = serve(requests_per_minute=120)
    text, _ = keys.create("website")
    while service.http.get("/models", headers=bearer(text)).status_code == 200:
        pass

    wait_until(lambda: service.http.get("/models", headers=bearer(text)).status_code == 200, "one more may come")


def test_submissions_have_a_quota_of_their_own(serve: Serve, keys: KeyStore, files: object) -> None:
    service = serve(submissions_per_minute=1)
    text, _ = keys.create("website")

    def post() -> httpx.Response:
        return service.http.post("/animations", files=files, headers=bearer(text))  # pyright: ignore

    accepted = post()
    assert accepted.status_code == 202
    assert accepted.headers["ratelimit-policy"] == '"requests";q=600;w=60, "submissions";q=1;w=60'
    assert '"submissions";r=0;' in accepted.headers["ratelimit"]
    assert_problem(post(), 429, "rate_limited")
    assert service.http.get("/animations", headers=bearer(text)).status_code == 200
    assert len(list(service.storage.list_keys("animations"))) == 2


def test_callers_without_a_key_are_not_counted(serve: Serve) -> None:
    service = serve(requests_per_minute=1)

    answers = [service.http.get("/models") for _ in range(3)]

    assert [answer.status_code for answer in answers] == [200, 200, 200]
    assert "ratelimit" not in answers[0].headers


# -- headers --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/healthz", "/models", "/none", "/animations/anm_0", "/openapi.json"])
def test_every_answer_has_the_headers_of_safety(service: Service, path: str) -> None:
    headers = service.http.get(path).headers

    assert headers["x-content-type-options"] == "nosniff"
    assert headers["content-security-policy"] == "default-src 'none'; frame-ancestors 'none'"
    assert headers["x-frame-options"] == "DENY"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["cross-origin-resource-policy"] == "same-origin"
    assert "strict-transport-security" not in headers
    assert not [name for name in headers if name.startswith("access-control")]


def test_strict_transport_security_when_told(serve: Serve) -> None:
    headers = serve(hsts_max_age_s=31536000).http.get("/healthz").headers
    assert headers["strict-transport-security"] == "max-age=31536000"


def test_pages_of_an_allowed_origin(serve: Serve, keys: KeyStore) -> None:
    page, other = "https://app.example.org", "https://evil.example"
    service = serve(cors_origins=f"{page}, https://two.example.org/", body_max_bytes=1000)
    keys.create("website")

    asked = service.http.options(
        "/animations",
        headers={
            "Origin": page,
            "Access-Control-Request-Method": "POST",
            "Access-Control-Request-Headers": "authorization,idempotency-key,last-event-id",
        },
    )
    assert asked.status_code == 200
    assert asked.headers["access-control-allow-origin"] == page
    assert "access-control-allow-credentials" not in asked.headers
    assert asked.headers["x-frame-options"] == "DENY"

    # A page can read why it was refused, also where the outermost layer answers.
    for refused in (
        service.http.get("/animations", headers={"Origin": page}),
        service.http.post("/animations", headers={"Origin": page}, content=b"x" * 2000),
    ):
        assert refused.status_code in (401, 413)
        assert refused.headers["access-control-allow-origin"] == page
        exposed = refused.headers["access-control-expose-headers"].lower().split(", ")
        assert {"etag", "location", "x-request-id", "retry-after", "ratelimit"} <= set(exposed)
    assert "access-control-allow-origin" not in service.http.get("/healthz", headers={"Origin": other}).headers


def test_the_same_pages_without_keys(serve: Serve) -> None:
    service = serve(cors_origins="https://app.example.org")

    answer = service.http.get("/animations", headers={"Origin": "https://app.example.org"})

    assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (200, "https://app.example.org")
