"""The chart of the Kubernetes executor: what it makes is valid, no more than needed, and found from here."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from pollinator.daemon.reach.forward import port_of
from pollinator.daemon.reach.kube import SELECTOR
from pollinator.executors.kubernetes.settings import read_settings
from support.helm import CHART, DEPLOY, Refused, lint, loaded, render
from support.manifests import manifests
from support.source import ROOT

VERSIONS = ("1.31", "1.34", "1.37")
"""The oldest that the chart takes, one between, the newest whose schemas there are."""

EVERYTHING: dict[str, Any] = {
    "image": {"repository": "registry.example.org/e", "tag": "x", "pullSecrets": ["mine"]},
    "settings": {
        "kubernetes.image": "python:3.12-slim",
        "kubernetes.queue": "batch",
        "kubernetes.start": 900,
    },
    "certificate": {"secret": "half"},
    "volume": {"size": "2Ti", "storageClass": "fast"},
    "user": 5000,
    "group": 6000,
    "port": 8443,
    "service": {"type": "LoadBalancer", "annotations": {"a": "b"}},
    "networkPolicy": {"enabled": True, "from": [{"ipBlock": {"cidr": "10.0.0.0/8"}}]},
    "serviceAccount": {"annotations": {"eks.amazonaws.com/role-arn": "arn"}},
    "nodes": {"read": True},
    "resources": {"limits": {"cpu": "2"}},
    "env": [{"name": "POLLINATOR_CACHE_BYTES", "value": "0"}],
    "podAnnotations": {"a": "b"},
    "podLabels": {"team": "c"},
    "nodeSelector": {"kubernetes.io/os": "linux"},
    "tolerations": [{"key": "k", "operator": "Exists"}],
    "affinity": {"nodeAffinity": {}},
    "priorityClassName": "high",
}
VARIANTS: dict[str, dict[str, Any]] = {
    "as it is": {},
    "everything": EVERYTHING,
    "a claim that is there": {"volume": {"claim": "scratch"}},
    "through the bucket": {"volume": {"shared": False, "accessModes": ["ReadWriteOnce"], "size": "1Gi"}},
    "little": {
        "service": {"enabled": False},
        "kueue": {"read": False},
        "networkPolicy": {"enabled": True},
        "resources": {},
    },
}


@pytest.fixture(scope="module", params=VARIANTS)
def objects(request: pytest.FixtureRequest) -> list[dict[str, Any]]:
    return render(VARIANTS[request.param])


def of_kind(objects: list[dict[str, Any]], kind: str) -> dict[str, Any]:
    [found] = [each for each in objects if each["kind"] == kind]
    return found


def containers(pod: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    yield from pod["initContainers"]
    yield from pod["containers"]


def given(objects: list[dict[str, Any]]) -> dict[str, str]:
    """The settings that the executor is started with."""
    [container] = of_kind(objects, "Deployment")["spec"]["template"]["spec"]["containers"]
    pairs = [each.removeprefix("--set=") for each in container["args"] if each.startswith("--set=")]
    return dict(each.split("=", 1) for each in pairs)


@pytest.mark.parametrize("variant", VARIANTS)
def test_helm_finds_nothing_wrong(variant: str) -> None:
    assert [] == lint(VARIANTS[variant])


@pytest.mark.parametrize("version", VERSIONS)
def test_every_object_is_one_that_a_cluster_takes(objects: list[dict[str, Any]], version: str) -> None:
    for each in objects:
        kubernetes_validate.validate(each, version, strict=True)


def test_what_is_no_object_of_a_cluster_is_seen(objects: list[dict[str, Any]]) -> None:
    deployment = of_kind(objects, "Deployment")
    spoilt = {**deployment, "spec": {**deployment["spec"], "replica": 1}}

    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(spoilt, VERSIONS[-1], strict=True)


def test_the_plain_manifests_are_those_of_the_chart() -> None:
    plain = (DEPLOY / "manifests/executor.yaml").read_text()

    assert manifests() == plain, "run make manifests"
    for each in loaded(plain):
        kubernetes_validate.validate(each, VERSIONS[-1], strict=True)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"nonsense": 1}, "nonsense"),
        ({"user": 0}, "user"),
        ({"port": 80}, "port"),
        ({"volume": {"accessModes": ["ReadOnlyMany"]}}, "accessModes"),
        ({"volume": {"size": "much"}}, "size"),
        ({"volume": {"claim": "No_Name"}}, "claim"),
        ({"certificate": {"secret": ""}}, "secret"),
        ({"settings": {"kubernetes.claim": "x"}}, "invalid propertyName 'kubernetes.claim'"),
        ({"settings": {"kubernetes.image": ["a"]}}, "kubernetes.image"),
        ({"networkPolicy": {"from": "all"}}, "from"),
    ],
)
def test_values_that_cannot_be_meant_are_refused_by_name(values: dict[str, Any], words: str) -> None:
    with pytest.raises(Refused, match=re.escape(words)):
        render(values)


def test_pods_are_as_restricted_as_pod_security_knows(objects: list[dict[str, Any]]) -> None:
    pod = of_kind(objects, "Deployment")["spec"]["template"]["spec"]

    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] > 0
    assert {"type": "RuntimeDefault"} == pod["securityContext"]["seccompProfile"]
    assert not {"hostNetwork", "hostPID", "hostIPC"} & set(pod)
    assert {"persistentVolumeClaim", "secret", "emptyDir"} >= {
        kind for volume in pod["volumes"] for kind in volume if kind != "name"
    }
    for each in containers(pod):
        assert {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        } == each["securityContext"]


def test_one_executor_at_a_time_has_the_state(objects: list[dict[str, Any]]) -> None:
    spec = of_kind(objects, "Deployment")["spec"]

    assert (1, {"type": "Recreate"}) == (spec["replicas"], spec["strategy"])


def test_the_claim_outlives_the_installation(objects: list[dict[str, Any]]) -> None:
    made = [each for each in objects if each["kind"] == "PersistentVolumeClaim"]
    volumes = of_kind(objects, "Deployment")["spec"]["template"]["spec"]["volumes"]
    [named] = [each["persistentVolumeClaim"]["claimName"] for each in volumes if each["name"] == "state"]

    for each in made:
        assert (named, "keep") == (
            each["metadata"]["name"],
            each["metadata"]["annotations"]["helm.sh/resource-policy"],
        )
    assert made or "scratch" == named


def test_the_daemon_finds_the_pod_and_its_port(objects: list[dict[str, Any]]) -> None:
    template = of_kind(objects, "Deployment")["spec"]["template"]
    name, _, value = SELECTOR.partition("=")
    [container] = template["spec"]["containers"]

    assert value == template["metadata"]["labels"][name]
    assert f"--listen=0.0.0.0:{port_of(template)}" in container["args"]
    selector = of_kind(objects, "Deployment")["spec"]["selector"]["matchLabels"]
    for each in objects:
        if each["kind"] == "Service":
            assert selector == each["spec"]["selector"]
            assert "executor" == each["spec"]["ports"][0]["targetPort"]
    assert selector.items() <= template["metadata"]["labels"].items()


def test_the_executor_takes_the_settings(objects: list[dict[str, Any]]) -> None:
    settings = given(objects)
    # Whoever checks them is not the user that the executor is there.
    settings.pop("kubernetes.user", None)

    site = read_settings(settings)

    volumes = of_kind(objects, "Deployment")["spec"]["template"]["spec"]["volumes"]
    [claim] = [each["persistentVolumeClaim"]["claimName"] for each in volumes if each["name"] == "state"]
    assert "runs" == site.namespace
    assert (site.claim, site.mount) in ((claim, Path("/var/lib/pollinator")), ("", None))


def test_runs_through_the_bucket_are_given_no_volume() -> None:
    settings = given(render(VARIANTS["through the bucket"]))

    assert "kubernetes.claim" not in settings
    assert ("bucket", "pollinator-executor:0.1.0") == (
        settings["kubernetes.data"],
        settings["kubernetes.executor_image"],
    )


def test_rights_are_of_the_namespace_unless_nodes_are_to_be_seen(objects: list[dict[str, Any]]) -> None:
    wide = [each for each in objects if each["kind"].startswith("Cluster")]

    assert {"ClusterRole", "ClusterRoleBinding"} >= {each["kind"] for each in wide}
    for each in wide:
        if each["kind"] == "ClusterRole":
            assert [{"apiGroups": [""], "resources": ["nodes"], "verbs": ["list"]}] == each["rules"]
    rules = of_kind(objects, "Role")["rules"]
    assert not any("*" in each[part] for each in rules for part in ("apiGroups", "resources", "verbs"))


def test_chart_image_and_program_are_of_one_version() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    about = yaml.safe_load((CHART / "Chart.yaml").read_text())

    assert [version] * 2 == [about["version"], about["appVersion"]]
    assert f"pollinator-executor:{version} " in (DEPLOY / "Containerfile").read_text()


def test_the_image_is_nobody_elses_and_not_roots() -> None:
    lines = (DEPLOY / "Containerfile").read_text().splitlines()

    last = [each for each in lines if each.startswith("USER")][-1]
    assert "USER 1000:1000" == last
    assert {"docker.io/library/python:3.13-slim"} == {
        each.split()[1] for each in lines if each.startswith("FROM")
    }
