"""Errors as a user sees them: a line for what, one for each place, one for what to do, and a code."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from pollinator.cli.main import run_command_line, tell
from pollinator.cli.terminal import Terminal
from pollinator.wire.errors import InvalidInput, Violation


def test_an_error_says_what_where_and_what_to_do() -> None:
    err = io.StringIO()
    error = InvalidInput(
        "project.yaml is wrong", reason="bad_spec", hint="see the docs", violations=[Violation("p:3:5", "no")]
    )

    tell(error, Terminal(io.StringIO(), err, {}))

    assert err.getvalue() == "Error: project.yaml is wrong\n  p:3:5: no\nHint: see the docs\n"


def test_a_command_outside_of_a_project_says_so(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(home)

    code = run_command_line(["run"])

    assert code == 2
    assert "no project.yaml here" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["list"], ["show"], ["logs"], ["wait", "x"], ["cancel", "x"]])
def test_without_a_daemon_and_without_leave_to_start_one_a_command_says_so(
    home: Path, arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    code = run_command_line(arguments)

    assert code == 69
    assert "POLLINATOR_NO_AUTOSTART" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["status"], ["version"], ["daemon", "stop"]])
def test_what_can_be_said_without_a_daemon_is_said(home: Path, arguments: list[str]) -> None:
    assert run_command_line(arguments) == 0


def test_daemon_status_without_a_daemon_has_its_own_code(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command_line(["daemon", "status"]) == 69
    assert capsys.readouterr().out == "not running\n"


def test_a_half_set_store_is_an_error_before_anything_starts(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (home / "project.yaml").touch()
    monkeypatch.chdir(home)
    monkeypatch.setenv("AWS_S3_ACCESSKEY", "only this")

    code = run_command_line(["run"])

    assert code == 2
    assert "AWS_S3_BUCKET" in capsys.readouterr().err
