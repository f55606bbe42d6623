"""Runs held to their memory, by the best guard of this machine and by the one that only looks."""

from __future__ import annotations

import os
import resource
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from pollinator.executors import memory as under_test
from pollinator.executors.memory import SAMPLING, SamplingGuard, guard_memory, memory_source
from pollinator.executors.processes import below, proportional, resident
from support.control_groups import PlainKernel
from support.supervising import PYTHON, Workspace, workspace

__all__ = ["workspace"]
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")

LIMIT = 200 << 20
TAKES_400_MIB = "x = bytearray(400 << 20); import time; time.sleep(60)"


@pytest.fixture(params=["best", SAMPLING])
def guard(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """What limits memory in this test."""
    if request.param == "best" and memory_source() == SAMPLING:
        pytest.skip("no control group can be made here")
    monkeypatch.setenv("POLLINATOR_MEMORY_GUARD", request.param)
    return memory_source()


def python(script: str) -> tuple[str, ...]:
    return (PYTHON, "-c", script)


def child(how: str, script: str, options: str = "") -> str:
    """A script that starts another as a process of its own."""
    return f"import subprocess, sys; subprocess.{how}([sys.executable, '-c', {script!r}]{options})"


def run(workspace: Workspace, script: str, **changes: Any) -> dict[str, Any]:
    return workspace.run(python(script), **{"memory_bytes": LIMIT, **changes})


def test_a_rank_that_takes_too_much_is_killed_for_that(workspace: Workspace, guard: str) -> None:
    record = run(workspace, f"open('result', 'w').write('before'); {TAKES_400_MIB}")

    assert ("out_of_memory", 137, 9) == (record["reason"], record["exit_code"], record["signal"])
    assert guard == record["memory_source"]
    assert 0.95 * LIMIT <= record["peak_memory_bytes"] <= 500 << 20
    assert "before" == (workspace.work / "result").read_text()


def test_the_rank_that_was_killed_is_named(workspace: Workspace, guard: str) -> None:
    workspace.plan(("sleep", "60"), python(TAKES_400_MIB), memory_bytes=LIMIT)
    workspace.start().wait(30)

    assert "out_of_memory" == workspace.record()["reason"]
    assert (0 if guard == SAMPLING else 1) == workspace.record()["rank"]


def test_a_rank_that_waits_for_a_process_that_was_killed_does_not_wait_for_ever(
    workspace: Workspace, guard: str
) -> None:
    begin = time.monotonic()
    record = run(workspace, f"{child('run', TAKES_400_MIB)}; import time; time.sleep(60)")

    assert "out_of_memory" == record["reason"]
    assert time.monotonic() - begin < 30


def test_processes_in_a_session_of_their_own_count(workspace: Workspace, guard: str) -> None:
    starts = child("Popen", TAKES_400_MIB, ", start_new_session=True")

    assert "out_of_memory" == run(workspace, f"{starts}; import time; time.sleep(60)")["reason"]


def test_many_small_processes_count_together(workspace: Workspace, guard: str) -> None:
    each = "x = bytearray(90 << 20); import time; time.sleep(60)"
    workspace.plan(*[python(each)] * 3, memory_bytes=LIMIT)
    workspace.start().wait(30)

    assert "out_of_memory" == workspace.record()["reason"]


def test_memory_that_processes_share_counts_once(workspace: Workspace, guard: str) -> None:
    forks = "import os, time; x = bytearray(90 << 20); [os.fork() for _ in range(2)]; time.sleep(0.5)"
    record = run(workspace, forks)

    assert "" == record["reason"]
    assert 90 << 20 <= record["peak_memory_bytes"] <= LIMIT


def test_a_run_within_its_limit_is_left_alone_and_measured(workspace: Workspace, guard: str) -> None:
    record = run(workspace, "x = bytearray(100 << 20); import time; time.sleep(0.3)")

    assert "" == record["reason"]
    assert 100 << 20 <= record["peak_memory_bytes"] <= LIMIT


def test_without_a_limit_memory_is_measured(workspace: Workspace, guard: str) -> None:
    record = run(workspace, "x = bytearray(300 << 20)", memory_bytes=0)

    assert "" == record["reason"]
    assert 300 << 20 <= record["peak_memory_bytes"] <= 400 << 20


def test_an_init_command_is_held_to_the_limit(workspace: Workspace, guard: str) -> None:
    workspace.plan(
        ("true",),
        memory_bytes=LIMIT,
        init_command=f"{PYTHON} -c '{TAKES_400_MIB}'",
    )
    workspace.start().wait(30)

    assert "out_of_memory" == workspace.record()["reason"]


def test_a_run_that_lost_a_process_fails_although_it_ended_well(workspace: Workspace, guard: str) -> None:
    assert "out_of_memory" == run(workspace, child("run", TAKES_400_MIB))["reason"]


def test_the_backstop_is_set_where_nothing_else_holds_between_two_looks(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("POLLINATOR_MEMORY_GUARD", SAMPLING)
    looks = "import resource; print(resource.getrlimit(resource.RLIMIT_DATA)[0])"
    record = run(workspace, f"{looks}; print(open('/proc/self/oom_score_adj').read())")

    assert "" == record["reason"]
    assert [SamplingGuard(LIMIT).backstop, 1000] == [int(word) for word in workspace.output().split()]


def test_an_allocation_beyond_the_backstop_fails_in_the_program(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("POLLINATOR_MEMORY_GUARD", SAMPLING)
    beyond = SamplingGuard(LIMIT).backstop
    # Nothing of it is used, so that only the backstop can be what refuses it.
    takes = f"import mmap; mmap.mmap(-1, {beyond}, flags=mmap.MAP_PRIVATE)"
    record = run(workspace, takes)

    assert ("exit_code", 1) == (record["reason"], record["exit_code"])
    assert b"Cannot allocate memory" in workspace.output()


def test_the_backstop_never_loosens_a_limit_that_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    assert 2 * LIMIT + (4 << 30) == SamplingGuard(LIMIT).backstop

    def limited(what: int) -> tuple[int, int]:
        return (1 << 30, 1 << 30)

    monkeypatch.setattr(resource, "getrlimit", limited)
    assert 1 << 30 == SamplingGuard(LIMIT).backstop


@pytest.mark.parametrize(
    ("limit", "code", "largest", "expected"),
    [
        (LIMIT, 1, LIMIT * 2, True),
        (LIMIT, 1, LIMIT // 2, False),
        (LIMIT, -9, LIMIT // 2, False),
        (0, 1, LIMIT * 2, False),
        # A child starts with the size of its parent, here 2.
        (1, 1, 2, False),
    ],
)
def test_a_failure_after_a_peak_that_nobody_saw_is_for_memory(
    monkeypatch: pytest.MonkeyPatch, limit: int, code: int, largest: int, expected: bool
) -> None:
    def two(_: int) -> int:
        return 2

    monkeypatch.setattr(under_test, "_largest", two)

    assert expected == SamplingGuard(limit).exceeded(code, largest)


@pytest.mark.parametrize(("code", "expected"), [(-9, True), (1, False), (-11, False)])
def test_a_rank_killed_when_the_machine_ran_out_of_memory_says_so(
    monkeypatch: pytest.MonkeyPatch, code: int, expected: bool
) -> None:
    guard = SamplingGuard(0)
    monkeypatch.setattr(under_test, "kernel_kills", lambda: 10**9)

    assert expected == guard.exceeded(code, 0)


def test_counting_shared_memory_takes_a_tenth_of_the_time_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    now, asked = [0.0], [0]
    guard = SamplingGuard(100, clock=lambda: now[0])

    def slow(pid: int) -> int:
        now[0] += 0.5
        asked[0] += 1
        return 10

    def two(of: int | None) -> list[int]:
        return [79, 80]

    monkeypatch.setattr(under_test, "below", two)
    monkeypatch.setattr(under_test, "resident", int)
    monkeypatch.setattr(under_test, "proportional", slow)
    looks: list[tuple[bool, int]] = []
    for at in (1.0, 5.0, 10.9, 11.1):
        now[0] = max(now[0], at)
        looks.append((guard.over(), asked[0]))

    assert [(False, 2), (False, 2), (False, 2), (False, 4)] == looks
    assert 20 == guard.peak(0)


def test_the_guard_that_looks_is_the_last_resort(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("POLLINATOR_MEMORY_GUARD", raising=False)
    machine = PlainKernel(tmp_path)
    machine.v2("", "memory")
    machine.v2("app.slice", "memory")

    assert "cgroup-v2" == guard_memory("r1", LIMIT, machine.kernel).source
    machine.closed = ("app.slice", "app.slice/pollinatord.service")
    assert SAMPLING == guard_memory("r2", LIMIT, machine.kernel).source


def test_a_process_that_is_gone_has_no_memory_and_no_children() -> None:
    assert [0, 0] == [resident(2**22 + 1), proportional(2**22 + 1)]
    assert [] == below(2**22 + 1)
    assert resident(os.getpid()) >= proportional(os.getpid()) > 0
