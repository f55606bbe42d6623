"""Programs and daemons of different versions, and daemons that cannot start: what is replaced and said."""

from __future__ import annotations

import json
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from support.sandbox import BIN, Sandbox, sandbox, wait_until

__all__ = ["sandbox"]
pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]

SLOW = "import time\nprint('up')\ntime.sleep(float(open('src/s').read()))\nprint('done')\n"


def slow_project(sandbox: Sandbox, seconds: float) -> Path:
    root = sandbox.project(program=SLOW)
    (root / "cfs/src/s").write_text(str(seconds))
    return root


def status(sandbox: Sandbox, cwd: Path) -> dict[str, object]:
    answer: dict[str, object] = json.loads(sandbox.cli("daemon", "status", "--json", cwd=cwd).stdout)
    return answer


# Versions


def version(sandbox: Sandbox, number: str) -> dict[str, str]:
    """Variables with which the programs of this installation take themselves for another version."""
    real = next(Path(path) for path in sys.path if list(Path(path).glob("pollinatord-*.dist-info")))
    (info,) = real.glob("pollinatord-*.dist-info")
    overlay = sandbox.folder / "overlay"
    shutil.rmtree(overlay, ignore_errors=True)
    claimed = overlay / f"pollinatord-{number}.dist-info"
    claimed.mkdir(parents=True)
    (claimed / "METADATA").write_text(f"Metadata-Version: 2.1\nName: pollinatord\nVersion: {number}\n")
    shutil.copy(info / "entry_points.txt", claimed)
    return {"PYTHONPATH": str(overlay)}


def executor_version(sandbox: Sandbox, cwd: Path, env: dict[str, str]) -> object:
    return json.loads(sandbox.cli("executors", "--json", cwd=cwd, env=env).stdout)["version"]


def test_a_newer_program_replaces_an_idle_daemon_and_its_executor_also_when_upgraded_in_place(
    sandbox: Sandbox,
) -> None:
    root = sandbox.project()
    assert 0 == sandbox.cli("run", "--follow", cwd=root, env=version(sandbox, "0.0.1")).returncode
    old, old_executor = sandbox.daemon_pid(), sandbox.executor_pid()
    assert "0.0.1" == status(sandbox, root)["version"]

    env = version(sandbox, "9.9")
    ended = sandbox.cli("run", "--follow", cwd=root, env=env)

    assert 0 == ended.returncode, ended.stderr
    assert b"Warning" not in ended.stderr
    assert old != sandbox.daemon_pid()
    assert "9.9" == status(sandbox, root)["version"]
    assert "9.9" == executor_version(sandbox, root, env)
    assert old_executor != sandbox.executor_pid()
    assert 2 == len(sandbox.cli("list", "--json", cwd=root, env=env).stdout.splitlines())


def test_a_daemon_with_active_runs_is_replaced_without_touching_them(sandbox: Sandbox) -> None:
    root = slow_project(sandbox, 2)
    submitted = sandbox.cli("run", cwd=root)
    wait_until(lambda: b"up" in sandbox.cli("logs", cwd=root).stdout, "it runs")
    old = sandbox.daemon_pid()
    (supervisor,) = sandbox.pids_of("pollinator.executors.supervise")

    ended = sandbox.cli("wait", submitted.stdout.decode().strip(), cwd=root, env=version(sandbox, "9.9"))

    assert old != sandbox.daemon_pid()
    assert 0 == ended.returncode, ended.stderr
    assert b"up\ndone\n" == sandbox.cli("logs", cwd=root).stdout
    assert [supervisor] != sandbox.pids_of("pollinator.executors.supervise")
    assert "succeeded" == sandbox.show("latest", root)["state"]


def test_a_daemon_that_others_use_is_left_until_they_are_done(sandbox: Sandbox) -> None:
    root = slow_project(sandbox, 60)
    with sandbox.start_cli("run", "--follow", cwd=root) as follower:
        assert follower.stdout is not None
        assert b"up\n" == follower.stdout.readline()
        busy = sandbox.daemon_pid()

        listed = sandbox.cli("list", cwd=root, env=version(sandbox, "9.9"))
        cancelled = sandbox.cli("cancel", "latest", cwd=root, env=version(sandbox, "9.9"))

        follower.communicate(timeout=30)
    assert (0, 0, 103) == (listed.returncode, cancelled.returncode, follower.returncode)
    assert b"busy; it is replaced when it is idle" in listed.stderr
    assert busy == sandbox.daemon_pid()


def test_an_older_program_is_told_to_be_upgraded_and_works(sandbox: Sandbox) -> None:
    root = sandbox.project()
    assert 0 == sandbox.cli("list", cwd=root).returncode
    newer = sandbox.daemon_pid()

    listed = sandbox.cli("list", cwd=root, env=version(sandbox, "0.0.1"))

    assert 0 == listed.returncode
    assert b"upgrade this installation" in listed.stderr
    assert newer == sandbox.daemon_pid()


# What is wrong


def test_wrong_settings_are_all_named_and_nothing_is_started(sandbox: Sandbox) -> None:
    root = sandbox.project()
    config = sandbox.folder / "c" / "pollinator" / "config.yaml"
    config.parent.mkdir(parents=True)
    config.write_text("log_levle: INFO\nlog_bytes: many\n")

    refused = sandbox.cli("list", cwd=root)

    assert 2 == refused.returncode
    assert f"{config}:1:1: unknown key 'log_levle'; did you mean 'log_level'?" in refused.stderr.decode()
    assert f"{config}:2:12: log_bytes: write a whole number of at least 1" in refused.stderr.decode()
    assert 0 == sandbox.daemon_pid()


@pytest.mark.parametrize("place", ["/sys/pollinator-test", "file"])
def test_a_state_folder_that_cannot_be_written_is_named(sandbox: Sandbox, place: str) -> None:
    root = sandbox.project()
    if place == "file":
        place = str(sandbox.folder / "file")
        Path(place).write_text("in the way")

    refused = sandbox.cli("list", cwd=root, env={"XDG_STATE_HOME": place})

    assert 77 == refused.returncode, refused.stderr
    assert place.encode() in refused.stderr
    assert b"pollinator doctor" in refused.stderr
    assert 0 == sandbox.daemon_pid()


def test_a_full_disk_at_the_start_says_so_and_later_all_is_well(sandbox: Sandbox) -> None:
    root = sandbox.project()
    limited = f"ulimit -f 8; exec {BIN}/pollinator list"

    refused = subprocess.run(
        ["sh", "-c", limited], cwd=root, env=sandbox.env, capture_output=True, timeout=50, check=False
    )

    assert 75 == refused.returncode, refused.stderr
    assert b"daemon.db" in refused.stderr
    assert b"free some space" in refused.stderr
    assert 0 == sandbox.daemon_pid()
    assert 0 == sandbox.cli("list", cwd=root).returncode


def test_a_disk_that_fills_up_refuses_new_runs_and_loses_nothing_of_those_there_are(sandbox: Sandbox) -> None:
    program = (
        "import os, time\nprint('up')\nwhile not os.path.exists(os.environ['GO']):\n    time.sleep(0.01)\n"
    )
    root = sandbox.project(program=program + "print('x' * 1_000_000)\nraise SystemExit(3)\n")
    go = sandbox.folder / "go"
    with sandbox.start_cli("run", "--follow", "--env", f"GO={go}", cwd=root) as follower:
        assert follower.stdout is not None
        assert b"up\n" == follower.stdout.readline()
        daemon = sandbox.daemon_pid()
        before = resource.prlimit(daemon, resource.RLIMIT_FSIZE, (1, resource.RLIM_INFINITY))

        refused = sandbox.cli("run", cwd=root)
        go.touch()
        wait_until(lambda: not sandbox.pids_of("pollinator.executors.supervise"), "it ended")
        listed = sandbox.cli("list", "--json", cwd=root)
        resource.prlimit(daemon, resource.RLIMIT_FSIZE, before)

        rest, messages = follower.communicate(timeout=60)
    assert 75 == refused.returncode, refused.stderr
    assert b"free some space" in refused.stderr
    assert "running" == json.loads(listed.stdout)["state"]
    assert (3, b"x" * 1_000_000 + b"\n") == (follower.returncode, rest), messages
    assert daemon == sandbox.daemon_pid()
    assert 1 == len(sandbox.cli("list", "--json", cwd=root).stdout.splitlines())


@pytest.mark.parametrize("state", ["damaged", "newer"])
def test_a_list_of_runs_that_cannot_be_used_is_named_and_left_as_it_is(sandbox: Sandbox, state: str) -> None:
    root = sandbox.project()
    assert 0 == sandbox.cli("run", "--follow", cwd=root).returncode
    sandbox.cli("daemon", "stop", cwd=root)
    database = sandbox.state / "daemon.db"
    content = bytearray(database.read_bytes())
    if state == "newer":
        content[60:64] = (99).to_bytes(4, "big")
    else:
        content[:4096] = b"damaged!" * 512
    database.write_bytes(content)

    refused = sandbox.cli("list", cwd=root)

    assert {"damaged": 65, "newer": 78}[state] == refused.returncode, refused.stderr
    assert str(database).encode() in refused.stderr
    assert (f"mv {database}" if state == "damaged" else "upgrade") in refused.stderr.decode()
    assert bytes(content) == database.read_bytes()
    database.rename(sandbox.state / "daemon.db.damaged")
    assert 0 == sandbox.cli("run", "--follow", cwd=root).returncode
