"""Files for the system's service manager."""

from __future__ import annotations

import os
import plistlib
import shutil
import subprocess
from pathlib import Path

import pytest

from pollinator.cli.main import run_command_line
from pollinator.cli.service_unit import launchd_plist, registration, systemd_unit

COMMAND = ("/opt/my env/bin/python", "-P", "-m", "pollinator.daemon.main")


def test_the_unit_leaves_runs_alone_when_it_stops() -> None:
    lines = systemd_unit(COMMAND, {}).splitlines()

    assert {"KillMode=process", "Restart=on-failure", "Type=exec"} <= set(lines)


def test_words_of_the_unit_are_quoted_for_systemd() -> None:
    lines = systemd_unit(COMMAND, {"PATH": "/a b:/100%"}).splitlines()

    assert 'ExecStart="/opt/my env/bin/python" -P -m pollinator.daemon.main' in lines
    assert 'Environment="PATH=/a b:/100%%"' in lines


def test_folders_of_the_user_are_passed_on() -> None:
    moved = {"XDG_STATE_HOME": "/s", "XDG_RUNTIME_DIR": "/elsewhere", "SECRET": "x"}
    usual = {"XDG_RUNTIME_DIR": f"/run/user/{os.getuid()}"}

    assert "Environment=XDG_STATE_HOME=/s\nEnvironment=XDG_RUNTIME_DIR=/elsewhere" in systemd_unit(
        COMMAND, moved
    )
    assert "SECRET" not in systemd_unit(COMMAND, moved)
    assert "XDG_RUNTIME_DIR" not in systemd_unit(COMMAND, usual)


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not on this system")
def test_systemd_finds_nothing_wrong_with_the_unit(home: Path) -> None:
    unit = home / "pollinatord.service"
    unit.write_text(registration({"PATH": os.environ["PATH"]}, "linux").text)

    done = subprocess.run(
        ["systemd-analyze", "verify", "--user", unit], capture_output=True, text=True, timeout=30, check=False
    )

    assert str(unit.name) not in done.stderr
    assert done.returncode == 0


def test_the_agent_leaves_runs_alone_when_it_stops() -> None:
    agent = plistlib.loads(launchd_plist(COMMAND, {"PATH": "/bin"}, Path("/log")).encode())

    assert agent["AbandonProcessGroup"] is True
    assert agent["ProgramArguments"] == list(COMMAND)
    assert agent["EnvironmentVariables"] == {"PATH": "/bin"}


def test_print_writes_nothing_but_to_stdout(home: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    assert run_command_line(["daemon", "install", "--print"]) == 0

    assert capfdbinary.readouterr().out.decode() == registration().text
    assert not registration().path.exists()


def test_uninstall_of_what_is_not_installed_says_so(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command_line(["daemon", "uninstall"]) == 0
    assert capsys.readouterr().err.startswith("Not installed")
