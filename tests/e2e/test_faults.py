"""Processes die at the worst moments; runs, output and files do not."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from support.sandbox import Sandbox, sandbox, wait_until

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


def gone(pid: int) -> bool:
    """Ended, whether or not somebody has taken notice of it."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True
