"""How an attempt ended: what nodes wrote down first, and what the cluster says where they did not."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pollinator.executors.base import Job
from pollinator.executors.kubernetes.ends import by_cluster, by_journals
from pollinator.executors.kubernetes.handover import Handover
from pollinator.executors.kubernetes.seen import Ended, JobSeen, PodState
from pollinator.executors.kubernetes.volume import Volume
from pollinator.v1.spec_pb2 import RunSpec

RUN = "01m8c8tyqqaze0bjrzpy7s112z"
JOB = JobSeen("pollinator-x", "j", RUN, 1)
WELL = "began\nran\nrank {0} Done\nrank {1} Done\nusage cgroup-v2 10 0 5\nended\ndone\n"
Made = Callable[..., Handover]


@pytest.fixture
def run_of(tmp_path: Path) -> Made:
    def make(*journals: str, cancelled: bool = False) -> Handover:
        spec = RunSpec(project="demo", nodes=len(journals), processes_per_node=2, command="python3 x")
        job = Job(RUN, spec, tmp_path / "state" / "runs" / RUN)
        job.workspace.mkdir(parents=True)
        run = Handover(job, Volume("files", tmp_path, tmp_path / "state", os.geteuid(), os.getegid()))
        job.work.mkdir()
        for folder in (job.output, job.workspace / "control", job.workspace / "control" / "1"):
            folder.mkdir()
        for node, text in enumerate(journals):
            (job.workspace / "control" / "1" / str(node)).write_text(text)
        if cancelled:
            run.cancel()
        run.read(0.0)
        return run

    return make


def pod(index: int = 0, **changes: Any) -> PodState:
    fields: dict[str, Any] = {"name": f"p{index}", "uid": f"u{index}", "run": RUN, "attempt": 1}
    fields |= {"index": index, "node": "n1"}
    fields |= changes
    return PodState(**fields)


def told(record: Any) -> tuple[str, int, int, int]:
    """Reason, exit code, signal and rank."""
    return record["reason"], record["exit_code"], record["signal"], record["rank"]


def of_journals(run: Handover, *pods: PodState) -> Any:
    record = by_journals(run, pods)
    assert record is not None
    return record


def test_all_ranks_of_all_nodes_that_end_well_are_a_success(run_of: Made) -> None:
    record = of_journals(run_of(WELL.format(0, 1), WELL.format(2, 3)))

    assert ("", 0, 0, 0) == told(record)
    assert (10, "cgroup-v2", 1e-5) == tuple(
        record[name] for name in ("peak_memory_bytes", "memory_source", "cpu_s")
    )


def test_the_rank_that_failed_by_itself_is_named_whichever_others_were_ended(run_of: Made) -> None:
    ended = "began\nran\nending stop\nrank 0 Terminated\nrank 1 Terminated\nusage - 0 0 0\ndone\n"
    failed = "began\nran\nrank 3 Done(5)\nending rank\nrank 2 Terminated\nusage - 0 0 0\ndone\n"

    assert ("exit_code", 5, 0, 3) == told(of_journals(run_of(ended, failed)))


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ("rank 1 Killed\nending rank", ("signal", 137, 9, 1)),
        ("rank 1 Done(137)\nending rank", ("exit_code", 137, 0, 1)),
        ("ending time\nrank 0 Killed", ("time_limit", 143, 15, 0)),
        ("ending peers", ("launch", 1, 0, 0)),
        ("no program", ("launch", 127, 0, 0)),
        ("no mode", ("launch", 127, 0, 0)),
        ("ending memory\nrank 0 Terminated", ("out_of_memory", 137, 9, 0)),
    ],
)
def test_each_end_of_a_node_is_one_of_the_run(
    run_of: Made, lines: str, expected: tuple[str, int, int, int]
) -> None:
    assert expected == told(of_journals(run_of(f"began\nran\n{lines}\nusage cgroup-v2 1 0 1\ndone\n")))


def test_what_the_kernel_killed_for_memory_decides_whatever_the_exit_code(run_of: Made) -> None:
    text = "began\nran\nrank 0 Done\nrank 1 {}\nusage cgroup-v2 1 1 1\ndone\n"

    assert ("out_of_memory", 137, 9, 1) == told(of_journals(run_of(text.format("Killed"))))


def test_exit_code_0_with_a_part_killed_for_memory_is_a_failure(run_of: Made) -> None:
    text = "began\nran\nrank 0 Done\nrank 1 Done\nusage cgroup-v2 1 1 1\ndone\n"

    assert ("out_of_memory", 0, 0, 0) == told(of_journals(run_of(text)))


def test_a_container_that_was_killed_for_memory_decides_as_well(run_of: Made) -> None:
    text = "began\nran\nrank 0 Killed\nending rank\nusage - 0 0 0\ndone\n"

    assert "out_of_memory" == of_journals(run_of(text), pod(ended=Ended(137, 0, "OOMKilled")))["reason"]


def test_a_wish_that_came_first_is_a_cancelled_run(run_of: Made) -> None:
    text = "began\nran\nending stop\nrank 0 Terminated\nrank 1 Terminated\nusage - 0 0 0\ndone\n"

    assert "cancelled" == of_journals(run_of(text, cancelled=True))["reason"]


def test_a_wish_that_came_too_late_changes_nothing(run_of: Made) -> None:
    assert "" == of_journals(run_of(WELL.format(0, 1), cancelled=True))["reason"]


def test_what_the_cluster_ended_is_for_the_cluster_to_explain(run_of: Made) -> None:
    text = "began\nran\nending term\nrank 0 Terminated\nrank 1 Terminated\nusage - 0 0 0\ndone\n"
    run = run_of(text)

    assert by_journals(run, []) is None
    disrupted = pod(
        disrupted="EvictionByEvictionAPI", disrupted_words="Eviction API: evicting", ended=Ended(143)
    )
    record = by_cluster(run, JOB, [disrupted], [])
    assert ("preempted", 143, 15, 0) == told(record)
    assert "drained" in record["detail"]


@pytest.mark.parametrize(
    ("changes", "reason", "word"),
    [
        ({"ended": Ended(137, 0, "OOMKilled")}, "out_of_memory", ""),
        ({"ended": Ended(128, 0, "StartError", "no /bin/sh")}, "launch", "no /bin/sh"),
        ({"reason": "DeadlineExceeded", "ended": Ended(143)}, "time_limit", "p0"),
        ({"disrupted": "PreemptionByScheduler"}, "preempted", "p0"),
        ({"disrupted": "DeletionByTaintManager"}, "node_failed", "n1"),
        ({"disrupted": "SomethingNew"}, "node_failed", "SomethingNew"),
        ({"reason": "Evicted", "words": "low on memory"}, "node_failed", "low on memory"),
        (
            {"before": "fetch", "before_ended": Ended(1, 0, "Error", "no such object")},
            "materialise",
            "no such object",
        ),
        ({"gone": True}, "node_failed", "p0 was deleted in the cluster, by somebody else"),
        ({"ended": Ended(137, 0, "Error", "")}, "node_failed", "left no record"),
    ],
)
def test_a_pod_that_left_no_word_is_explained(
    run_of: Made, changes: dict[str, Any], reason: str, word: str
) -> None:
    record = by_cluster(run_of("began\nran\n"), JOB, [pod(**changes)], [])

    assert reason == record["reason"]
    assert word in record["detail"]


def test_of_several_pods_the_first_that_left_is_named(run_of: Made) -> None:
    run = run_of("began\nran\n", "began\nran\n")
    run.age("leaving u1")
    run.age("leaving u0")
    record = by_cluster(run, JOB, [pod(0, gone=True), pod(1, gone=True)], [])

    assert record["detail"].startswith("p1 was deleted")
    assert 2 == record["rank"]


def test_a_pod_that_does_not_end_is_on_a_node_that_is_lost(run_of: Made) -> None:
    record = by_cluster(run_of("began\nran\n"), JOB, [pod(deleting=True)], ["u0"])

    assert "node_failed" == record["reason"]
    assert "does not answer" in record["detail"]


def test_a_job_that_others_deleted_is_cancelled_and_not_lost(run_of: Made) -> None:
    record = by_cluster(run_of(""), None, [], [])

    assert "cancelled" == record["reason"]
    assert "by somebody else" in record["detail"]


def test_a_job_that_is_suspended_while_it_runs_was_preempted(run_of: Made) -> None:
    assert "preempted" == by_cluster(run_of("began\nran\n"), replace(JOB, suspended=True), [], [])["reason"]


def test_nothing_is_a_success_without_a_word(run_of: Made) -> None:
    record = by_cluster(run_of(""), replace(JOB, complete=True), [pod(ended=Ended(0))], [])

    assert record["reason"]
    assert record["exit_code"]
