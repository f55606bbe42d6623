"""Pods and Jobs of the cluster of the tests, as a watch tells of them: what a real one was seen to tell."""

from __future__ import annotations

import json
import threading
from collections.abc import Generator
from contextlib import contextmanager

import pytest

from support.kubernetes.asking import path_of
from support.kubernetes.jobs_of_tests import finished, job, running, state
from support.kubernetes.kinds import Obj
from support.kubernetes.sites import Site
from support.kubernetes.store import condition

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]

WAITS = "trap 'exit 9' TERM; while :; do sleep 0.1; done"
_LONGEST_S = 60
FAIL_JOB: Obj = {"rules": [{"action": "FailJob", "onExitCodes": {"operator": "NotIn", "values": [0]}}]}


@contextmanager
def told(cluster: Site, plural: str) -> Generator[list[Obj]]:
    """Events of a watch, complete once the first object that was seen is gone."""
    events: list[Obj] = []
    # A watch is a request that lasts; it is told from a version on that was before.
    version = cluster.line.ask("GET", path_of(plural, cluster.namespace)).granted["metadata"][
        "resourceVersion"
    ]
    path = path_of(
        plural, cluster.namespace, watch="true", resourceVersion=version, timeoutSeconds=_LONGEST_S
    )

    def follow() -> None:
        for line in cluster.line.lines(path):
            events.append(json.loads(line))
            if events[-1]["type"] == "DELETED":
                return

    thread = threading.Thread(target=follow)
    thread.start()
    yield events
    thread.join()


def steps(events: list[Obj]) -> list[str]:
    """``PHASE CONTAINER`` of a pod, with ``deleted`` once it is to go; what stays the same is told once."""
    found: list[str] = []
    for event in events:
        pod = event["object"]
        container = next(iter(state(pod)), "-")
        deleted = " deleted" if "deletionTimestamp" in pod["metadata"] else ""
        step = f"{pod['status']['phase']} {container}{deleted}"
        found += [step] if found[-1:] != [step] else []
    return [*found, events[-1]["type"]]


def test_a_pod_that_succeeds(cluster: Site) -> None:
    with told(cluster, "pods") as events:
        cluster.create(job(cluster, "lives", "sleep 1"))
        cluster.wait("jobs", "lives", finished)
        cluster.delete("jobs", "lives")
    lived = ["Pending -", "Pending waiting", "Running running", "Running terminated"]
    assert [*lived, "Succeeded terminated", "Succeeded terminated deleted", "DELETED"] == steps(events)


def test_a_pod_that_fails(cluster: Site) -> None:
    with told(cluster, "pods") as events:
        cluster.create(job(cluster, "lives", "sleep 1; exit 3", podFailurePolicy=FAIL_JOB))
        cluster.wait("jobs", "lives", finished)
        cluster.delete("jobs", "lives")
    lived = ["Pending -", "Pending waiting", "Running running", "Running terminated"]
    assert [*lived, "Failed terminated", "Failed terminated deleted", "DELETED"] == steps(events)


def test_a_pod_that_is_deleted(cluster: Site) -> None:
    with told(cluster, "pods") as events:
        cluster.create(job(cluster, "lives", WAITS))
        pod = running(cluster, "lives")["metadata"]["name"]
        cluster.delete("pods", pod)
    lived = ["Pending -", "Pending waiting", "Running running"]
    assert [*lived, "Running running deleted", "Failed terminated deleted", "DELETED"] == steps(events)


def test_a_pod_that_finds_no_node_goes_at_once(cluster: Site) -> None:
    with told(cluster, "pods") as events:
        cluster.create(job(cluster, "lives", "true", pod={"nodeSelector": {"nobody": "has"}}))
        cluster.wait("jobs", "lives", lambda each: each["status"].get("active"))
        cluster.wait("jobs", "lives", lambda _: any("FailedScheduling" in each for each in cluster.events()))
        cluster.delete("jobs", "lives")
    assert ["Pending -", "Pending - deleted", "DELETED"] == steps(events)


def test_a_job_that_fails_says_so_twice(cluster: Site) -> None:
    with told(cluster, "jobs") as events:
        script = f"test $JOB_COMPLETION_INDEX = 0 && exit 3; {WAITS}"
        cluster.create(job(cluster, "lives", script, nodes=2, podFailurePolicy=FAIL_JOB))
        cluster.wait("jobs", "lives", finished)
        cluster.delete("jobs", "lives")
    conditions = [
        [each["type"] for each in event["object"]["status"].get("conditions", [])]
        for event in events
        if event["type"] != "DELETED"
    ]
    # First that it will have failed, which is why the other pod is ended.
    assert [] == conditions[0]
    assert ["FailureTarget"] in conditions
    assert ["FailureTarget", "Failed"] == conditions[-1]
    last = events[-1]["object"]
    assert (2, 0, 0) == (last["status"]["failed"], last["status"]["terminating"], last["status"]["ready"])
    assert condition(last, "Failed")["reason"] == condition(last, "FailureTarget")["reason"]
