"""The cluster of the tests itself: the double does what a real one does. Runs unchanged on a real one."""

from __future__ import annotations

from typing import Any

import pytest

from support.kubernetes.kinds import Obj
from support.kubernetes.sites import Site
from support.kubernetes.store import condition

pytestmark = pytest.mark.integration

RESTRICTED: Obj = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "runAsNonRoot": True,
    "runAsUser": 1234,
    "runAsGroup": 1234,
    "seccompProfile": {"type": "RuntimeDefault"},
}


def container(cluster: Site, script: str, **more: Any) -> Obj:
    return {
        "name": "main",
        "image": cluster.image,
        "command": ["/bin/sh", "-c", script],
        "securityContext": RESTRICTED,
        "resources": {"limits": {"cpu": "100m", "memory": "64Mi"}},
        **more,
    }


def job(cluster: Site, name: str, script: str, *, nodes: int = 1, **more: Any) -> Obj:
    spec: Obj = {
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": 2,
        "containers": [container(cluster, script)],
        **more.pop("pod", {}),
    }
    whole = {
        "completionMode": "Indexed",
        "completions": nodes,
        "parallelism": nodes,
        "backoffLimit": 0,
        **more,
    }
    whole["template"] = {"spec": spec}
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name}, "spec": whole}


def finished(obj: Obj) -> bool:
    return any(condition(obj, each).get("status") == "True" for each in ("Complete", "Failed"))


def pods_of(cluster: Site, name: str) -> list[Obj]:
    found = cluster.all("pods", labelSelector=f"batch.kubernetes.io/job-name={name}")
    return sorted(
        found, key=lambda each: each["metadata"]["annotations"]["batch.kubernetes.io/job-completion-index"]
    )


def test_a_job_of_two_pods_runs_to_its_end(cluster: Site) -> None:
    cluster.create(job(cluster, "two", "echo rank $JOB_COMPLETION_INDEX of $(hostname)", nodes=2))
    ended = cluster.wait("jobs", "two", finished)
    assert "CompletionsReached" == condition(ended, "Complete")["reason"]
    assert (2, "0,1") == (ended["status"]["succeeded"], ended["status"]["completedIndexes"])
    pods = pods_of(cluster, "two")
    assert ["Succeeded"] * 2 == [each["status"]["phase"] for each in pods]
    assert ["rank 0 of two-0\n", "rank 1 of two-1\n"] == [
        cluster.log(each["metadata"]["name"]) for each in pods
    ]
    assert any(each.startswith("Completed: ") for each in cluster.events("two"))
