"""Jobs and pods as a cluster tells of them, read with patience for what is not there or something else."""

from __future__ import annotations

from typing import Any

import pytest

from pollinator.executors.kubernetes.seen import Ended, job_seen, pod_seen

ABOUT = {
    "name": "pollinator-x-1-abcde",
    "uid": "7",
    "labels": {"pollinator.io/attempt": "2", "pollinator.io/run-id": "x"},
    "annotations": {"pollinator.io/run-id": "x", "batch.kubernetes.io/job-completion-index": "1"},
}


def pod(**status: Any) -> dict[str, Any]:
    return {"metadata": ABOUT, "spec": {"nodeName": "n1"}, "status": status}


def ranks(**state: Any) -> dict[str, Any]:
    return {
        "containerStatuses": [
            {"name": "collect", "state": {"running": {}}},
            {"name": "ranks", "image": "i", "state": state},
        ]
    }


def test_whose_pod_it_is_and_where() -> None:
    seen = pod_seen(pod(phase="Running", podIP="10.0.0.7", **ranks(running={})))

    assert ("x", 2, 1, "7", "n1", "10.0.0.7") == (
        seen.run,
        seen.attempt,
        seen.index,
        seen.uid,
        seen.node,
        seen.address,
    )
    assert (True, False, False) == (seen.begun, seen.over, seen.deleting)


def test_how_its_ranks_ended_not_how_another_container_did() -> None:
    ended = {"exitCode": 137, "reason": "OOMKilled", "message": "words"}
    seen = pod_seen(pod(**ranks(terminated=ended)))

    assert Ended(137, 0, "OOMKilled", "words") == seen.ended
    assert seen.over
    assert not seen.emptied


@pytest.mark.parametrize(
    ("reason", "shown"),
    [("ImagePullBackOff", "ImagePullBackOff"), ("ContainerCreating", ""), ("PodInitializing", "")],
)
def test_why_a_container_waits_where_something_is_wrong(reason: str, shown: str) -> None:
    seen = pod_seen(pod(phase="Pending", **ranks(waiting={"reason": reason, "message": "Back-off"})))

    assert (shown, "Back-off" if shown else "") == (seen.waiting, seen.waiting_words)


def test_why_it_has_no_node() -> None:
    words = "0/1 nodes are available: 1 Insufficient memory."
    condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": words}

    assert words == pod_seen(pod(conditions=[condition])).unscheduled
    assert "" == pod_seen(pod(conditions=[condition | {"status": "True"}])).unscheduled


def test_why_the_cluster_ended_it() -> None:
    condition = {
        "type": "DisruptionTarget",
        "status": "True",
        "reason": "EvictionByEvictionAPI",
        "message": "m",
    }
    seen = pod_seen(pod(conditions=[condition]))

    assert ("EvictionByEvictionAPI", "m") == (seen.disrupted, seen.disrupted_words)


def test_a_container_before_the_ranks_that_failed_is_named() -> None:
    fetch = {"name": "fetch", "state": {"terminated": {"exitCode": 1, "message": "no such object"}}}
    seen = pod_seen(pod(phase="Failed", initContainerStatuses=[fetch]))

    assert ("fetch", "no such object", True) == (
        seen.before,
        seen.before_ended and seen.before_ended.words,
        seen.emptied,
    )


@pytest.mark.parametrize(
    "odd",
    [
        {},
        {"metadata": None, "spec": None, "status": None},
        {"metadata": [], "spec": 1, "status": "x"},
        pod(conditions="none", containerStatuses={"name": "ranks"}, phase=None),
        pod(containerStatuses=[None, {"name": "ranks", "state": None}]),
        pod(**ranks(terminated={"exitCode": "many"})),
    ],
)
def test_what_is_not_as_it_should_be_is_read_all_the_same(odd: dict[str, Any]) -> None:
    assert pod_seen(odd).attempt >= 1
    assert job_seen(odd).attempt >= 1


def test_no_words_are_without_an_end() -> None:
    assert 2000 == len(pod_seen(pod(message="x" * 100_000)).words)


@pytest.mark.parametrize("kind", ["Failed", "FailureTarget"])
def test_a_job_has_failed_as_soon_as_it_is_going_to(kind: str) -> None:
    condition = {"type": kind, "status": "True", "reason": "PodFailurePolicy", "message": "m"}
    seen = job_seen({"metadata": ABOUT, "spec": {"suspend": True}, "status": {"conditions": [condition]}})

    assert ("PodFailurePolicy", "m", True) == (seen.failed, seen.words, seen.suspended)
