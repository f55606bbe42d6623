"""Which control group a run gets, and what is read from it; on a tree of plain files."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from pollinator.executors.cgroups import V1, V2, group_guard, kill_group
from support.control_groups import PlainKernel
from support.sandbox import gone

LIMIT = 200 << 20
SERVICE = "app.slice/pollinatord.service"


@pytest.fixture
def machine(tmp_path: Path) -> PlainKernel:
    """A user's systemd on version 2: our group holds processes, so it gives nothing to groups below it."""
    kernel = PlainKernel(tmp_path)
    kernel.v2("", "cpu memory pids")
    kernel.v2("app.slice", "memory pids")
    kernel.v2(SERVICE, "")
    return kernel


def test_a_group_is_made_beside_ours_where_the_one_above_gives_memory(machine: PlainKernel) -> None:
    guard = group_guard("r1", LIMIT, machine.kernel)
    folder = machine.groups / "app.slice/pollinator-r1"

    assert guard is not None
    assert V2 == guard.source
    assert str(LIMIT) == (folder / "memory.max").read_text()
    assert "0" == (folder / "memory.swap.max").read_text()
    guard.close()
    assert not folder.exists()


def test_the_group_above_is_asked_for_memory_it_does_not_give_yet(machine: PlainKernel) -> None:
    machine.v2("app.slice", "pids")

    assert group_guard("r1", LIMIT, machine.kernel) is not None
    assert "+memory" in (machine.groups / "app.slice/cgroup.subtree_control").read_text()


def test_a_group_without_memory_is_never_asked_for_it(machine: PlainKernel) -> None:
    for folder in ("app.slice", SERVICE):
        machine.v2(folder, "pids", has="pids")

    assert group_guard("r1", LIMIT, machine.kernel) is None
    assert "pids\n" == (machine.groups / "app.slice/cgroup.subtree_control").read_text()


def test_our_own_group_is_next_when_the_one_above_is_somebody_elses(machine: PlainKernel) -> None:
    machine.closed = ("app.slice",)
    machine.v2(SERVICE, "memory")
    guard = group_guard("r1", LIMIT, machine.kernel)

    assert guard is not None
    assert (machine.groups / SERVICE / "pollinator-r1").is_dir()


def test_the_root_has_nothing_above(machine: PlainKernel) -> None:
    machine.own = "0::/\n"

    assert group_guard("r1", LIMIT, machine.kernel) is not None
    assert ["app.slice", "pollinator-r1"] == sorted(p.name for p in machine.groups.iterdir() if p.is_dir())
    assert ["cgroup", "self"] == sorted(p.name for p in machine.root.iterdir())


def test_without_a_place_there_is_no_guard(machine: PlainKernel) -> None:
    machine.closed = ("app.slice", SERVICE)

    assert group_guard("r1", LIMIT, machine.kernel) is None


@pytest.mark.parametrize("own", ["", "0::/../outside\n", "4:memory:/../../outside\n"])
def test_a_group_outside_of_what_we_see_is_no_place(machine: PlainKernel, own: str) -> None:
    machine.own = own
    # Wherever this leads, a group could be made there.
    for path in ("../outside", "../../outside", "memory/../../outside"):
        machine.v2(path, "memory")
    before = sorted(machine.root.rglob("*"))

    assert group_guard("r1", LIMIT, machine.kernel) is None
    assert {machine.root / "self", *before} == set(machine.root.rglob("*"))


def test_a_machine_without_control_groups_has_no_guard(tmp_path: Path) -> None:
    kernel = PlainKernel(tmp_path).kernel
    kernel.own.unlink()

    assert group_guard("r1", LIMIT, kernel) is None


@pytest.mark.parametrize("file", ["memory.max", "memory.events"])
def test_a_group_that_cannot_hold_or_tell_is_not_used(machine: PlainKernel, file: str) -> None:
    machine.missing = (file,)

    assert group_guard("r1", LIMIT, machine.kernel) is None
    assert [] == list(machine.groups.rglob("pollinator-*"))


def test_a_group_that_no_process_may_join_is_not_used(machine: PlainKernel) -> None:
    made = machine.kernel
    machine.missing = ("cgroup.procs",)

    def make(folder: Path) -> None:
        made.make(folder)
        (folder / "cgroup.procs").mkdir()

    assert group_guard("r1", LIMIT, type(made)(made.groups, made.own, make, made.remove)) is None
    assert [] == list(machine.groups.rglob("pollinator-*"))


def test_files_that_the_kernel_does_not_have_are_not_made(machine: PlainKernel) -> None:
    machine.missing = ("memory.swap.max", "memory.peak")

    assert group_guard("r1", LIMIT, machine.kernel) is not None
    assert not list(machine.groups.rglob("memory.swap.max"))


def test_without_a_limit_a_group_only_measures(machine: PlainKernel) -> None:
    guard = group_guard("r1", 0, machine.kernel)
    folder = machine.groups / "app.slice/pollinator-r1"

    assert guard is not None
    assert "max\n" == (folder / "memory.max").read_text()
    (folder / "memory.peak").write_text("12345\n")
    assert 12345 == guard.peak(99)


def test_version_1_is_used_where_it_has_memory(tmp_path: Path) -> None:
    machine = PlainKernel(tmp_path, own="8:cpu,cpuacct:/\n4:memory:/user/me\n0::/\n")
    machine.at("memory/user/me", {"cgroup.procs": ""})
    guard = group_guard("r1", LIMIT, machine.kernel)
    folder = machine.groups / "memory/user/me/pollinator-r1"

    assert guard is not None
    assert V1 == guard.source
    limits = [(folder / f"memory.{name}limit_in_bytes").read_text() for name in ("", "memsw.")]
    assert [str(LIMIT)] * 2 == limits


def test_a_kernel_that_does_not_count_whom_it_kills_is_not_relied_on(tmp_path: Path) -> None:
    machine = PlainKernel(tmp_path, own="4:memory:/\n", missing=("memory.oom_control",))
    machine.at("memory", {"cgroup.procs": ""})
    made = machine.kernel

    def make(folder: Path) -> None:
        made.make(folder)
        (folder / "memory.oom_control").write_text("oom_kill_disable 0\nunder_oom 0\n")

    assert group_guard("r1", LIMIT, type(made)(made.groups, made.own, make, made.remove)) is None


@pytest.mark.parametrize(
    ("own", "events", "killed"),
    [
        ("0::/app.slice/pollinatord.service\n", "memory.events", "oom 3\noom_kill 2\noom_group_kill 0\n"),
        ("4:memory:/\n", "memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n"),
    ],
)
def test_whom_the_kernel_killed_is_seen(machine: PlainKernel, own: str, events: str, killed: str) -> None:
    machine.own = own
    machine.at("memory", {"cgroup.procs": ""})
    guard = group_guard("r1", LIMIT, machine.kernel)
    (folder,) = machine.groups.rglob("pollinator-r1")

    assert guard is not None
    assert (False, False) == (guard.over(), guard.exceeded(-9, LIMIT * 2))
    (folder / events).write_text(killed)
    assert (True, True) == (guard.over(), guard.exceeded(1, 0))


def test_the_highest_use_seen_stands_in_for_a_peak_that_the_kernel_does_not_keep(
    machine: PlainKernel,
) -> None:
    machine.missing = ("memory.peak",)
    guard = group_guard("r1", LIMIT, machine.kernel)
    folder = machine.groups / "app.slice/pollinator-r1"

    assert guard is not None
    for use in (10, 5000, 20):
        (folder / "memory.current").write_text(f"{use}\n")
        guard.over()
    assert [5000, 9000] == [guard.peak(largest) for largest in (100, 9000)]


def test_a_group_that_vanished_is_no_failure(machine: PlainKernel) -> None:
    guard = group_guard("r1", LIMIT, machine.kernel)

    assert guard is not None
    machine.kernel.remove(machine.groups / "app.slice/pollinator-r1")
    assert (False, 77) == (guard.over(), guard.peak(77))
    guard.close()


def test_a_process_is_in_the_group_before_it_is_the_program(machine: PlainKernel) -> None:
    guard = group_guard("r1", LIMIT, machine.kernel)

    assert guard is not None
    done = subprocess.run(
        guard.wrap(["/bin/sh", "-c", 'echo $$ "$@"', "sh", "a b"]), capture_output=True, check=True
    )
    pid, _, words = done.stdout.partition(b" ")
    assert pid == (machine.groups / "app.slice/pollinator-r1/cgroup.procs").read_bytes().strip()
    assert b"a b\n" == words


def test_what_a_killed_supervisor_left_in_a_group_is_killed(machine: PlainKernel) -> None:
    group_guard("r1", LIMIT, machine.kernel)
    folder = machine.groups / "app.slice/pollinator-r1"
    with subprocess.Popen(["sleep", "60"]) as left:
        (folder / "cgroup.procs").write_text(f"{left.pid}\n")

        assert {left.pid} == kill_group("r1", machine.kernel)

        assert -9 == left.wait(10)
    assert gone(left.pid)
    assert not folder.exists()
    assert set() == kill_group("r1", machine.kernel)


@pytest.mark.skipif(not os.path.exists("/proc/self/cgroup"), reason="Linux has control groups")
def test_this_machines_own_group_is_removed_with_its_guard() -> None:
    guard = group_guard(f"test{os.getpid()}", LIMIT)
    if guard is None:
        pytest.skip("no control group can be made here")
    guard.close()

    assert set() == kill_group(f"test{os.getpid()}")
    again = group_guard(f"test{os.getpid()}", LIMIT)
    assert again is not None
    again.close()
