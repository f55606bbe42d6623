"""The local executor: its queue, its supervisors, and what it makes of their records."""

from __future__ import annotations

import json
import os
import sys
from typing import Any

import pytest

from pollinator.v1.run_pb2 import OutcomeReason, RunState
from pollinator.v1.spec_pb2 import Gpu
from pollinator.wire.errors import InvalidInput
from support.jobs import Site, site
from support.sandbox import wait_until

__all__ = ["site"]
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")

QUEUED = RunState.RUN_STATE_QUEUED
RUNNING = RunState.RUN_STATE_RUNNING
SUCCEEDED = RunState.RUN_STATE_SUCCEEDED
FAILED = RunState.RUN_STATE_FAILED
CANCELLED = RunState.RUN_STATE_CANCELLED


def test_a_job_starts_runs_and_ends(site: Site) -> None:
    job = site.submit("a", cpu_millis=1000, memory_bytes=100 << 20)
    running = site.wait(job, RUNNING)
    (job.work / "go").touch()
    seen = site.wait(job, SUCCEEDED)

    assert (os.uname().nodename,) == running.nodes
    assert b"up\n" == site.output(job)
    assert seen.outcome is not None
    assert (0, 0, "") == (seen.outcome.reason, seen.outcome.exit_code, seen.outcome.detail)
    assert seen.usage is not None
    assert site.executor.capabilities().memory_source == seen.usage.memory_source
    assert seen.usage.peak_memory_bytes > 0
    assert seen == site.executor.observe(job)


def test_every_rank_has_its_place(site: Site) -> None:
    prints = 'echo $RANK $LOCAL_RANK $POLLINATOR_NODE_RANK $WORLD_SIZE $MASTER_PORT "$0" "$@" > result/$RANK'
    job = site.submit("a", prints, nodes=2, processes_per_node=2, arguments=[prints, "zero", "one two"])
    site.wait(job, SUCCEEDED)
    words = [(job.work / "result" / str(rank)).read_text().split() for rank in range(4)]

    assert [["0", "0", "0", "4"], ["1", "1", "0", "4"], ["2", "0", "1", "4"], ["3", "1", "1", "4"]] == [
        each[:4] for each in words
    ]
    assert 1 == len({each[4] for each in words})
    assert ["zero", "one", "two"] == words[0][5:]


def test_the_source_is_the_commands_first_argument(site: Site) -> None:
    job = site.job("a", arguments=["one"], command="/bin/sh -e", source="dir/main.sh")
    (job.work / "src" / "dir").mkdir()
    (job.work / "src" / "dir" / "main.sh").write_text("echo $0 $1")
    site.executor.submit(job, {})
    site.wait(job, SUCCEEDED)

    assert f"{job.work}/src/dir/main.sh one\n".encode() == site.output(job)


def test_a_job_waits_for_cores_and_says_so(site: Site) -> None:
    first = site.submit("a", cpu_millis=3000)
    second = site.submit("b", cpu_millis=2000)
    site.wait(first, RUNNING)
    waiting = site.executor.observe(second)

    assert QUEUED == waiting.state
    assert waiting.pending is not None
    assert "cpu" == waiting.pending.code
    assert f"needs 2 cores; 1 of 4 are free; used by {first.run_id}" == waiting.pending.text
    site.finish(first)
    site.wait(second, RUNNING)


def test_a_job_waits_for_memory_and_says_so(site: Site) -> None:
    first = site.submit("a", memory_bytes=5 << 30)
    second = site.submit("b", memory_bytes=4 << 30)
    waiting = site.executor.observe(second)

    assert waiting.pending is not None
    assert "memory" == waiting.pending.code
    assert f"needs 4.0 GiB of memory; 3.0 GiB are free; used by {first.run_id}" == waiting.pending.text
    site.finish(first)
    site.wait(second, RUNNING)


def test_what_a_job_asks_for_counts_on_every_node(site: Site) -> None:
    site.submit("a", cpu_millis=1000, memory_bytes=3 << 30, nodes=2)

    assert QUEUED == site.state(site.submit("b", cpu_millis=1000, memory_bytes=3 << 30))
    assert QUEUED == site.state(site.submit("c", cpu_millis=3000))


def test_jobs_start_in_the_order_they_came(site: Site) -> None:
    first = site.submit("a", cpu_millis=3000)
    big = site.submit("b", cpu_millis=4000)
    small = site.submit("c", cpu_millis=500)
    last = site.submit("d", cpu_millis=500)
    waiting = [site.executor.observe(job).pending for job in (small, last)]

    assert ["1 run is ahead of it", "2 runs are ahead of it"] == [each.text for each in waiting if each]
    site.finish(first)
    site.wait(big, RUNNING)
    assert [QUEUED, QUEUED] == [site.state(small), site.state(last)]
    site.finish(big)
    site.wait(small, RUNNING)
    site.wait(last, RUNNING)


def test_a_job_bigger_than_the_machine_has_it_for_itself(site: Site) -> None:
    first = site.submit("a", cpu_millis=100)
    big = site.submit("b", cpu_millis=64_000)

    assert QUEUED == site.state(big)
    site.finish(first)
    site.wait(big, RUNNING)
    assert QUEUED == site.state(site.submit("c", cpu_millis=100))


def test_a_job_that_waits_is_cancelled_without_a_start(site: Site) -> None:
    first = site.submit("a", cpu_millis=4000)
    second = site.submit("b", "echo never", cpu_millis=4000)

    site.executor.cancel(second)

    assert CANCELLED == site.state(second)
    site.executor.forget(second)
    site.finish(first)
    assert CANCELLED == site.state(second)
    assert not (second.workspace / "started.json").exists()


def test_a_job_that_runs_is_cancelled(site: Site) -> None:
    job = site.submit("a")
    wait_until(lambda: b"up" in site.output(job), "the job runs")

    site.executor.cancel(job)
    site.executor.cancel(job)

    seen = site.wait(job, CANCELLED)
    assert seen.outcome is not None
    assert OutcomeReason.OUTCOME_REASON_UNSPECIFIED == seen.outcome.reason


def test_a_job_cancelled_as_its_supervisor_starts_never_starts_a_rank(site: Site) -> None:
    job = site.submit("a", "echo started")
    site.executor.cancel(job)

    site.wait(job, CANCELLED)
    assert b"" == site.output(job)


def test_secrets_reach_the_ranks_and_lie_nowhere(site: Site) -> None:
    job = site.job("a", "echo $TOKEN")
    site.executor.submit(job, {"TOKEN": "hunter2"})
    site.wait(job, SUCCEEDED)

    assert b"hunter2\n" == site.output(job)
    kept = [path for path in job.workspace.rglob("*") if path.is_file() and path.parent != job.output]
    assert [] == [path for path in kept if b"hunter2" in path.read_bytes()]


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        ({"reason": "", "exit_code": 0}, (SUCCEEDED, "UNSPECIFIED", 0, 0)),
        ({"reason": "cancelled", "exit_code": 143, "signal": 15}, (CANCELLED, "UNSPECIFIED", 143, 15)),
        ({"reason": "exit_code", "exit_code": 3}, (FAILED, "EXIT_CODE", 3, 0)),
        ({"reason": "signal", "exit_code": 139, "signal": 11}, (FAILED, "SIGNAL", 139, 11)),
        ({"reason": "out_of_memory", "exit_code": 137, "signal": 9}, (FAILED, "OUT_OF_MEMORY", 137, 9)),
        ({"reason": "time_limit", "exit_code": 143, "signal": 15}, (FAILED, "TIME_LIMIT", 143, 15)),
        ({"reason": "launch", "exit_code": 127}, (FAILED, "LAUNCH", 127, 0)),
        ({"reason": "node_failed", "exit_code": 1}, (FAILED, "NODE_FAILED", 1, 0)),
        ({"reason": "of a later version", "exit_code": 9}, (FAILED, "BACKEND", 9, 0)),
    ],
)
def test_the_exit_record_decides(
    site: Site, record: dict[str, object], expected: tuple[RunState.ValueType, str, int, int]
) -> None:
    job = site.job("a")
    (job.workspace / "exit.json").write_text(json.dumps({**record, "rank": 2, "cpu_s": 1.5, "detail": "d"}))
    seen = site.executor.observe(job)

    assert seen.outcome is not None
    assert seen.usage is not None
    reason = OutcomeReason.Name(seen.outcome.reason).removeprefix("OUTCOME_REASON_")
    assert expected == (seen.state, reason, seen.outcome.exit_code, seen.outcome.signal)
    assert (2, "d", 1500) == (seen.outcome.rank, seen.outcome.detail, seen.usage.cpu.ToMilliseconds())


def refused(site: Site, **spec: Any) -> list[str]:
    with pytest.raises(InvalidInput) as caught:
        site.executor.preflight(site.job("x", **spec).spec)

    assert "cannot_run_here" == caught.value.reason
    return [each.where for each in caught.value.violations]


def test_what_this_machine_can_never_run_is_refused_at_once(site: Site) -> None:
    assert ["conditions.gpu.count", "conditions.mem", "conditions.nodes", "environment.docker"] == refused(
        site,
        gpu=Gpu(count=1),
        memory_bytes=5 << 30,
        nodes=4097,
        image="img",
        require_container=True,
    )


@pytest.mark.parametrize(
    ("spec", "codes"),
    [
        ({}, []),
        ({"gpu": Gpu(name="A100")}, []),
        ({"memory_bytes": 8 << 30, "cpu_millis": 4000, "nodes": 1}, []),
        ({"cpu_millis": 3000, "nodes": 2}, ["cpu_capped"]),
        ({"image": "img"}, ["no_container_engine"]),
    ],
)
def test_what_is_different_here_is_told(site: Site, spec: dict[str, Any], codes: list[str]) -> None:
    notices = site.executor.preflight(site.job("a", **spec).spec)

    assert codes == [notice.code for notice in notices]


def test_an_init_command_for_an_image_is_left_out_and_said(site: Site) -> None:
    job = site.job("a", "echo rank", image="img", init_command="echo init")
    (notice,) = site.executor.preflight(job.spec)
    site.executor.submit(job, {})
    site.wait(job, SUCCEEDED)

    assert "init-cmd, which is for the image, is left out" in notice.text
    assert b"rank\n" == site.output(job)


def test_the_executor_says_what_it_can_do(site: Site) -> None:
    offer = site.executor.capabilities()

    assert (4000, 8 << 30, 1) == (offer.cpu_millis, offer.memory_bytes, offer.nodes)
    assert {"memory_limit", "time_limit", "cancel", "secrets"} == set(offer.features)
    assert offer.memory_source in ("cgroup-v2", "cgroup-v1", "sampling")
