"""The local executor is ended, or a supervisor is: runs go on once, or end with the reason."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

import pytest

from pollinator.executors.base import Job
from pollinator.executors.local import STARTS
from pollinator.v1.run_pb2 import OutcomeReason, RunState
from support.disk import full_disk
from support.jobs import WAITS, Site, site
from support.sandbox import gone, wait_until

__all__ = ["site"]
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")

QUEUED = RunState.RUN_STATE_QUEUED
STARTING = RunState.RUN_STATE_STARTING
RUNNING = RunState.RUN_STATE_RUNNING
SUCCEEDED = RunState.RUN_STATE_SUCCEEDED
FAILED = RunState.RUN_STATE_FAILED


def test_a_job_handed_over_again_after_a_restart_runs_once(site: Site) -> None:
    job = site.submit("a", f"echo once >> result/times; {WAITS}")
    site.wait(job, RUNNING)

    site.restart().submit(job, {})

    assert RUNNING == site.state(job)
    site.finish(job)
    assert "once\n" == (job.work / "result" / "times").read_text()


def test_a_restart_before_the_supervisor_has_begun_starts_one_only(site: Site) -> None:
    job = site.submit("a", f"echo once >> result/times; {WAITS}")

    site.restart().submit(job, {})
    site.restart().submit(job, {})

    site.finish(job)
    assert "once\n" == (job.work / "result" / "times").read_text()


def test_what_a_job_holds_is_held_after_a_restart(site: Site) -> None:
    first = site.submit("a", cpu_millis=3000)
    second = site.submit("b", cpu_millis=3000)
    site.wait(first, RUNNING)

    for job in (first, second):
        (site.restart() if job is first else site.executor).submit(job, {})

    assert [RUNNING, QUEUED] == [site.state(first), site.state(second)]
    site.finish(first)
    site.wait(second, RUNNING)


def test_a_job_that_ended_meanwhile_is_seen_after_a_restart(site: Site) -> None:
    job = site.submit("a", "exit 7")
    wait_until((job.workspace / "exit.json").exists, "the job has ended")

    site.restart().submit(job, {})

    seen = site.wait(job, FAILED)
    assert seen.outcome is not None
    assert (OutcomeReason.OUTCOME_REASON_EXIT_CODE, 7) == (seen.outcome.reason, seen.outcome.exit_code)
    assert 1 == len(seen.nodes)


def supervisor_of(job: Job) -> int:
    return int(json.loads((job.workspace / "started.json").read_text())["pid"])


@pytest.mark.parametrize("guard", ["best", "sampling"])
def test_a_killed_supervisor_is_a_failed_node_and_nothing_of_the_run_survives(
    site: Site, monkeypatch: pytest.MonkeyPatch, guard: str
) -> None:
    monkeypatch.setenv("POLLINATOR_MEMORY_GUARD", guard)
    leaves = "setsid sleep 60 & echo $!; sleep 60 & echo $!; echo $$; wait"
    job = site.submit("a", leaves)
    wait_until(lambda: site.output(job).count(b"\n") == 3, "all processes run")

    os.kill(supervisor_of(job), signal.SIGKILL)

    seen = site.wait(job, FAILED)
    assert seen.outcome is not None
    assert OutcomeReason.OUTCOME_REASON_NODE_FAILED == seen.outcome.reason
    assert seen.outcome.detail.endswith("; 3 processes it had left were killed")
    pids = [int(word) for word in site.output(job).split()]
    wait_until(lambda: all(map(gone, pids)), "no process is left")
    assert not list(Path("/sys/fs/cgroup").rglob(f"pollinator-{job.run_id}"))
    assert seen == site.executor.observe(job)
    assert FAILED == site.restart().observe(job).state


def test_a_supervisor_that_never_begins_is_a_launch_failure(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    job = site.submit("a")
    seen = site.wait(job, FAILED)

    assert seen.outcome is not None
    assert (OutcomeReason.OUTCOME_REASON_LAUNCH, 127) == (seen.outcome.reason, seen.outcome.exit_code)
    assert str(job.workspace / "supervisor.log") in seen.outcome.detail


def test_a_supervisor_that_was_killed_before_it_began_is_started_again(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    python = sys.executable
    monkeypatch.setattr(sys, "executable", "/bin/false")
    job = site.job("a", "echo $TOKEN")
    site.executor.submit(job, {"TOKEN": "hunter2"})
    monkeypatch.setattr(sys, "executable", python)
    states: set[RunState.ValueType] = set()

    def over() -> bool:
        states.add(site.state(job))
        return SUCCEEDED in states

    wait_until(over, "the job runs")

    assert states <= {STARTING, RUNNING, SUCCEEDED}
    assert b"hunter2\n" == site.output(job)
    assert STARTS > 1


def test_a_job_that_could_not_be_started_on_a_full_disk_starts_later(site: Site) -> None:
    job = site.job("a", cpu_millis=4000)
    with full_disk(0), pytest.raises(OSError, match=r"File too large|No space left"):
        site.executor.submit(job, {})

    site.executor.submit(job, {})

    site.wait(job, RUNNING)


def test_a_job_that_could_not_be_started_when_another_ended_keeps_its_secrets(site: Site) -> None:
    first = site.submit("a", cpu_millis=4000)
    second = site.job("b", 'printf "%s" "$TOKEN"', cpu_millis=4000)
    site.executor.submit(second, {"TOKEN": "x" * 100_000})
    (first.work / "go").touch()
    site.wait(first, SUCCEEDED)
    with full_disk(64 << 10), pytest.raises(OSError, match=r"File too large|No space left"):
        site.executor.forget(first)

    site.wait(second, SUCCEEDED)

    assert b"x" * 100_000 == site.output(second)
