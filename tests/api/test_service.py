"""Models, limits, health, the OpenAPI document, defects, and the documentation."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from api.app import create_app
from api.file_parts import FILE_PARTS, MOTION, URL_FIELDS
from api.problem_catalog import TITLES
from api.settings import ApiSettings
from api.webhook_form import WEBHOOK_FIELDS
from tests.api.conftest import Service, assert_problem
from tests.conftest import REPOSITORY
from worker.jobs import AnimationOptions
from worker.settings import MediaLimits, Settings
from worker.storage import ObjectStorage

METHODS = {"get", "post", "put", "delete", "head", "patch"}
COMMAND_LINE_CODES = {
    *(
        "api_key_not_found",
        "invalid_api_keys",
        "invalid_webhook_secret",
        "invalid_key_name",
        "keys_needed",
        "worker_left",
    ),
    *("data_dir_in_use", "file_not_found", "port_unavailable", "redis_failed", "redis_not_found", "embedded_failed"),
}
"""Codes that never cross HTTP."""


def test_models(service: Service) -> None:
    models = service.http.get("/models").json()["data"]

    default = [model for model in models if model["is_default"]]
    assert [model["name"] for model in default] == [service.settings.model]
    assert default[0]["frame_size"] > 0
    assert "folder" not in default[0]


def test_limits(service: Service) -> None:
    limits = service.http.get("/limits").json()

    assert limits["media"] == MediaLimits().model_dump()
    assert limits["request"]["body_max_bytes"] == 120 * 2**20
    assert limits["queue"]["max_queued"] == 1000
    assert limits["wait"]["wait_max_s"] == 30
    assert limits["idempotency"]["idempotency_keep_s"] == 24 * 3600
    assert limits["retention"]["retention_s"] == 7 * 24 * 3600


def test_limits_are_those_of_the_installation(serve: Callable[..., Service], settings: Settings) -> None:
    settings = settings.model_copy(update={"retention_s": 60.0, "limits": MediaLimits(video_max_frames=7)})
    limits = serve(settings=settings, max_queued=3, wait_max_s=4, page_max=5).http.get("/limits").json()

    assert limits["retention"]["retention_s"] == 60
    assert limits["media"]["video_max_frames"] == 7
    assert (limits["queue"]["max_queued"], limits["wait"]["wait_max_s"], limits["request"]["page_max"]) == (3, 4, 5)


def test_health(service: Service) -> None:
    assert service.http.get("/healthz").json() == {"status": "ok"}
    ready = service.http.get("/readyz")
    assert ready.json() == {"status": "ready", "checks": {"queue": "ok", "storage": "ok"}}


def test_without_a_queue_it_is_healthy_but_not_ready(serve: Callable[..., Service], settings: Settings) -> None:
    service = serve(settings=settings.model_copy(update={"redis_url": "redis://127.0.0.1:1/0"}))

    assert service.http.get("/healthz").status_code == 200
    problem = assert_problem(service.http.get("/readyz"), 503, "not_ready")
    assert problem["errors"] == [{"field": "queue", "detail": "does not answer"}]


def test_a_storage_that_hangs_is_not_ready(serve: Callable[..., Service], monkeypatch: pytest.MonkeyPatch) -> None:
    import threading

    release = threading.Event()
    monkeypatch.setattr(ObjectStorage, "check", lambda _self: release.wait(30))
    service = serve(ready_storage_timeout_s=0.1)

    problem = assert_problem(service.http.get("/readyz"), 503, "not_ready")
    release.set()
    assert problem["errors"] == [{"field": "storage", "detail": "does not answer"}]


def test_a_defect_tells_nothing_about_the_inside(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("the secret")

    monkeypatch.setattr("api.routes.models.list_models", broken)
    response = service.http.get("/models")

    assert_problem(response, 500, "internal_error")
    assert "secret" not in response.text


def test_the_api_needs_no_torch() -> None:
    code = (
        "import sys, api.app; api.app.create_app(); sys.exit('torch' in sys.modules or 'worker.engine' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=REPOSITORY)


# -- the OpenAPI document -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    return create_app(Settings(), ApiSettings(webhooks_enabled=True, input_url_hosts="media.example.org")).openapi()


def operations(document: dict[str, Any]) -> list[tuple[str, str, dict[str, Any]]]:
    return [
        (path, method, operation)
        for path, item in document["paths"].items()
        for method, operation in item.items()
        if method in METHODS
    ]


def test_every_operation_is_described(document: dict[str, Any]) -> None:
    tags = {tag["name"] for tag in document["tags"]}
    ids = [operation["operationId"] for _, _, operation in operations(document)]
    assert len(ids) == len(set(ids))
    for path, _, operation in operations(document):
        assert re.fullmatch(r"[a-z_]+", operation["operationId"])
        assert operation["summary"]
        assert operation["description"]
        assert set(operation["tags"]) <= tags
        for name in re.findall(r"{(\w+)}", path):
            assert name in {parameter["name"] for parameter in operation["parameters"]}


def test_every_error_is_a_problem_with_an_example(document: dict[str, Any]) -> None:
    for path, method, operation in operations(document):
        for status, response in operation["responses"].items():
            if int(status) < 400:
                continue
            content = response["content"]
            assert set(content) == {"application/problem+json"}, (path, method, status)
            media = content["application/problem+json"]
            assert media["schema"] == {"$ref": "#/components/schemas/Problem"}
            for code, example in media["examples"].items():
                assert code in TITLES
                assert example["value"]["status"] == int(status)


def test_every_reference_leads_somewhere(document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]

    def check(node: object) -> None:
        if isinstance(node, dict):
            if "$ref" in node:
                assert node["$ref"].removeprefix("#/components/schemas/") in schemas
            for child in node.values():
                check(child)
        elif isinstance(node, list):
            for child in node:
                check(child)

    check(document)
    assert "HTTPValidationError" not in schemas
    assert schemas["Animation"]["examples"]


def test_the_form_has_both_files_and_every_option(document: dict[str, Any]) -> None:
    form = document["paths"]["/animations"]["post"]["requestBody"]["content"]["multipart/form-data"]["schema"]

    assert set(form["properties"]) == {
        *FILE_PARTS,
        *AnimationOptions.model_fields,
        *WEBHOOK_FIELDS,
        *URL_FIELDS.values(),
        MOTION,
    }
    assert [choice["oneOf"][0]["required"] for choice in form["allOf"]] == [[name] for name in FILE_PARTS]
    assert form["additionalProperties"] is False
    for name in FILE_PARTS:
        assert form["properties"][name]["format"] == "binary"
    assert form["properties"]["motion_transfer"]["enum"] == ["relative", "absolute"]
    assert "anyOf" not in form["properties"]["model"]


def test_the_document_is_served(service: Service, document: dict[str, Any]) -> None:
    assert service.http.get("/openapi.json").json()["paths"].keys() == document["paths"].keys()


# -- codes and the documentation ------------------------------------------------------------------------------------


def codes_in_the_source() -> set[str]:
    """Every constant given as `code=` or set as `code` of a class, in the code that a request can reach."""
    codes: set[str] = set()
    for path in [*(REPOSITORY / "api").rglob("*.py"), *(REPOSITORY / "worker").rglob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.keyword) and node.arg == "code":
                codes |= _constants(node.value)
            elif isinstance(node, ast.ClassDef):
                for line in node.body:
                    target = line.targets[0] if isinstance(line, ast.Assign) else getattr(line, "target", None)
                    if isinstance(target, ast.Name) and target.id == "code" and line.value:  # pyright: ignore[reportAttributeAccessIssue]
                        codes |= _constants(line.value)  # pyright: ignore[reportAttributeAccessIssue]
    return codes - COMMAND_LINE_CODES


def _constants(node: ast.expr) -> set[str]:
    constants = [child.value for child in ast.walk(node) if isinstance(child, ast.Constant)]
    return {value for value in constants if isinstance(value, str) and re.fullmatch(r"[a-z]+(_[a-z]+)+", value)}


def test_every_code_has_a_title() -> None:
    assert codes_in_the_source() - set(TITLES) == set()
    assert all(re.fullmatch(r"[a-z_]+", code) for code in TITLES)


def test_the_documentation_has_every_code_and_no_other() -> None:
    text = (REPOSITORY / "docs" / "api.md").read_text()
    documented = set(re.findall(r"^\| `([a-z_]+)` \| (?:[45]\d\d|–)", text, re.MULTILINE))

    assert documented == set(TITLES)


def test_the_documentation_has_every_route_option_and_limit(document: dict[str, Any]) -> None:
    text = (REPOSITORY / "docs" / "api.md").read_text()

    for path, method, _ in operations(document):
        assert f"`{method.upper()} {re.sub('{[a-z]+_id}', '{id}', path)}`" in text
    for name in (*FILE_PARTS, *URL_FIELDS.values(), *AnimationOptions.model_fields, *WEBHOOK_FIELDS):
        assert f"| `{name}` |" in text
    for name in ApiSettings.model_fields:
        assert f"`ANIMATO_{name.upper()}`" in text
    for name in MediaLimits.model_fields:
        assert f"`{name}`" in text


def test_source_files_stay_small() -> None:
    for path in (REPOSITORY / "api").rglob("*.py"):
        assert len(path.read_text().splitlines()) <= 300, path
    for path in Path(__file__).parent.glob("*.py"):
        assert len(path.read_text().splitlines()) <= 500, path
