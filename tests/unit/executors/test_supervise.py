"""The supervisor beside a run: real processes, real signals, one exit record."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from support.sandbox import gone, wait_until
from support.supervising import PYTHON, Workspace, workspace

__all__ = ["workspace"]
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")

SLEEP = ("sleep", "60")


def shell(script: str) -> tuple[str, ...]:
    return ("/bin/sh", "-c", script)


def python(script: str) -> tuple[str, ...]:
    return (PYTHON, "-c", script)


def verdict(record: dict[str, object]) -> tuple[object, ...]:
    return record["reason"], record["rank"], record["exit_code"], record["signal"]


def test_the_start_of_a_run_waits_for_no_large_imports() -> None:
    script = "import sys, pollinator.executors.supervise; print(*sys.modules)"
    loaded = subprocess.run([PYTHON, "-c", script], capture_output=True, check=True, text=True).stdout.split()

    assert "pollinator.executors.supervise" in loaded
    assert not {"asyncio", "dataclasses", "google", "grpc", "inspect", "shutil", "tempfile"} & set(loaded)


@pytest.mark.parametrize("code", [1, 3, 127, 255])
def test_an_exit_code_other_than_0_is_a_failure(workspace: Workspace, code: int) -> None:
    record = workspace.run(shell(f"exit {code}"))

    assert ("exit_code", 0, code, 0) == verdict(record)


def test_exit_code_0_is_a_success(workspace: Workspace) -> None:
    record = workspace.run(shell("echo hello; echo problem >&2"))

    assert ("", 0, 0, 0) == verdict(record)
    assert b"hello\nproblem\n" == workspace.output()


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGKILL, signal.SIGTERM, signal.SIGABRT])
def test_a_signal_is_its_own_reason(workspace: Workspace, number: signal.Signals) -> None:
    record = workspace.run(shell(f"kill -{int(number)} $$"))

    assert ("signal", 0, 128 + number, number) == verdict(record)


def test_the_end_of_a_rank_is_not_lost_while_others_are_started(workspace: Workspace) -> None:
    record = workspace.run(shell("exit 4"), *[shell("exit 0")] * 40)

    assert ("exit_code", 0, 4, 0) == verdict(record)


def test_a_rank_that_fails_ends_the_others(workspace: Workspace) -> None:
    begin = time.monotonic()
    record = workspace.run(SLEEP, shell("exit 5"), SLEEP)

    assert ("exit_code", 1, 5, 0) == verdict(record)
    assert time.monotonic() - begin < 20


def test_ranks_that_end_well_wait_for_the_last(workspace: Workspace) -> None:
    record = workspace.run(shell("exit 0"), shell("sleep 0.2; echo last"))

    assert ("", 0, 0, 0) == verdict(record)
    assert b"last\n" == workspace.output(1)


def test_ranks_are_warned_before_their_time_is_over(workspace: Workspace) -> None:
    rank = shell("trap 'echo warned; exit 0' USR1; echo up; while :; do sleep 0.01; done")
    record = workspace.run(rank, rank, walltime_ms=60_000, warning="USR1@59")

    assert ("", 0, 0, 0) == verdict(record)
    assert [b"up\nwarned\n"] * 2 == [workspace.output(number) for number in range(2)]


def test_a_rank_that_takes_no_notice_of_the_warning_has_its_time(workspace: Workspace) -> None:
    rank = shell("trap 'echo warned' USR1; echo up; while :; do sleep 0.01; done")
    record = workspace.run(rank, walltime_ms=3000, warning="USR1@1")

    assert "time_limit" == record["reason"]
    assert b"up\nwarned\n" == workspace.output()


def test_without_a_limit_nobody_is_warned(workspace: Workspace) -> None:
    record = workspace.run(shell("sleep 0.3"), warning="USR1@1")

    assert ("", 0, 0, 0) == verdict(record)


LEAVES = {
    "in the background": "sleep 60 & echo $!",
    "in a session of its own": (
        "setsid sh -c 'echo $$; > up; exec sleep 60' &\nuntil [ -e up ]; do sleep 0.01; done"
    ),
    "as an orphan that ignores signals": "(trap '' TERM HUP INT; sleep 60 & echo $!) &\nwait",
}


@pytest.mark.parametrize("how", LEAVES)
@pytest.mark.parametrize("code", [0, 1])
def test_nothing_that_a_rank_leaves_behind_survives(workspace: Workspace, how: str, code: int) -> None:
    record = workspace.run(shell(f"{LEAVES[how]}\nexit {code}"))
    left = int(workspace.output())

    assert ("exit_code" if code else "", code) == (record["reason"], record["exit_code"])
    assert gone(left)


def test_a_rank_over_time_is_told_before_it_is_killed(workspace: Workspace) -> None:
    told = "trap 'echo saved > saved; exit 0' TERM; echo up; while :; do sleep 0.01; done"
    record = workspace.run(shell(told), walltime_ms=1000)

    assert ("time_limit", 0, 128 + signal.SIGTERM, signal.SIGTERM) == verdict(record)
    assert "saved\n" == (workspace.work / "saved").read_text()


def test_a_rank_that_does_not_listen_is_killed_after_the_grace(workspace: Workspace) -> None:
    workspace.plan(shell("trap '' TERM; echo up; exec sleep 60"), walltime_ms=1000, grace_ms=700)
    begin = time.monotonic()
    workspace.start().wait(30)
    took = time.monotonic() - begin

    assert "time_limit" == workspace.record()["reason"]
    assert 1.7 <= took < 20


def test_a_process_in_a_session_of_its_own_is_told_as_well(workspace: Workspace) -> None:
    told = "trap 'echo told; exit' TERM; echo up; while :; do sleep 0.01; done"
    record = workspace.run(shell(f'setsid sh -c "{told}" & wait'), walltime_ms=1000, grace_ms=20_000)

    assert "time_limit" == record["reason"]
    assert b"told\n" in workspace.output()


def test_a_rank_cannot_hide_in_the_supervisors_own_group(workspace: Workspace) -> None:
    hides = "import os, time; os.setpgid(0, os.getpgid(os.getppid())); print('hidden', flush=True)"
    begin = time.monotonic()
    record = workspace.run(python(f"{hides}; time.sleep(60)"), walltime_ms=2000)

    assert b"hidden\n" == workspace.output()
    assert "time_limit" == record["reason"]
    assert time.monotonic() - begin < 20


def test_a_wish_to_end_is_carried_out(workspace: Workspace) -> None:
    workspace.plan(shell("echo up; exec sleep 60"))
    supervisor = workspace.start()
    workspace.wait_for(b"up")

    (workspace.path / "cancel").touch()

    assert 0 == supervisor.wait(20)
    assert ("cancelled", 0, 128 + signal.SIGTERM, signal.SIGTERM) == verdict(workspace.record())


def test_a_run_that_is_not_wanted_any_more_never_starts(workspace: Workspace) -> None:
    (workspace.path / "cancel").touch()
    record = workspace.run(shell("echo started"), init_command="echo initialised")

    assert "cancelled" == record["reason"]
    assert not list((workspace.path / "output").iterdir())


def test_the_init_command_runs_once_before_the_ranks(workspace: Workspace) -> None:
    record = workspace.run(
        shell("echo rank; cat made"), shell("cat made"), init_command="echo once | tee -a made"
    )

    assert "" == record["reason"]
    assert [b"once\nrank\nonce\n", b"once\n"] == [workspace.output(rank) for rank in (0, 1)]


@pytest.mark.parametrize(
    ("command", "expected", "detail"),
    [
        ("exit 9", ("exit_code", 0, 9, 0), "init-cmd ended with exit code 9"),
        ("kill -9 $$", ("signal", 0, 137, 9), "init-cmd ended with SIGKILL"),
    ],
)
def test_ranks_do_not_start_after_an_init_command_that_failed(
    workspace: Workspace, command: str, expected: tuple[object, ...], detail: str
) -> None:
    record = workspace.run(shell("echo rank"), init_command=command)

    assert expected == verdict(record)
    assert detail == record["detail"]
    assert b"" == workspace.output()


def test_the_init_command_is_held_to_the_time_limit(workspace: Workspace) -> None:
    record = workspace.run(shell("echo rank"), init_command="sleep 60", walltime_ms=300)

    assert "time_limit" == record["reason"]
    assert b"" == workspace.output()


def test_a_wish_to_end_reaches_the_init_command(workspace: Workspace) -> None:
    workspace.plan(shell("echo rank"), init_command="echo up; sleep 60")
    supervisor = workspace.start()
    workspace.wait_for(b"up")

    (workspace.path / "cancel").touch()

    assert 0 == supervisor.wait(20)
    assert "cancelled" == workspace.record()["reason"]
    assert b"up\n" == workspace.output()


@pytest.mark.parametrize(
    ("program", "says"),
    [
        ("no-such-program", "there is no program 'no-such-program' on this machine"),
        ("./missing.sh", "there is no program './missing.sh' on this machine"),
        ("./plain.sh", "'./plain.sh' is not executable; chmod +x makes it so"),
    ],
)
def test_a_program_that_cannot_be_run_is_a_launch_failure(
    workspace: Workspace, program: str, says: str
) -> None:
    (workspace.work / "plain.sh").write_text("#!/bin/sh\n")
    record = workspace.run((program,), SLEEP)

    assert ("launch", 0, 127, 0) == verdict(record)
    assert says == record["detail"]


def test_a_rank_that_cannot_be_started_ends_those_that_were(workspace: Workspace) -> None:
    begin = time.monotonic()
    record = workspace.run(SLEEP, ("no-such-program",))

    assert ("launch", 1, 127, 0) == verdict(record)
    assert time.monotonic() - begin < 20


@pytest.mark.parametrize(
    "change", [{"argv": ["echo", "a\0b"]}, {"env": {"A": "b\0c"}}, {"output": "/nowhere/at/all"}]
)
def test_what_the_system_refuses_is_a_launch_failure(workspace: Workspace, change: dict[str, object]) -> None:
    rank: dict[str, object] = {"rank": 0, "argv": ["true"], "env": {}, "output": f"{workspace.path}/output/0"}
    record = workspace.run(ranks=[rank | change])

    assert ("launch", 0, 127, 0) == verdict(record)
    assert "cannot start" in str(record["detail"])


def test_ranks_see_exactly_their_environment_folder_and_an_empty_input(workspace: Workspace) -> None:
    script = "import os, sys; print(sorted(os.environ), os.getcwd(), repr(sys.stdin.read()))"
    record = workspace.run(python(script), env={"A": "b"})

    assert "" == record["reason"]
    seen = workspace.output().decode()
    assert str(workspace.work) in seen
    assert "'A'" in seen
    assert "'PATH'" in seen
    assert "HOME" not in seen
    assert seen.endswith("''\n")


def test_secrets_reach_the_ranks_and_their_file_is_gone_before(workspace: Workspace) -> None:
    (workspace.path / "secrets.json").write_text('{"TOKEN": "hunter2"}')
    record = workspace.run(shell("echo $TOKEN; ls .."), shell("echo $TOKEN"))
    first = workspace.output().decode().split()

    assert "" == record["reason"]
    assert "hunter2" == first[0]
    assert "secrets.json" not in first
    assert b"hunter2\n" == workspace.output(1)
    assert b"hunter2" not in b"".join(
        path.read_bytes() for path in workspace.path.iterdir() if path.is_file()
    )


def test_a_second_supervisor_leaves_the_run_to_the_first(workspace: Workspace) -> None:
    workspace.plan(shell("echo up; while [ ! -e go ]; do sleep 0.01; done"))
    first = workspace.start()
    workspace.wait_for(b"up")

    assert 0 == workspace.start().wait(20)

    (workspace.work / "go").touch()
    assert 0 == first.wait(20)
    assert b"up\n" == workspace.output()


@pytest.mark.parametrize("trace", ["started.json", "exit.json"])
def test_a_run_that_was_started_once_is_not_started_again(workspace: Workspace, trace: str) -> None:
    (workspace.path / trace).write_text("{}")
    workspace.plan(shell("echo started"))

    assert 0 == workspace.start().wait(20)
    assert b"" == workspace.output()


def test_the_exit_record_waits_for_room_on_a_full_disk(workspace: Workspace) -> None:
    workspace.plan(shell("echo up; while [ ! -e go ]; do sleep 0.01; done; exit 6"))
    supervisor = workspace.start()
    workspace.wait_for(b"up")
    rank = int(Path(f"/proc/{supervisor.pid}/task/{supervisor.pid}/children").read_text())
    unlimited = resource.prlimit(supervisor.pid, resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))

    (workspace.work / "go").touch()
    wait_until((workspace.path / "exit.new").exists, "the supervisor tries to write the record")
    wait_until(lambda: gone(rank), "the rank has ended")

    assert not (workspace.path / "exit.json").exists()
    assert supervisor.poll() is None
    resource.prlimit(supervisor.pid, resource.RLIMIT_FSIZE, unlimited)
    assert 0 == supervisor.wait(20)
    assert ("exit_code", 0, 6, 0) == verdict(workspace.record())


def test_ranks_start_with_the_usual_signals_whatever_started_the_supervisor(workspace: Workspace) -> None:
    spoils = (
        "import os, signal, sys\n"
        "for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGCHLD, signal.SIGHUP):\n"
        "    signal.signal(number, signal.SIG_IGN)\n"
        "signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM, signal.SIGUSR1])\n"
        "os.execv(sys.argv[1], sys.argv[1:])"
    )
    looks = "print([line.split() for line in open('/proc/self/status') if line[:6] in ('SigBlk', 'SigIgn')])"
    workspace.plan(python(f"{looks}; raise SystemExit(7)"))

    workspace.start(via=(PYTHON, "-c", spoils)).wait(20)

    assert ("exit_code", 0, 7, 0) == verdict(workspace.record())
    [[_, blocked], [_, ignored]] = eval(workspace.output())
    # Whatever make starts ignores one of the signals that the C library keeps for itself.
    usable = sum(1 << number - 1 for number in signal.valid_signals())
    # Python itself ignores SIGPIPE and SIGXFSZ.
    python_ignores = 1 << signal.SIGPIPE - 1 | 1 << signal.SIGXFSZ - 1
    assert (0, python_ignores) == (int(blocked, 16), int(ignored, 16) & usable)


def test_hanging_up_does_not_end_a_run(workspace: Workspace) -> None:
    workspace.plan(shell("echo up; while [ ! -e go ]; do sleep 0.01; done"))
    supervisor = workspace.start()
    workspace.wait_for(b"up")

    os.kill(supervisor.pid, signal.SIGHUP)
    (workspace.work / "go").touch()

    assert 0 == supervisor.wait(20)
    assert "" == workspace.record()["reason"]


def test_processor_time_is_recorded_over_all_ranks(workspace: Workspace) -> None:
    busy = "import time\nwhile time.process_time() < 0.3: pass"
    record = workspace.run(python(busy), python(busy))

    assert 0.6 <= record["cpu_s"] < 10
    assert record["started"] <= record["ended"]
