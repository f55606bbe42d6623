"""Why a run waits, in plain words: what is missing, what would fit, and when there is no hope."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pollinator.executors.base import Job
from pollinator.executors.kubernetes.handover import Handover
from pollinator.executors.kubernetes.offer import Machine, machine, quantity
from pollinator.executors.kubernetes.reasons import explain, hopeless, note_images
from pollinator.executors.kubernetes.seen import JobSeen, PodState
from pollinator.executors.kubernetes.volume import Volume
from pollinator.v1.spec_pb2 import Gpu, RunSpec

JOB = JobSeen("pollinator-x", "j", "x", 1)
MACHINES = [Machine(4000, 16 << 30), Machine(8000, 32 << 30)]
Made = Callable[..., Handover]


@pytest.fixture
def run_of(tmp_path: Path) -> Made:
    def make(**changes: Any) -> Handover:
        fields: dict[str, Any] = {"project": "demo", "nodes": 1, "processes_per_node": 1, "command": "x"}
        fields |= changes
        job = Job("x", RunSpec(**fields), tmp_path / "state" / "runs" / "x")
        job.workspace.mkdir(parents=True)
        return Handover(job, Volume("files", tmp_path, tmp_path / "state", os.geteuid(), os.getegid()))

    return make


def pod(index: int = 0, **changes: Any) -> PodState:
    fields: dict[str, Any] = {
        "name": f"p{index}",
        "uid": f"u{index}",
        "run": "x",
        "attempt": 1,
        "index": index,
    }
    fields |= changes
    return PodState(**fields)


@pytest.mark.parametrize(
    ("words", "code"),
    [
        ("0/3 nodes are available: 3 Insufficient cpu. preemption: none", "insufficient_cpu"),
        (
            "0/3 nodes are available: 1 Insufficient memory, 2 node(s) had untolerated taint {x}.",
            "insufficient_memory",
        ),
        ("0/3 nodes are available: 3 Insufficient nvidia.com/gpu.", "insufficient_gpu"),
        ("0/3 nodes are available: 3 Too many pods.", "too_many_pods"),
        ("0/3 nodes are available: 3 node(s) didn't match Pod's node affinity/selector.", "no_such_node"),
        ('persistentvolumeclaim "none" not found', "volume_unbound"),
        ("0/3 nodes are available: 3 node(s) were unlucky.", "unschedulable"),
    ],
)
def test_what_the_scheduler_says_is_said_in_our_words_and_in_its_own(
    run_of: Made, words: str, code: str
) -> None:
    found = explain(run_of(cpu_millis=1000), JOB, [pod(unscheduled=words)], MACHINES)

    assert code == found.code
    assert words in found.text
    assert found.action


def test_what_would_fit_is_said_where_nothing_ever_will(run_of: Made) -> None:
    words = "0/2 nodes are available: 2 Insufficient memory."
    found = explain(run_of(memory_bytes=64 << 30), JOB, [pod(unscheduled=words)], MACHINES)

    assert "64 GiB" in found.text
    assert "the largest has 32 GiB" in found.text
    assert "it will not start as it is" in found.action


@pytest.mark.parametrize(
    ("words", "asked"),
    [
        ("2 Insufficient memory.", {"memory_bytes": 64 << 30}),
        ("2 Insufficient cpu.", {"cpu_millis": 64000}),
        ("2 Insufficient nvidia.com/gpu.", {"gpu": Gpu(count=8)}),
    ],
)
def test_where_nodes_are_not_to_be_seen_it_is_said_that_it_may_never_start(
    run_of: Made, words: str, asked: dict[str, Any]
) -> None:
    pods = [pod(unscheduled=f"0/2 nodes are available: {words}")]
    run = run_of(**asked)
    unknown, hidden = explain(run, JOB, pods, []).action, explain(run, JOB, pods, None).action

    assert hidden.startswith(f"{unknown}; it may never start")
    assert "nodes.read" in hidden
    assert "never" not in unknown


def test_pods_that_are_not_let_in_do_not_wait_without_a_word(run_of: Made) -> None:
    run = run_of()
    assert "submitted" == explain(run, JOB, [], MACHINES).code
    run.events = (("FailedCreate", 'pods "x" is forbidden: exceeded quota: none, requested: pods=1'),)
    assert "quota" == explain(run, JOB, [], MACHINES).code
    run.events = (("FailedCreate", "violates PodSecurity"),)
    found = explain(run, JOB, [], MACHINES)
    assert ("not_admitted", True) == (found.code, "violates PodSecurity" in found.text)


def test_a_suspended_job_waits_for_its_queue_or_for_whoever_did_it(run_of: Made) -> None:
    run, suspended = run_of(), JobSeen("pollinator-x", "j", "x", 1, suspended=True)

    assert "suspended" == explain(run, suspended, [], MACHINES).code
    run.events = (("Workload", "insufficient unused quota for cpu"),)
    found = explain(run, suspended, [], MACHINES, "team")
    assert ("kueue", True, True) == (found.code, "team" in found.text, "unused quota" in found.text)


@pytest.mark.parametrize(
    ("event", "code"),
    [
        ("Pulling", "image_pulling"),
        ("FailedMount", "volume"),
        ("FailedCreatePodSandBox", "container_config"),
        ("Pulled", "creating"),
    ],
)
def test_what_a_node_does_before_the_ranks_begin_is_said(run_of: Made, event: str, code: str) -> None:
    run = run_of()
    run.events = ((event, "words"),)

    assert code == explain(run, JOB, [pod(node="n1")], MACHINES).code


def test_a_run_that_only_begins_leaves_nobody_anything_to_do(run_of: Made) -> None:
    run = run_of()
    steps = [explain(run, JOB, pods, MACHINES) for pods in ([], [pod()], [pod(node="n1")])]
    run.events = (("Pulling", "words"),)
    steps.append(explain(run, JOB, [pod(node="n1")], MACHINES))

    assert ["submitted", "scheduling", "creating", "image_pulling"] == [each.code for each in steps]
    assert {""} == {each.action for each in steps}


def test_a_node_that_is_faster_than_a_secret_of_the_job_is_no_fault(run_of: Made) -> None:
    run = run_of()
    assert run.name
    missing = f'secret "{run.name}-store" not found'
    run.events = (("FailedMount", f'MountVolume.SetUp failed for volume "store" : {missing}'),)
    early = pod(node="n1", waiting="CreateContainerConfigError", waiting_words=missing)

    assert "creating" == explain(run, JOB, [pod(node="n1")], MACHINES).code
    assert "creating" == explain(run, JOB, [early], MACHINES).code


def test_nodes_that_are_not_there_yet_are_numbered(run_of: Made) -> None:
    run = run_of(nodes=2)
    run.journals[0].began = True
    found = explain(run, JOB, [pod(0, node="n1", begun=True), pod(1, node="n2")], MACHINES)

    assert ("peers", True) == (found.code, found.text.endswith("missing are 1"))


# Images


def test_what_a_registry_said_is_kept_while_its_node_waits(run_of: Made) -> None:
    run = run_of()
    first = pod(node="n1", waiting="ErrImagePull", waiting_words="manifest unknown", image="i:1")
    note_images(run, [first])
    later = pod(node="n1", waiting="ImagePullBackOff", waiting_words="Back-off", image="i:1")
    found = explain(run, JOB, [later], MACHINES)

    assert ("image_error", True) == (found.code, "i:1: manifest unknown" in found.text)


def test_what_differs_in_numbers_alone_is_not_told_again(run_of: Made) -> None:
    run = run_of()
    told: list[str] = []
    for words in ("read 10.0.0.2:51084: timeout", "read 10.0.0.2:55830: timeout", "manifest unknown"):
        seen = pod(node="n1", waiting="ErrImagePull", waiting_words=words, image="i:1")
        note_images(run, [seen])
        told.append(explain(run, JOB, [seen], MACHINES).text)

    assert told[0] == told[1]
    assert "i:1: manifest unknown" in told[2]


@pytest.mark.parametrize(
    ("waiting", "words", "after_s", "expected"),
    [
        ("InvalidImageName", "cannot parse", 0.0, "image"),
        ("ErrImagePull", "manifest unknown", 0.0, ""),
        ("ErrImagePull", "manifest unknown", 6.0, "image"),
        ("ImagePullBackOff", "connection refused", 6.0, ""),
        ("ImagePullBackOff", "connection refused", 61.0, "image"),
        ("CreateContainerConfigError", 'secret "x" not found', 30.0, ""),
        ("CreateContainerConfigError", 'secret "x" not found', 61.0, "launch"),
    ],
)
def test_hope_ends_when_it_should(
    run_of: Made, monkeypatch: pytest.MonkeyPatch, waiting: str, words: str, after_s: float, expected: str
) -> None:
    run = run_of()

    def age(what: str, *, holds: bool = True) -> float:
        return after_s if holds else 0.0

    monkeypatch.setattr(run, "age", age)
    found, said = hopeless(run, [pod(node="n1", waiting=waiting, waiting_words=words, image="i:1")], 60.0)

    assert expected == found
    assert bool(expected) == (words in said)


def test_there_is_hope_where_nothing_is_wrong(run_of: Made) -> None:
    assert ("", "") == hopeless(run_of(), [pod(node="n1"), pod(1, unscheduled="no room")], 0.0)


# What there is


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("2", 2),
        ("1500m", 1.5),
        ("16Gi", 16 << 30),
        ("1k", 1000),
        ("32892652Ki", 32892652 << 10),
        ("odd", 0),
        ("", 0),
    ],
)
def test_quantities_are_those_of_the_cluster(text: str, number: float) -> None:
    assert number == float(quantity(text))


def test_a_node_is_what_it_can_give_away() -> None:
    found = machine(
        {
            "metadata": {"labels": {"product": "A100"}},
            "status": {
                "allocatable": {"cpu": "3900m", "memory": "1Gi", "nvidia.com/gpu": "4"},
                "nodeInfo": {"containerRuntimeVersion": "containerd://2.1"},
            },
        }
    )

    assert (3900, 1 << 30, 4, "containerd") == (
        found.cpu_millis,
        found.memory_bytes,
        found.resources["nvidia.com/gpu"],
        found.runtime,
    )
    assert 0 == machine({}).cpu_millis
