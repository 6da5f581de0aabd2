"""Grafana's dashboard and what scales workers, beside the service: expressions, metrics, Grafana's own types."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterator
from typing import Any

import httpx
import promql_parser
import pytest
import yaml
from grafana_foundation_sdk.cog import encoder, plugins
from grafana_foundation_sdk.models.dashboard import Dashboard
from prometheus_client.parser import text_string_to_metric_families

from tests.api.conftest import Service
from tests.conftest import REPOSITORY, job_result
from worker.engine.numbers import WorkerNumbers
from worker.engine.stages import Stages
from worker.jobs import AnimationOptions, JobInput, new_id

DASHBOARD = json.loads((REPOSITORY / "docker" / "grafana" / "dashboards" / "animato.json").read_text())
SCALING = yaml.safe_load((REPOSITORY / "docker" / "k8s" / "base" / "scaling.yaml").read_text())
OF_PROMETHEUS = {"job", "instance", "namespace"}
"""Labels that come with the scrape."""


def expressions() -> list[str]:
    shown = [target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]]
    return [*shown, *(trigger["metadata"]["query"] for trigger in SCALING["spec"]["triggers"])]


def selectors(expression: Any) -> Iterator[promql_parser.VectorSelector]:
    """What an expression reads, at every depth."""
    if isinstance(expression, promql_parser.VectorSelector):
        yield expression
    for name in ("expr", "vector_selector", "lhs", "rhs", "param", "args"):
        inner = getattr(expression, name, None)
        for part in inner if isinstance(inner, list) else [inner]:
            if part is not None:
                yield from selectors(part)


def labels_used(expression: str) -> set[str]:
    """Those it groups by, and those it matches."""
    groups = re.findall(r"\b(?:by|without|on|ignoring) *\(([^)]*)\)", expression)
    matched = re.findall(r"[{,] *(\w+) *(?:=~|!~|!=|=)", expression)
    return {label.strip() for group in groups for label in group.split(",")} | set(matched)


@pytest.fixture
def served(service: Service, job_input: JobInput) -> dict[str, set[str]]:
    """Each metric that an API and a worker answer with, and its labels, after an animation's life."""
    store = service.job_store
    store.submit(job_id := new_id(), job_input, AnimationOptions())
    claim = store.claim(job_id, "worker")
    assert claim
    assert store.commit(job_id, claim.fence, job_result())
    service.http.get("/healthz")
    numbers = WorkerNumbers(1)
    numbers.job_done(0, Stages(), frames=3)
    worker = httpx.get(f"http://127.0.0.1:{numbers.serve('127.0.0.1', 0)}/metrics")
    found: dict[str, set[str]] = {}
    for text in (service.http.get("/metrics").text, worker.text):
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                found.setdefault(sample.name, set()).update(sample.labels)
    return found


def test_each_expression_reads_what_a_running_service_serves(served: dict[str, set[str]]) -> None:
    assert len(expressions()) > 20
    for expression in expressions():
        read = {one.name for one in selectors(promql_parser.parse(expression)) if one.name}
        assert read, expression
        # What is counted only once it happens has no series before: its family is there.
        missing = {name for name in read if name not in served and name not in COUNTED_LATER}
        assert missing == set(), expression
        known = OF_PROMETHEUS.union(*(served.get(name, COUNTED_LATER.get(name, set())) for name in read))
        assert labels_used(expression) <= known, expression


COUNTED_LATER = {"animato_jobs_redelivered_total": {"reason"}}


def test_an_expression_that_is_none_is_found() -> None:
    with pytest.raises(ValueError, match="invalid promql"):
        promql_parser.parse("histogram_quantile(0.5, max by (le) rate(animato_x_bucket[5m]))")


def test_the_dashboard_is_what_grafanas_own_types_know() -> None:
    """Read and written again by Grafana's types, which drop what they do not know: nothing is gone."""
    plugins.register_default_plugins()
    assert lost(DASHBOARD) == []
    misspelled = copy.deepcopy(DASHBOARD)
    misspelled["panels"][0]["fieldConfig"]["defaults"]["units"] = "s"
    misspelled["panels"][0]["gridPosition"] = {}
    assert lost(misspelled) == ["/panels/0/fieldConfig/defaults/units", "/panels/0/gridPosition"]


def test_panels_do_not_lie_over_each_other() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        grid = panel["gridPos"]
        cells = {(grid["x"] + x, grid["y"] + y) for x in range(grid["w"]) for y in range(grid["h"])}
        assert not cells & taken, panel["title"]
        assert max(x for x, _ in cells) < 24, panel["title"]
        taken |= cells


def lost(dashboard: dict[str, Any]) -> list[str]:
    again = json.loads(json.dumps(Dashboard.from_json(copy.deepcopy(dashboard)), cls=encoder.JSONEncoder))
    return sorted(_lost(dashboard, again, ""))


def _lost(given: Any, kept: Any, path: str) -> Iterator[str]:
    if isinstance(given, dict):
        for name, value in given.items():
            if not isinstance(kept, dict) or name not in kept:
                yield f"{path}/{name}"
            else:
                yield from _lost(value, kept[name], f"{path}/{name}")
    elif isinstance(given, list):
        for place, (one, other) in enumerate(zip(given, kept, strict=True)):
            yield from _lost(one, other, f"{path}/{place}")
    elif given != kept:
        yield path
