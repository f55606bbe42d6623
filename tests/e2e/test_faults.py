"""Processes die at the worst moments; runs, output and files do not."""

from __future__ import annotations

import os
import random
import shutil
import signal
import time
from pathlib import Path

import pytest

from support.sandbox import Sandbox, gone, sandbox, wait_until

__all__ = ["sandbox"]
pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]

COUNTS = """\
import os, sys, time
with open(os.environ["POLLINATOR_RESULT"] + "/times", "a") as file:
    file.write("once\\n")
for number in range(int(open("src/n").read())):
    print("line", number)
    time.sleep(0.01)
sys.exit(7)
"""


def counting(sandbox: Sandbox, lines: int) -> Path:
    root = sandbox.project(program=COUNTS)
    (root / "cfs/src/n").write_text(str(lines))
    return root


def crash(variable: str, sandbox: Sandbox, point: str) -> dict[str, str]:
    """The variable that kills a process at this point, once."""
    return {variable: f"{point}@{sandbox.folder}"}


def numbered(lines: int) -> bytes:
    return b"".join(b"line %d\n" % number for number in range(lines))


def test_every_line_is_there_once_after_daemon_and_executor_were_killed(sandbox: Sandbox) -> None:
    root = counting(sandbox, 400)
    with sandbox.start_cli("run", "--follow", cwd=root) as follower:
        assert follower.stdout is not None
        seen = follower.stdout.readline()

        sandbox.kill_executor()
        sandbox.kill_daemon()

        rest, messages = follower.communicate(timeout=60)
    assert numbered(400) == seen + rest, messages
    assert 7 == follower.returncode
    assert numbered(400) == sandbox.cli("logs", "latest", cwd=root).stdout
    assert "once\n" == (root / "cfs/result/times").read_text()


@pytest.mark.parametrize(
    "point",
    [
        "after_accept",
        "before_snapshot_put",
        "after_snapshot_put",
        "after_seal",
        "after_seal_recorded",
        "after_launch_sent",
        "after_output",
        "before_results",
        "after_results",
    ],
)
def test_a_daemon_killed_at_any_point_leads_to_one_run(sandbox: Sandbox, point: str) -> None:
    root = counting(sandbox, 20)
    started = sandbox.cli("daemon", "start", cwd=root, env=crash("POLLINATOR_CRASH_AT", sandbox, point))
    assert 0 == started.returncode, started.stderr
    first = sandbox.daemon_pid()

    ended = sandbox.cli("run", "--follow", cwd=root, timeout=60)

    assert first != sandbox.daemon_pid()
    assert (7, numbered(20)) == (ended.returncode, ended.stdout), ended.stderr
    assert "once\n" == (root / "cfs/result/times").read_text()
    assert 1 == len(sandbox.cli("list", "--all", "--json", cwd=root).stdout.splitlines())


def test_a_run_is_forgotten_by_its_executor_though_the_daemon_was_killed_at_its_end(
    sandbox: Sandbox,
) -> None:
    root = counting(sandbox, 20)
    crashing = crash("POLLINATOR_CRASH_AT", sandbox, "before_forget")
    assert 0 == sandbox.cli("daemon", "start", cwd=root, env=crashing).returncode
    first = sandbox.daemon_pid()
    sandbox.cli("run", "--follow", cwd=root, timeout=60)
    wait_until(lambda: first not in sandbox.pids_of("pollinator.daemon.main"), "the daemon was killed")

    assert 0 == sandbox.cli("list", cwd=root).returncode

    (folder,) = (sandbox.state / "executors/local/runs").iterdir()
    wait_until((folder / "forgotten").exists, "the executor was told")


@pytest.mark.parametrize(
    "point",
    [
        "after_intent",
        "before_supervisor",
        "after_supervisor",
        "before_exit_event",
        "before_collect",
        "after_collect",
    ],
)
def test_an_executor_killed_at_any_point_runs_a_run_once(sandbox: Sandbox, point: str) -> None:
    root = counting(sandbox, 20)
    started = sandbox.cli(
        "daemon", "start", cwd=root, env=crash("POLLINATOR_EXECUTOR_CRASH_AT", sandbox, point)
    )
    assert 0 == started.returncode, started.stderr

    ended = sandbox.cli("run", "--follow", cwd=root, timeout=60)

    assert (7, numbered(20)) == (ended.returncode, ended.stdout), ended.stderr
    assert "once\n" == (root / "cfs/result/times").read_text()
    log = (sandbox.state / "executors/local/executor.log").read_text()
    assert f"crash point {point}" in log


def test_a_run_goes_on_when_its_follower_is_killed(sandbox: Sandbox) -> None:
    root = counting(sandbox, 100)
    with sandbox.start_cli("run", "--follow", cwd=root) as follower:
        assert follower.stdout is not None
        follower.stdout.readline()

        os.kill(follower.pid, signal.SIGKILL)

    ended = sandbox.cli("wait", "latest", cwd=root)
    assert 7 == ended.returncode, ended.stderr
    assert numbered(100) == sandbox.cli("logs", "latest", cwd=root).stdout
    assert "once\n" == (root / "cfs/result/times").read_text()


def test_a_killed_supervisor_is_a_failed_node_and_leaves_no_process(sandbox: Sandbox) -> None:
    root = sandbox.project(program="import os, time\nprint(os.getpid())\ntime.sleep(60)\n")
    with sandbox.start_cli("run", "--follow", cwd=root) as follower:
        assert follower.stdout is not None
        rank = int(follower.stdout.readline())
        supervisor = int(Path(f"/proc/{rank}/stat").read_text().rpartition(")")[2].split()[1])

        os.kill(supervisor, signal.SIGKILL)

        follower.communicate(timeout=30)
    assert "node_failed" == sandbox.reason("latest", root)
    wait_until(lambda: not Path(f"/proc/{rank}/cmdline").exists() or gone(rank), "the rank is gone")


@pytest.mark.parametrize(
    ("point", "runs"), [("cli_before_start", 0), ("cli_after_start", 1), ("cli_after_message", 1)]
)
def test_a_command_killed_at_any_point_leaves_no_run_or_a_whole_one(
    sandbox: Sandbox, point: str, runs: int
) -> None:
    root = counting(sandbox, 20)

    killed = sandbox.cli("run", "--follow", cwd=root, env={"POLLINATOR_CRASH_AT": point})

    assert -signal.SIGKILL == killed.returncode
    assert runs == len(sandbox.cli("list", "--all", "--json", cwd=root).stdout.splitlines())
    if runs:
        assert 7 == sandbox.cli("wait", "latest", cwd=root).returncode
        assert numbered(20) == sandbox.cli("logs", "latest", cwd=root).stdout
        assert "once\n" == (root / "cfs/result/times").read_text()


KILLS_S = 12.0


def test_kills_in_a_row_at_any_time_leave_no_gap_and_no_repeat(sandbox: Sandbox) -> None:
    seed = random.randrange(1 << 32)
    dice = random.Random(seed)
    lines = 600
    root = counting(sandbox, lines)
    kills: list[str] = []
    deadline = time.monotonic() + KILLS_S
    with sandbox.start_cli("run", "--follow", cwd=root) as follower:
        assert follower.stdout is not None
        seen = follower.stdout.readline()
        while follower.poll() is None and time.monotonic() < deadline:
            seen += b"".join(follower.stdout.readline() for _ in range(dice.randrange(5, 120)))
            for module in dice.sample(("daemon.main", "executors.main"), dice.randrange(1, 3)):
                for pid in sandbox.pids_of(f"pollinator.{module}"):
                    os.kill(pid, signal.SIGKILL)
                    kills.append(module)
        rest, messages = follower.communicate(timeout=60)

    assert len(kills) > 3, (seed, kills)
    assert (7, numbered(lines)) == (follower.returncode, seen + rest), (seed, kills, messages)
    assert numbered(lines) == sandbox.cli("logs", "latest", cwd=root).stdout, (seed, kills)
    assert "once\n" == (root / "cfs/result/times").read_text()
    assert 1 == len(sandbox.cli("list", "--all", "--json", cwd=root).stdout.splitlines())


LEAVES_MANY = """\
import os
for number in range(1500):
    with open(f"result/{number}", "w") as file:
        file.write(str(number) * 100)
"""


def test_a_daemon_killed_while_results_come_home_brings_them_all_the_next_time(sandbox: Sandbox) -> None:
    root = sandbox.project(program=LEAVES_MANY)
    submitted = sandbox.cli("run", cwd=root)
    wait_until(lambda: any((root / "cfs/result").iterdir()), "the first result is home")

    sandbox.kill_daemon()
    home = len(list((root / "cfs/result").iterdir()))
    ended = sandbox.cli("wait", "latest", cwd=root)

    assert 0 == submitted.returncode, submitted.stderr
    assert 0 < home < 1500
    assert 0 == ended.returncode, ended.stderr
    found = {path.name: path.read_text() for path in (root / "cfs/result").iterdir()}
    assert {str(number): str(number) * 100 for number in range(1500)} == found


def test_after_everything_was_killed_as_by_a_power_cut_the_end_is_told_truly(sandbox: Sandbox) -> None:
    root = counting(sandbox, 100_000)
    with sandbox.start_cli("run", "--follow", cwd=root) as follower:
        assert follower.stdout is not None
        seen = b"".join(follower.stdout.readline() for _ in range(50))
        wait_until(lambda: sandbox.cli("logs", cwd=root).stdout.startswith(seen), "they were copied")

        sandbox.kill_everything()
        shutil.rmtree(sandbox.folder / "r")
        (sandbox.folder / "r").mkdir(mode=0o700)
        follower.communicate(timeout=40)

    listed = sandbox.cli("list", "--json", cwd=root)
    ended = sandbox.cli("wait", "latest", cwd=root)
    logs = sandbox.cli("logs", "latest", cwd=root)

    assert 0 == listed.returncode, listed.stderr
    assert 106 == ended.returncode, ended.stderr
    assert ("failed", "node_failed") == (
        sandbox.show("latest", root)["state"],
        sandbox.reason("latest", root),
    )
    assert logs.stdout.startswith(seen)
    assert numbered(100_000).startswith(logs.stdout)
    assert "once\n" == (root / "cfs/result/times").read_text()
    assert [] == sandbox.pids_of("pollinator.executors.supervise")
    repeated = sandbox.cli("rerun", "latest", "--set", "environment.cmd=true", "--follow", cwd=root)
    assert 0 == repeated.returncode, repeated.stderr


def test_an_executor_that_comes_back_with_an_empty_state_has_lost_the_run(sandbox: Sandbox) -> None:
    root = counting(sandbox, 100_000)
    with sandbox.start_cli("run", "--follow", cwd=root) as follower:
        assert follower.stdout is not None
        seen = follower.stdout.readline()
        sandbox.kill_executor()
        shutil.rmtree(sandbox.state / "executors" / "local" / "runs")

        rest, messages = follower.communicate(timeout=60)

    assert 105 == follower.returncode, messages
    assert "lost" == sandbox.show("latest", root)["state"]
    assert numbered(100_000).startswith(seen + rest)


def test_an_executor_that_is_told_to_end_is_started_again_and_the_run_goes_on(sandbox: Sandbox) -> None:
    root = counting(sandbox, 200)
    with sandbox.start_cli("run", "--follow", cwd=root) as follower:
        assert follower.stdout is not None
        seen = follower.stdout.readline()
        first = sandbox.executor_pid()
        os.kill(first, signal.SIGTERM)

        rest, messages = follower.communicate(timeout=60)

    assert (7, numbered(200)) == (follower.returncode, seen + rest), messages
    assert first != sandbox.executor_pid()


def test_a_run_whose_project_is_gone_before_it_could_be_sealed_fails_and_says_so(sandbox: Sandbox) -> None:
    root = sandbox.project()
    crash_once = crash("POLLINATOR_CRASH_AT", sandbox, "after_accept")
    assert 0 == sandbox.cli("daemon", "start", cwd=root, env=crash_once).returncode
    with sandbox.start_cli("run", cwd=root, env={"POLLINATOR_NO_AUTOSTART": "1"}) as submitting:
        wait_until(lambda: not sandbox.daemon_pid(), "the daemon was killed")
        submitting.kill()
        submitting.communicate()
    root.rename(sandbox.folder / "moved")

    ended = sandbox.cli("wait", "latest", cwd=sandbox.folder)

    assert 100 == ended.returncode, ended.stderr
    assert "snapshot" == sandbox.reason("latest", sandbox.folder)
    assert f"{root}/cfs is gone" in str(sandbox.show("latest", sandbox.folder)["outcome"])
