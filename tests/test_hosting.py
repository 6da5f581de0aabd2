"""The compose files, the build context, what monitoring reads, the Kubernetes manifests: none of them running.

`docker/smoke.sh` runs the stack. Here is what can be seen in the files: they say what they mean, and fit to each other.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import stat
import subprocess
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml

from api.settings import ApiSettings
from tests.conftest import REPOSITORY
from worker.settings import Settings

COMPOSE = REPOSITORY / "docker-compose.yml"
KUBERNETES = REPOSITORY / "docker" / "k8s"
SCHEMAS_OF = "1.37"
DATA_VOLUME_UID = "10001"
KNOWN_SETTINGS = {f"ANIMATO_{name.upper()}" for model in (Settings, ApiSettings) for name in model.model_fields}


def compose_services() -> dict[str, dict[str, Any]]:
    return yaml.safe_load(COMPOSE.read_text())["services"]


# ---------------------------------------------------------------- compose


@pytest.mark.parametrize("name", compose_services())
def test_a_service_can_do_no_more_than_it_must(name: str) -> None:
    service = compose_services()[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert "cap_add" not in service
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["mem_limit"]
    assert service["cpus"] is not None
    assert service["pids_limit"] > 0
    assert service["logging"]["options"] == {"max-size": "10m", "max-file": "3"}
    ours = service["image"].startswith("animato-")
    assert ours or re.fullmatch(r"[1-9]\d*:\d+", service["user"]), "the Dockerfile's USER, or one named here"
    assert ours or re.search(r":v?\d", service["image"]), "a version is pinned"
    assert ours or "healthcheck" in service


def test_only_the_api_and_the_dashboard_are_published_and_on_loopback() -> None:
    published = {name: service["ports"] for name, service in compose_services().items() if "ports" in service}
    assert set(published) == {"api", "grafana"}
    assert all(port.startswith("127.0.0.1:") for ports in published.values() for port in ports)
    assert compose_services()["grafana"]["profiles"] == ["monitoring"]
    assert yaml.safe_load(COMPOSE.read_text())["networks"]["inside"] == {"internal": True}
    outside = {name for name, service in compose_services().items() if "outside" in service["networks"]}
    assert outside == {"api", "grafana"}


def test_no_secret_has_a_default_and_one_command_makes_them_all(tmp_path: Path) -> None:
    text = COMPOSE.read_text()
    secrets = {name for name in re.findall(r"\$\{(\w+)", text) if re.search("PASSWORD|SECRET|TOKEN|KEY_ID", name)}
    assert set(re.findall(r"\$\{(\w+):\?", text)) == secrets, "compose refuses to start without each of them"
    assert not {name for name in secrets if re.search(rf"\$\{{{name}:?-", text)}

    file = tmp_path / "secrets"
    file.write_text("ANIMATO_PORT=9000\nANIMATO_REDIS_PASSWORD=mine")  # no line end
    subprocess.run([REPOSITORY / "docker" / "secrets.sh", file], check=True, capture_output=True)
    made = dict(line.split("=", 1) for line in file.read_text().splitlines())
    assert made.pop("ANIMATO_PORT") == "9000"
    assert made.pop("ANIMATO_REDIS_PASSWORD") == "mine"
    assert set(made) == secrets - {"ANIMATO_REDIS_PASSWORD"}
    assert all(re.fullmatch("[0-9a-f]{48}", value) for value in made.values())
    assert len(set(made.values())) == len(made)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    before = file.read_text()
    subprocess.run([REPOSITORY / "docker" / "secrets.sh", file], check=True, capture_output=True)
    assert file.read_text() == before


def test_settings_in_compose_and_manifests_exist() -> None:
    used = {name for service in compose_services().values() for name in service.get("environment", {})}
    used |= set(yaml.safe_load((KUBERNETES / "base" / "settings.yaml").read_text())["data"])
    used |= {entry["name"] for _, pod in pods(manifests("base")) for entry in pod["containers"][0].get("env", [])}
    assert {name for name in used if name.startswith("ANIMATO_")} - KNOWN_SETTINGS == set()


def test_a_stopped_worker_has_time_to_hand_its_animation_over() -> None:
    worker = compose_services()["worker"]
    assert worker["stop_grace_period"] == "2m"
    assert worker["environment"]["ANIMATO_SHUTDOWN_GRACE_S"] < 120
    assert "REMAP_SIGTERM=SIGQUIT" in (REPOSITORY / "docker" / "Dockerfile").read_text()


def test_redis_and_storage_of_ones_own() -> None:
    class Loader(yaml.SafeLoader):
        pass

    Loader.add_constructor("!reset", lambda _loader, _node: [])
    text = (REPOSITORY / "docker" / "compose.external.yml").read_text()
    services = yaml.load(text, Loader)["services"]
    ours = {name for name, service in compose_services().items() if "ANIMATO_REDIS_URL" in service["environment"]}
    assert {name for name, service in services.items() if "environment" in service} == ours
    for name in ours:
        assert services[name]["depends_on"] == []
        assert set(services[name]["environment"]) <= KNOWN_SETTINGS
        assert {"ANIMATO_REDIS_URL", "ANIMATO_STORAGE_URL"} <= set(services[name]["environment"])
    assert {name for name, service in services.items() if "profiles" in service} == {"redis", "object-store"}


def test_the_build_context_has_every_package_that_is_installed() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["tool"]["setuptools"]
    packages = {pattern.rstrip("*") for pattern in project["packages"]["find"]["include"]}
    allowed = {line[1:] for line in (REPOSITORY / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert packages | {f"{module}.py" for module in project["py-modules"]} <= allowed


# ---------------------------------------------------------------- monitoring


def test_prometheus_asks_where_api_and_workers_answer() -> None:
    jobs = yaml.safe_load((REPOSITORY / "docker" / "prometheus.yml").read_text())["scrape_configs"]
    asked = {job["dns_sd_configs"][0]["names"][0]: job["dns_sd_configs"][0]["port"] for job in jobs}
    worker = compose_services()["worker"]["environment"]
    assert asked == {"api": 8000, "worker": worker["ANIMATO_WORKER_METRICS_PORT"]}
    # The command writes the token where the configuration looks for it.
    assert f"> {jobs[0]['authorization']['credentials_file']}\n" in compose_services()["prometheus"]["entrypoint"][-1]


def test_the_dashboard_shows_metrics_that_exist() -> None:
    documented = set(re.findall(r"`(animato_\w+)", (REPOSITORY / "docs" / "operations.md").read_text()))
    dashboard = json.loads((REPOSITORY / "docker" / "grafana" / "dashboards" / "animato.json").read_text())
    source = yaml.safe_load((REPOSITORY / "docker/grafana/provisioning/datasources/prometheus.yml").read_text())
    shown = set()
    for panel in dashboard["panels"]:
        assert panel["datasource"]["uid"] == source["datasources"][0]["uid"]
        for target in panel["targets"]:
            shown |= set(re.findall(r"animato_\w+", target["expr"]))
    assert {re.sub(r"_(bucket|sum|count)$", "", name) for name in shown} <= documented
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])


# ---------------------------------------------------------------- Kubernetes


@cache
def manifests(folder: str) -> tuple[dict[str, Any], ...]:
    """What `kubectl kustomize` makes of a folder; without it the base's files as they are written.

    Debian's kubectl (1.20) is too old for these folders, so there is none that a machine could install by itself.
    """
    if shutil.which("kubectl"):
        answer = subprocess.run(
            ["kubectl", "kustomize", KUBERNETES / folder], check=True, capture_output=True, text=True
        )
        return tuple(yaml.safe_load_all(answer.stdout))
    if folder != "base":
        pytest.skip("needs kubectl")
    files = yaml.safe_load((KUBERNETES / "base" / "kustomization.yaml").read_text())["resources"]
    return tuple(found for file in files for found in yaml.safe_load_all((KUBERNETES / "base" / file).read_text()))


def of_kind(found: tuple[dict[str, Any], ...], kind: str) -> dict[str, dict[str, Any]]:
    return {manifest["metadata"]["name"]: manifest for manifest in found if manifest["kind"] == kind}


def pods(found: tuple[dict[str, Any], ...]) -> Iterator[tuple[str, dict[str, Any]]]:
    for name, deployment in of_kind(found, "Deployment").items():
        yield name, deployment["spec"]["template"]["spec"]


FOLDERS = ["base", "gpu"]


@pytest.mark.parametrize("folder", FOLDERS)
def test_manifests_fit_the_published_schemas(folder: str) -> None:
    for manifest in manifests(folder):
        if manifest["apiVersion"] != "keda.sh/v1alpha1":  # a resource of KEDA's own: looked at below
            kubernetes_validate.validate(manifest, SCHEMAS_OF, strict=True)


def test_a_misspelled_field_is_found() -> None:
    deployment = json.loads(json.dumps(of_kind(manifests("base"), "Deployment")["animato-api"]))
    deployment["spec"]["template"]["spec"]["containers"][0]["readynessProbe"] = {}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(deployment, SCHEMAS_OF, strict=True)


@pytest.mark.parametrize("folder", FOLDERS)
def test_pods_are_as_restricted_as_the_namespace_demands(folder: str) -> None:
    for name, pod in pods(manifests(folder)):
        assert pod["automountServiceAccountToken"] is False, name
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert str(pod["securityContext"]["runAsUser"]) == DATA_VOLUME_UID
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in pod["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            assert set(container["resources"]["limits"]) >= {"cpu", "memory", "ephemeral-storage"}
            assert {"startupProbe", "livenessProbe"} <= set(container)
            assert {mount["name"] for mount in container["volumeMounts"]} == {v["name"] for v in pod["volumes"]}


@pytest.mark.parametrize("folder", FOLDERS)
def test_what_manifests_refer_to_exists(folder: str) -> None:
    found = manifests(folder)
    templates = [deployment["spec"]["template"] for deployment in of_kind(found, "Deployment").values()]
    labels = [template["metadata"]["labels"] for template in templates]
    for deployment in of_kind(found, "Deployment").values():
        assert deployment["spec"]["selector"]["matchLabels"].items() <= labels_of(deployment).items()
    selectors = [service["spec"]["selector"] for service in of_kind(found, "Service").values()]
    for kind in ("PodDisruptionBudget", "NetworkPolicy"):
        for manifest in of_kind(found, kind).values():
            selector = manifest["spec"].get("selector", manifest["spec"].get("podSelector"))
            selectors.append(selector.get("matchLabels", {}))
    assert all(any(selector.items() <= some.items() for some in labels) for selector in selectors)
    assert len(of_kind(found, "PodDisruptionBudget")) == len(templates)

    for _, pod in pods(found):
        assert pod["serviceAccountName"] in of_kind(found, "ServiceAccount")
        for source in pod["containers"][0]["envFrom"]:
            if "configMapRef" in source:
                assert source["configMapRef"]["name"] in of_kind(found, "ConfigMap")
            else:  # named, and made by whoever runs it
                assert source == {"secretRef": {"name": "animato-secrets"}}
    assert of_kind(found, "Secret") == {}

    named = {port["name"] for _, pod in pods(found) for port in pod["containers"][0].get("ports", [])}
    used = {port["targetPort"] for service in of_kind(found, "Service").values() for port in service["spec"]["ports"]}
    for policy in of_kind(found, "NetworkPolicy").values():
        used |= {port["port"] for rule in policy["spec"].get("ingress", []) for port in rule["ports"]}
    assert used <= named


def labels_of(deployment: dict[str, Any]) -> dict[str, str]:
    return deployment["spec"]["template"]["metadata"]["labels"]


def test_workers_are_scaled_by_what_waits_and_what_runs() -> None:
    found = manifests("base")
    scaled = of_kind(found, "ScaledObject")["animato-worker"]["spec"]
    assert scaled["scaleTargetRef"]["name"] in of_kind(found, "Deployment")
    assert 1 <= scaled["minReplicaCount"] <= scaled["maxReplicaCount"]
    (trigger,) = scaled["triggers"]
    assert trigger["type"] == "prometheus"
    assert set(trigger["metadata"]) == {"serverAddress", "query", "threshold"}
    assert float(trigger["metadata"]["threshold"]) > 0
    assert {"animato_queue_depth", "animato_jobs_running"} == set(
        re.findall(r"animato_\w+", trigger["metadata"]["query"])
    )
    target = of_kind(found, "HorizontalPodAutoscaler")["animato-api"]["spec"]["scaleTargetRef"]
    assert target["name"] in of_kind(found, target["kind"])
    autoscaled = {target["name"], scaled["scaleTargetRef"]["name"]}
    assert not any("replicas" in of_kind(found, "Deployment")[name]["spec"] for name in autoscaled)


SCALED_OBJECT: dict[str, Any] = {
    "scaleTargetRef": {"name": str},
    "minReplicaCount": int,
    "maxReplicaCount": int,
    "pollingInterval": int,
    "cooldownPeriod": int,
    "fallback": {"failureThreshold": int, "replicas": int, "behavior": str},
    "advanced": {"horizontalPodAutoscalerConfig": {"behavior": dict}},
    "triggers": list,
}
"""What we use of KEDA's ScaledObject; no package has its schema with all of this."""


def test_the_scaled_object_uses_fields_that_keda_has() -> None:
    def fits(given: dict[str, Any], known: dict[str, Any]) -> None:
        assert set(given) <= set(known)
        for name, value in given.items():
            if isinstance(known[name], dict):
                fits(value, known[name])
            else:
                assert type(value) is known[name], name

    spec = of_kind(manifests("base"), "ScaledObject")["animato-worker"]["spec"]
    fits(spec, SCALED_OBJECT)
    assert spec["fallback"]["behavior"] in {"static", "currentReplicas", "currentReplicasIfHigher"}
    # KEDA hands this part on to an autoscaler: Kubernetes' own schema judges it.
    scaler = {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "made-by-keda"},
        "spec": {
            "scaleTargetRef": {"kind": "Deployment", **spec["scaleTargetRef"]},
            "maxReplicas": spec["maxReplicaCount"],
            "behavior": spec["advanced"]["horizontalPodAutoscalerConfig"]["behavior"],
        },
    }
    kubernetes_validate.validate(scaler, SCHEMAS_OF, strict=True)


@pytest.mark.skipif("KEDA_CRD" not in os.environ, reason="KEDA_CRD names no keda.sh_scaledobjects.yaml of KEDA's")
def test_the_scaled_object_fits_the_schema_of_keda() -> None:
    versions = yaml.safe_load(Path(os.environ["KEDA_CRD"]).read_text())["spec"]["versions"]
    (schema,) = [one["schema"]["openAPIV3Schema"] for one in versions if one["name"] == "v1alpha1"]
    judge = jsonschema.Draft202012Validator(without_unknown_fields(schema["properties"]["spec"]))
    spec = of_kind(manifests("base"), "ScaledObject")["animato-worker"]["spec"]
    judge.validate(spec)
    assert not judge.is_valid({**spec, "pollingIntervall": 15})


def without_unknown_fields(schema: Any) -> Any:
    """The schema as an API server with strict fields takes it."""
    if isinstance(schema, list):
        return [without_unknown_fields(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    closed = "properties" in schema and not schema.get("x-kubernetes-preserve-unknown-fields")
    own = {"additionalProperties": False} if closed else {}
    return own | {name: without_unknown_fields(part) for name, part in schema.items()}


@pytest.mark.parametrize("folder", FOLDERS)
def test_images_are_of_this_version(folder: str) -> None:
    version = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["version"]
    if not shutil.which("kubectl"):
        pytest.skip("needs kubectl")
    images = {name: pod["containers"][0]["image"] for name, pod in pods(manifests(folder))}
    worker = "animato-worker-cuda" if folder == "gpu" else "animato-worker"
    assert images == {
        "animato-api": f"animato-api:{version}",
        "animato-worker": f"{worker}:{version}",
        "animato-preflight": f"{worker}:{version}",
    }


def test_a_gpu_worker_has_one_device() -> None:
    pod = dict(pods(manifests("gpu")))["animato-worker"]
    (container,) = pod["containers"]
    assert container["resources"]["limits"]["nvidia.com/gpu"] == "1"
    assert {"name": "ANIMATO_DEVICE", "value": "cuda"} in container["env"]
    assert {"name": "ANIMATO_WORKER_METRICS_PORT", "value": "9100"} in container["env"], "the base's settings stay"
