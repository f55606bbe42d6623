"""The daemon's life: it comes when it is needed, there is one only, and runs do not depend on it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pollinator.wire.presence import holder_of
from support.sandbox import Sandbox, sandbox, wait_until

__all__ = ["sandbox"]
pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]

DAEMON = [sys.executable, "-P", "-m", "pollinator.daemon.main"]
SLOW = "import time\nprint('up')\ntime.sleep(float(open('src/s').read()))\nprint('done')\n"


def starts(sandbox: Sandbox) -> int:
    """How often a daemon came up, by its log."""
    log = sandbox.state / "log" / "daemon.log"
    return log.read_text().count('"ready at') if log.exists() else 0


def slow_project(sandbox: Sandbox, seconds: float) -> Path:
    root = sandbox.project(program=SLOW)
    (root / "cfs/src/s").write_text(str(seconds))
    return root


@contextmanager
def own_daemon(sandbox: Sandbox) -> Generator[subprocess.Popen[bytes]]:
    """The daemon as a child, so that its exit code is seen."""
    said = subprocess.PIPE
    with subprocess.Popen(DAEMON, env=sandbox.env, stdout=said, stderr=subprocess.STDOUT) as process:
        try:
            wait_until(lambda: starts(sandbox) > 0, "the daemon is ready")
            yield process
        finally:
            process.kill()


def status(sandbox: Sandbox, cwd: Path) -> dict[str, object]:
    answer: dict[str, object] = json.loads(sandbox.cli("daemon", "status", "--json", cwd=cwd).stdout)
    return answer


# It comes when it is needed


def test_the_first_command_that_needs_it_starts_it_and_others_do_not(sandbox: Sandbox) -> None:
    root = sandbox.project()
    before = sandbox.cli("daemon", "status", cwd=root)
    about = sandbox.cli("status", "--json", cwd=root)

    listed = sandbox.cli("list", cwd=root)
    after = sandbox.cli("daemon", "status", "--json", cwd=root)

    assert (69, b"not running\n") == (before.returncode, before.stdout)
    assert json.loads(about.stdout)["daemon"] is None
    assert 0 == listed.returncode, listed.stderr
    assert 0 == after.returncode
    assert sandbox.daemon_pid() == json.loads(after.stdout)["pid"]
    assert str(sandbox.socket) == json.loads(after.stdout)["socket"]


def test_commands_that_race_start_one_daemon(sandbox: Sandbox) -> None:
    root = sandbox.project()

    racing = [sandbox.start_cli("list", cwd=root) for _ in range(5)]
    ends = [(process.communicate(timeout=40)[1], process.returncode) for process in racing]

    assert [0] * 5 == [code for _, code in ends], ends
    wait_until(lambda: 1 == len(sandbox.pids_of("pollinator.daemon.main")), "the others have ended")
    assert 1 == starts(sandbox)


def test_a_command_that_meets_a_daemon_on_its_way_out_gets_the_next_one(sandbox: Sandbox) -> None:
    root = sandbox.project()
    for _ in range(3):
        assert 0 == sandbox.cli("list", cwd=root).returncode
        with sandbox.start_cli("daemon", "stop", cwd=root) as stopping:
            listed = [sandbox.cli("list", cwd=root) for _ in range(2)]
            stopping.communicate(timeout=40)

        assert [0, 0] == [each.returncode for each in listed], listed


@pytest.mark.parametrize("left", ["socket", "file"])
def test_what_a_dead_daemon_left_is_in_nobodys_way(sandbox: Sandbox, left: str) -> None:
    root = sandbox.project()
    assert 0 == sandbox.cli("list", cwd=root).returncode
    sandbox.kill_daemon()
    if left == "file":
        sandbox.socket.unlink()
        sandbox.socket.write_text("in the way")

    listed = sandbox.cli("list", cwd=root)

    assert 0 == listed.returncode, listed.stderr
    assert 2 == starts(sandbox)


def test_where_it_may_not_be_started_commands_say_so(sandbox: Sandbox) -> None:
    root = sandbox.project()
    forbidden = {"POLLINATOR_NO_AUTOSTART": "1"}

    refused = sandbox.cli("list", cwd=root, env=forbidden)
    started = sandbox.cli("daemon", "start", cwd=root, env=forbidden)
    listed = sandbox.cli("list", cwd=root, env=forbidden)

    assert 69 == refused.returncode
    assert b"pollinator daemon start" in refused.stderr
    assert (0, 0) == (started.returncode, listed.returncode)


# Start, stop, look


def test_start_stop_restart_and_status_say_what_is(sandbox: Sandbox) -> None:
    root = sandbox.project()

    def say(*words: str) -> tuple[int, bytes]:
        done = sandbox.cli("daemon", *words, cwd=root)
        return done.returncode, done.stdout + done.stderr

    first, again = say("start"), say("start")
    pid = sandbox.daemon_pid()
    restarted = say("restart")
    new_pid = sandbox.daemon_pid()
    stopped, stopped_again = say("stop"), say("stop")

    assert (0, True) == (first[0], first[1].startswith(b"Daemon started"))
    assert (0, True) == (again[0], again[1].startswith(b"Daemon runs already"))
    assert (0, True) == (
        restarted[0],
        b"Daemon stopped" in restarted[1] and b"Daemon started" in restarted[1],
    )
    assert pid != new_pid != 0
    assert (0, True) == (stopped[0], stopped[1].startswith(b"Daemon stopped"))
    assert (0, b"Daemon does not run\n") == stopped_again
    assert 0 == sandbox.daemon_pid()
    assert not sandbox.socket.exists()


def test_runs_go_on_while_the_daemon_is_away(sandbox: Sandbox) -> None:
    root = slow_project(sandbox, 1)
    submitted = sandbox.cli("run", cwd=root)
    wait_until(lambda: b"up" in sandbox.cli("logs", cwd=root).stdout, "it runs")

    stopped = sandbox.cli("daemon", "stop", cwd=root)
    wait_until(lambda: not sandbox.pids_of("pollinator.executors.supervise"), "it ended without a daemon")
    ended = sandbox.cli("wait", "latest", cwd=root)

    assert 0 == submitted.returncode, submitted.stderr
    assert b"go on without it" in stopped.stderr
    assert 0 == ended.returncode, ended.stderr
    assert b"up\ndone\n" == sandbox.cli("logs", cwd=root).stdout


def test_the_log_is_followed_over_restarts_and_rotations_and_let_go_by_ctrl_c(sandbox: Sandbox) -> None:
    root = sandbox.project()
    small = {"POLLINATOR_LOG_BYTES": "400", "POLLINATOR_LOG_FILES": "3"}
    assert 0 == sandbox.cli("daemon", "start", cwd=root, env=small).returncode
    with sandbox.start_cli("daemon", "logs", "-f", "-n", "0", cwd=root) as follower:
        for _ in range(3):
            sandbox.cli("daemon", "restart", cwd=root, env=small)
        wait_until(lambda: len(list((sandbox.state / "log").glob("daemon.log.*"))) == 3, "it was rotated")
        assert follower.stdout is not None
        seen: list[dict[str, str]] = []
        while sum(line["message"].startswith("ready at") for line in seen) < 3:
            seen.append(json.loads(follower.stdout.readline()))

        follower.send_signal(signal.SIGINT)
        follower.communicate(timeout=40)

    assert 130 == follower.returncode
    assert {"time", "level", "logger", "message"} == set(seen[0])
    assert all(path.stat().st_size <= 400 for path in (sandbox.state / "log").glob("daemon.log*"))


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not on this system")
def test_the_unit_that_would_be_installed_is_one_systemd_takes(sandbox: Sandbox) -> None:
    root = sandbox.project()
    printed = sandbox.cli("daemon", "install", "--print", cwd=root)
    unit = sandbox.folder / "pollinatord.service"
    unit.write_bytes(printed.stdout)

    verified = subprocess.run(
        ["systemd-analyze", "verify", "--user", unit],
        env=sandbox.env,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )

    assert 0 == verified.returncode, verified.stderr
    assert unit.name not in verified.stderr
    assert 0 == sandbox.daemon_pid()


# Where it listens


@pytest.mark.parametrize("runtime", ["", "long"])
def test_without_a_usable_folder_for_sockets_a_private_one_is_made(sandbox: Sandbox, runtime: str) -> None:
    root = sandbox.project()
    temporary = sandbox.folder / "t"
    temporary.mkdir()
    env = {"TMPDIR": str(temporary), "XDG_RUNTIME_DIR": runtime and str(sandbox.folder / ("x" * 120))}

    ended = sandbox.cli("run", "--follow", cwd=root, env=env)

    assert (0, b"hello\n") == (ended.returncode, ended.stdout), ended.stderr
    holder = holder_of(sandbox.state / "daemon.lock")
    assert holder is not None
    folder = holder.socket.parent
    modes = {path.name: path.stat().st_mode & 0o777 for path in folder.iterdir()}
    closed = folder.stat().st_mode & 0o777
    sandbox.kill_everything()
    # It is not among what the sandbox removes.
    shutil.rmtree(folder)

    assert 0o700 == closed
    assert {"d.sock": 0o600, "executor-local.sock": 0o600} == modes


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user")
def test_nobody_else_can_connect(sandbox: Sandbox) -> None:
    root = sandbox.project()
    assert 0 == sandbox.cli("run", "--follow", cwd=root).returncode
    sandbox.folder.chmod(0o755)
    probe = "import socket, sys\nsocket.socket(socket.AF_UNIX).connect(sys.argv[1])\n"

    for path in (sandbox.socket, sandbox.executor_socket):
        python = shutil.which("python3", path="/usr/bin:/bin")
        if python is None:
            pytest.skip("no Python that another user can run")
        command = [python, "-c", probe, str(path)]
        mine = subprocess.run(command, capture_output=True, check=False)
        others = subprocess.run(command, capture_output=True, user=65534, group=65534, cwd="/", check=False)

        assert (0o600, 0o700) == (path.stat().st_mode & 0o777, path.parent.stat().st_mode & 0o777)
        assert 0 == mine.returncode, mine.stderr
        assert b"Permission denied" in others.stderr


def test_a_folder_of_sockets_that_belongs_to_somebody_else_is_refused(sandbox: Sandbox) -> None:
    root = sandbox.project()
    (sandbox.folder / "r" / "pollinator").symlink_to("/etc")
    os.chown(sandbox.folder / "r" / "pollinator", 65534, 65534, follow_symlinks=False)

    refused = sandbox.cli("list", cwd=root)

    assert 77 == refused.returncode, refused.stderr
    assert b"belongs to user 65534, not to you" in refused.stderr


def test_a_wiped_folder_of_sockets_brings_forth_one_new_daemon_and_loses_no_run(sandbox: Sandbox) -> None:
    root = slow_project(sandbox, 3)
    submitted = sandbox.cli("run", cwd=root)
    wait_until(lambda: b"up" in sandbox.cli("logs", cwd=root).stdout, "it runs")
    old = {sandbox.daemon_pid(), sandbox.executor_pid()}

    shutil.rmtree(sandbox.folder / "r" / "pollinator")
    ended = sandbox.cli("wait", submitted.stdout.decode().strip(), cwd=root)

    assert 0 == ended.returncode, ended.stderr
    assert b"up\ndone\n" == sandbox.cli("logs", cwd=root).stdout
    new = {*sandbox.pids_of("pollinator.daemon.main"), *sandbox.pids_of("pollinator.executors.main")}
    assert 2 == len(new)
    assert not old & new


def test_a_session_with_other_folders_finds_the_daemon_and_can_take_over_its_runs(sandbox: Sandbox) -> None:
    root = slow_project(sandbox, 3)
    submitted = sandbox.cli("run", cwd=root)
    wait_until(lambda: b"up" in sandbox.cli("logs", cwd=root).stdout, "it runs")
    elsewhere = {"XDG_RUNTIME_DIR": str(sandbox.folder / "r2")}

    found = sandbox.cli("daemon", "status", "--json", cwd=root, env=elsewhere)
    pid = sandbox.daemon_pid()
    sandbox.cli("daemon", "stop", cwd=root, env=elsewhere)
    ended = sandbox.cli("wait", submitted.stdout.decode().strip(), cwd=root, env=elsewhere)

    assert pid == json.loads(found.stdout)["pid"]
    assert 0 == ended.returncode, ended.stderr
    assert b"up\ndone\n" == sandbox.cli("logs", cwd=root, env=elsewhere).stdout
    assert 1 == len(sandbox.pids_of("pollinator.executors.main"))


# How it ends


def test_sigterm_ends_it_in_order(sandbox: Sandbox) -> None:
    with own_daemon(sandbox) as daemon:
        daemon.send_signal(signal.SIGTERM)
        said, _ = daemon.communicate(timeout=40)

    assert (0, b"") == (daemon.returncode, said)
    assert not sandbox.socket.exists()


def test_a_second_sigterm_ends_it_at_once(sandbox: Sandbox) -> None:
    root = slow_project(sandbox, 60)
    log = sandbox.state / "log" / "daemon.log"
    with own_daemon(sandbox) as daemon, sandbox.start_cli("run", "--follow", cwd=root) as follower:
        assert follower.stdout is not None
        assert b"up\n" == follower.stdout.readline()
        follower.send_signal(signal.SIGSTOP)

        daemon.send_signal(signal.SIGTERM)
        wait_until(lambda: "stopping; runs go on" in log.read_text(), "it has begun to end")
        daemon.send_signal(signal.SIGTERM)
        daemon.communicate(timeout=40)

        follower.kill()
        follower.communicate(timeout=40)
    assert 1 == daemon.returncode
    assert "asked twice" in log.read_text()
    cancelled = sandbox.cli("cancel", "--wait", "latest", cwd=root)
    assert 0 == cancelled.returncode, cancelled.stderr
    assert "cancelled" == sandbox.show("latest", root)["state"]


def test_a_second_daemon_leaves_the_first_alone(sandbox: Sandbox) -> None:
    with own_daemon(sandbox) as daemon:
        second = subprocess.run(
            DAEMON,
            env=sandbox.env,
            capture_output=True,
            timeout=30,
            check=False,
        )

        other = subprocess.run(
            DAEMON,
            env=sandbox.env | {"XDG_STATE_HOME": str(sandbox.folder / "s2")},
            capture_output=True,
            timeout=30,
            check=False,
        )

        assert (0, b"pollinatord runs already\n") == (second.returncode, second.stderr)
        assert (78, True) == (other.returncode, b"with another state" in other.stderr)
        assert daemon.pid == status(sandbox, sandbox.project())["pid"]
