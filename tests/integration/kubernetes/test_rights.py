"""The rights that the chart gives are those that an executor uses: no fewer, and no more."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from support.helm import loaded, texts
from support.kubernetes.sites import Site
from support.sandbox import Sandbox, sandbox, wait_until

__all__ = ["sandbox"]
pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]

RIGHTS = ("ServiceAccount", "Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding")
NAME = "lab-pollinator-executor"
SELDOM = {
    ("get", "jobs"): "where one of the name is there already",
    ("get", "pods/log"): "where a container could not even begin",
    ("list", "events"): "where one waits",
    ("list", "workloads"): "where there is a queue of Kueue",
}
PROGRAM = """\
import os
print(os.environ["RANK"], len(os.environ["TOLD"]))
open("result/" + os.environ["RANK"], "w").write("made there")
"""


def give(cluster: Site, values: dict[str, Any]) -> None:
    """Have the account that the chart makes, with its rights."""
    found = texts(values, "lab", cluster.namespace)
    for each in loaded(found["pollinator-executor/templates/account.yaml"]):
        assert each["kind"] in RIGHTS
        cluster.create(each)


def rules(values: dict[str, Any]) -> set[tuple[str, str]]:
    """What they allow, as verbs and resources."""
    found = texts(values, "lab", "runs")["pollinator-executor/templates/account.yaml"]
    return {
        (verb, resource)
        for each in loaded(found)
        for rule in each.get("rules") or ()
        for verb in rule["verbs"]
        for resource in rule["resources"]
    }


@pytest.fixture
def box(sandbox: Sandbox, cluster: Site) -> Iterator[Sandbox]:
    yield sandbox
    # What it has there is removed with the namespace.
    sandbox.cli("executors", "remove", "--force", "lab", cwd=sandbox.folder)


@pytest.mark.double_only("tells what was asked, and by whom")
@pytest.mark.parametrize("values", [{}, {"nodes": {"read": True}}], ids=["of the namespace", "nodes as well"])
def test_a_run_asks_for_what_the_chart_allows_and_for_nothing_else(
    box: Sandbox, cluster: Site, values: dict[str, Any]
) -> None:
    give(cluster, values)
    user = f"system:serviceaccount:{cluster.namespace}:{NAME}"
    config = cluster.kubeconfig_for({"token": cluster.double.token(user)})
    root = box.project(program=PROGRAM)
    (root / "told").write_text("TOLD=sixteen letters.\n")
    settings = {
        "kubernetes.kubeconfig": str(config),
        "kubernetes.claim": cluster.claim,
        "kubernetes.mount": str(cluster.folder),
    }
    options = [f"--set={name}={value}" for name, value in settings.items()]
    cluster.double.mark()

    address = f"local:{cluster.folder}"
    added = box.cli("executors", "add", "lab", address, "--kind", "kubernetes", *options, cwd=root)
    wanted = ["--set=conditions.nodes=2", f"--set=environment.docker={cluster.image}", "--secret-file=told"]
    done = box.cli("run", "--on", "lab", "--follow", *wanted, cwd=root, timeout=100)

    assert 0 == added.returncode, added.stderr
    assert 0 == done.returncode, done.stderr
    assert [b"0 16", b"1 16"] == sorted(each[-4:] for each in done.stdout.splitlines())
    assert "made there" == (root / "cfs/result/1").read_text()
    wait_until(lambda: not cluster.all("jobs"), "its Job is gone")
    asked = [each for each in cluster.double.asked() if each.user == user]
    refused = {(each.verb, each.resource) for each in asked if each.code == 403}
    used = {(each.verb, each.resource) for each in asked} - refused
    assert (set() if "nodes" in values else {("list", "nodes")}) == refused
    assert rules(values) - set(SELDOM) == {each for each in used if each[1]}
    assert json.dumps(sorted(SELDOM)) == json.dumps(sorted(set(SELDOM) & rules(values)))
