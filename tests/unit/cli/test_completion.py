"""Completion in a shell."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.shell_completion import ShellComplete

from pollinator.cli.main import cli, run_command_line


def completions(words: list[str], incomplete: str) -> list[str]:
    shell = ShellComplete(cli, {}, "pollinator", "_POLLINATOR_COMPLETE")
    return [item.value for item in shell.get_completions(words, incomplete)]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shell_has_its_script(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command_line(["completion", shell]) == 0
    assert f"_POLLINATOR_COMPLETE={shell}_complete" in capsys.readouterr().out


def test_commands_are_completed() -> None:
    assert completions([], "re") == ["rerun"]
    assert completions(["daemon"], "st") == ["start", "stop", "status"]


def test_options_are_completed() -> None:
    assert completions(["run"], "--fo") == ["--follow"]
    assert "--help" in completions([], "--")


def test_without_a_daemon_runs_and_executors_complete_to_nothing(home: Path) -> None:
    assert completions(["show"], "") == []
    assert completions(["run", "--on"], "") == []


def test_a_socket_nobody_answers_completes_to_nothing(home: Path) -> None:
    socket = home / "run" / "pollinator" / "d.sock"
    socket.parent.mkdir()
    socket.touch()

    assert completions(["logs"], "01") == []
