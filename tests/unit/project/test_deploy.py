"""The files of examples/deploy: valid, with settings that exist, and metrics that the servers have."""

from __future__ import annotations

import ast
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from plangate_core.process.environment import known_variables

ROOT = Path(__file__).parents[3]
DEPLOY = ROOT / "examples" / "deploy"
KUBERNETES = DEPLOY / "kubernetes"
MANIFESTS = sorted(file for file in KUBERNETES.glob("*/*.yaml") if file.name not in ("catalogue.yaml", "policy.yaml"))
OVERLAYS = ("sqlite", "postgres")
# Of the image and the Compose file.
OTHERS = {"PLANGATE_HEALTH_TARGET", "PLANGATE_AS"}


def resources(file: Path) -> list[dict[str, Any]]:
    return [document for document in yaml.safe_load_all(file.read_text(encoding="utf-8")) if document]


def pod_specs() -> list[tuple[str, dict[str, Any]]]:
    """Name and pod spec of everything that starts containers."""
    found = []
    for file in MANIFESTS:
        for resource in resources(file):
            spec = resource.get("spec", {})
            spec = spec.get("jobTemplate", {}).get("spec", spec)
            if "template" in spec:
                found.append((resource["metadata"]["name"], spec["template"]["spec"]))
    return found


@pytest.mark.parametrize("file", MANIFESTS, ids=lambda file: f"{file.parent.name}/{file.name}")
def test_manifests_fit_the_schema_of_kubernetes(file: Path) -> None:
    for resource in resources(file):
        if resource["kind"] not in ("Kustomization", "Component"):
            kubernetes_validate.validate(resource, "1.30", strict=True)


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_overlays_build_and_fit_together(overlay: str) -> None:
    if shutil.which("kubectl") is None:
        pytest.skip("needs kubectl")
    built = subprocess.run(["kubectl", "kustomize", KUBERNETES / overlay], capture_output=True, text=True, check=True)
    documents = [document for document in yaml.safe_load_all(built.stdout) if document]
    for document in documents:
        kubernetes_validate.validate(document, "1.30", strict=True)
    kinds = {(document["kind"], document["metadata"]["name"]) for document in documents}
    store = "StatefulSet" if overlay == "sqlite" else "Deployment"
    deployments = {("Deployment", f"plangate-{name}") for name in ("planner", "inbox", "executor")}
    assert {(store, "plangate-store"), *deployments} <= kinds
    # Every selector of a service, budget or network policy finds pods by name.
    pods = [
        d["spec"]["template"]["metadata"]["labels"] for d in documents if d["kind"] in ("Deployment", "StatefulSet")
    ]
    for document in documents:
        spec = document.get("spec", {})
        selector = spec.get("podSelector") or (spec.get("selector") if document["kind"] == "Service" else None)
        if selector:
            labels = selector.get("matchLabels", selector)
            assert any(labels.items() <= pod.items() for pod in pods), document["metadata"]["name"]
    assert all(pod["app.kubernetes.io/part-of"] == "plangate" for pod in pods)


@pytest.mark.parametrize(("name", "spec"), pod_specs(), ids=[name for name, _ in pod_specs()])
def test_pods_have_no_more_than_they_need(name: str, spec: dict[str, Any]) -> None:
    assert spec["automountServiceAccountToken"] is False
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    for container in spec["containers"]:
        context = container["securityContext"]
        assert context["readOnlyRootFilesystem"] is True
        assert context["allowPrivilegeEscalation"] is False
        assert context["capabilities"] == {"drop": ["ALL"]}
        assert container["resources"]["limits"]["memory"]
        mounted = {mount["name"] for mount in container["volumeMounts"]}
        claimed = {"data"} if name == "plangate-store" else set()
        assert mounted <= {volume["name"] for volume in spec["volumes"]} | claimed


@pytest.mark.parametrize(
    "file",
    [*MANIFESTS, *sorted(DEPLOY.glob("systemd/*")), ROOT / "docker-compose.yml"],
    ids=lambda file: f"{file.parent.name}/{file.name}",
)
def test_settings_exist(file: Path) -> None:
    named = set(re.findall(r"\bPLANGATE_[A-Z_]+[A-Z]\b", file.read_text(encoding="utf-8")))
    assert named - known_variables() - OTHERS == set()


def test_catalogue_and_policy_of_the_base_are_taken() -> None:
    base = KUBERNETES / "base"
    environment = {
        "PLANGATE_CATALOGUE_FILE": str(base / "catalogue.yaml"),
        "PLANGATE_POLICY_FILE": str(base / "policy.yaml"),
        "PATH": "/usr/bin:/bin",
    }
    checked = subprocess.run(
        [sys.executable, "-m", "planner_service", "check"], env=environment, cwd=ROOT, capture_output=True, text=True
    )
    assert checked.returncode == 0, checked.stderr


def metrics() -> set[str]:
    """Every time series that our code makes, by the names that Prometheus gives them."""
    names = set()
    for package in ("plangate_core", "planner_service", "store_service", "plangate_inbox", "plangate_client"):
        for file in (ROOT / package).rglob("*.py"):
            for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
                if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.args):
                    continue
                first = node.args[0]
                if not (isinstance(first, ast.Constant) and str(first.value).startswith("plangate_")):
                    continue
                suffixes = {
                    "Counter": ("_total",),
                    "Gauge": ("",),
                    "Info": ("_info",),
                    "Histogram": ("_bucket", "_sum", "_count"),
                    "GaugeMetricFamily": ("",),
                    "CounterMetricFamily": ("_total",),
                }.get(node.func.id, ())
                names |= {f"{first.value}{suffix}" for suffix in suffixes}
    return names


def test_alerts_and_dashboard_ask_for_metrics_that_there_are() -> None:
    rules = yaml.safe_load((DEPLOY / "prometheus" / "alerts.yaml").read_text(encoding="utf-8"))["groups"][0]["rules"]
    dashboard = json.loads((DEPLOY / "grafana" / "plangate.json").read_text(encoding="utf-8"))
    expressions = [rule["expr"] for rule in rules]
    expressions += [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    [autoscaler] = resources(KUBERNETES / "autoscaling" / "planner.yaml")
    expressions += [metric["external"]["metric"]["name"] for metric in autoscaler["spec"]["metrics"]]
    asked = {name for expression in expressions for name in re.findall(r"\bplangate_[a-z_]+", expression)}
    assert "plangate_rpc_handled_total" in asked
    assert asked - metrics() == set()
    assert all(rule["labels"]["severity"] in ("page", "ticket") and rule["annotations"]["summary"] for rule in rules)
