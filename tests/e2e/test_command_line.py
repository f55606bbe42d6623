"""The command line as scripts and people use it."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import subprocess
from pathlib import Path

import pytest

from pollinator.daemon.settings import load_settings
from support.sandbox import BIN, Sandbox, sandbox

__all__ = ["sandbox"]
pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]


def test_earlier_runs_are_named_by_how_far_back_they_are(sandbox: Sandbox) -> None:
    root = sandbox.project()
    ids = [sandbox.cli("run", cwd=root).stdout.decode().strip() for _ in range(2)]

    shown = [sandbox.show(name, root)["id"] for name in ("latest~1", "latest~0")]
    beyond = sandbox.cli("show", "latest~2", cwd=root)

    assert ids == shown
    assert (102, b"Error: there are only 2 runs") == (beyond.returncode, beyond.stderr.splitlines()[0])


def test_a_folder_that_cannot_be_made_is_no_missing_run(sandbox: Sandbox) -> None:
    root = sandbox.project()
    assert sandbox.cli("run", "--follow", cwd=root).returncode == 0

    ended = sandbox.cli("pull", "latest", "project.yaml/below", cwd=root)

    assert 77 == ended.returncode, ended.stderr


def test_a_script_gets_the_id_and_a_person_the_next_command(sandbox: Sandbox) -> None:
    root = sandbox.project()

    script = sandbox.cli("run", cwd=root)
    person = _on_a_terminal(sandbox, root)

    assert 26 == len(script.stdout.decode().strip())
    assert b"Follow it: pollinator logs -f" in person
    assert b"Follow it" not in script.stderr


def test_settings_are_shown_with_where_they_come_from(sandbox: Sandbox) -> None:
    root = sandbox.project()
    variables = {"POLLINATOR_LOG_LEVEL": "DEBUG", "POLLINATOR_STORE": "folder:/x"}

    shown = sandbox.cli("config", "show", "--json", cwd=root, env=variables)

    origins = {each["name"]: each["origin"] for each in map(json.loads, shown.stdout.splitlines())}
    expected = dict.fromkeys(("autostart", *load_settings({}, Path("/nowhere")).values), "default") | {
        "log_level": "environment POLLINATOR_LOG_LEVEL",
        "store": "environment POLLINATOR_STORE",
    }
    assert expected == origins


@pytest.mark.parametrize("command", [["help", "exit-codes"], ["schema"], ["list", "--json"]])
def test_a_reader_that_goes_away_ends_a_command_quietly(sandbox: Sandbox, command: list[str]) -> None:
    root = sandbox.project()
    assert 0 == sandbox.cli("run", "--follow", cwd=root).returncode

    with sandbox.start_cli(*command, cwd=root) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        messages = process.stderr.read()

    assert (141, b"") == (process.wait(), messages)


def _on_a_terminal(sandbox: Sandbox, root: Path) -> bytes:
    """What ``pollinator run`` shows on a terminal."""
    screen, end = pty.openpty()
    with subprocess.Popen(
        [BIN / "pollinator", "run"],
        cwd=root,
        env=sandbox.env,
        stdin=subprocess.DEVNULL,
        stdout=end,
        stderr=end,
    ):
        os.close(end)
        shown = b""
        # Linux says so when the other end is closed.
        with contextlib.suppress(OSError):
            while block := os.read(screen, 4096):
                shown += block
    os.close(screen)
    return shown
