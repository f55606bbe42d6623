"""The table of commands, their help, and answers to typos."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from pollinator.cli.group import Command, LazyGroup
from pollinator.cli.main import COMMANDS, cli, run_command_line


def all_commands() -> Iterator[tuple[str, click.Command, str]]:
    """Path, command and the words of its group for every command."""
    groups: list[tuple[str, LazyGroup]] = [("", cli_group())]
    while groups:
        path, group = groups.pop()
        for name, lazy in group.lazy.items():
            command = group.get_command(click.Context(group), name)
            assert command is not None
            yield f"{path}{name}", command, lazy.help
            if isinstance(command, LazyGroup):
                groups.append((f"{path}{name} ", command))


def cli_group() -> LazyGroup:
    assert isinstance(cli, LazyGroup)
    return cli


EVERY = [pytest.param(command, text, id=path) for path, command, text in all_commands()]


def test_every_promised_command_is_there() -> None:
    promised = (
        "new run list show logs cancel wait pull rerun diff checkout status sync executors doctor config "
        "images schema daemon completion version"
    )

    assert set(promised.split()) <= set(COMMANDS)


@pytest.mark.parametrize(("command", "text"), EVERY)
def test_help_begins_with_examples(command: click.Command, text: str) -> None:
    assert isinstance(command, (Command, LazyGroup))
    assert command.examples

    shown = command.get_help(click.Context(command, info_name="x"))

    assert shown.index("Examples:") < shown.index("Options:")


@pytest.mark.parametrize(("command", "text"), EVERY)
def test_a_group_says_of_a_command_what_it_says_of_itself(command: click.Command, text: str) -> None:
    assert command.get_short_help_str(limit=200) == text


@pytest.mark.parametrize(("command", "text"), EVERY)
def test_every_option_is_explained(command: click.Command, text: str) -> None:
    silent = [
        param.name
        for param in command.params
        if isinstance(param, click.Option) and not param.help and not param.hidden
    ]

    assert silent == []


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        (["rnu"], "did you mean run?"),
        (["statsu"], "did you mean status?"),
        (["run", "--folow"], "did you mean --follow?"),
        (["daemon", "restrat"], "did you mean restart?"),
        (["--versoin"], "did you mean --version?"),
    ],
)
def test_a_typo_is_answered_with_what_was_meant(
    typed: list[str], meant: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code = run_command_line(typed)

    assert code == 2
    assert meant in capsys.readouterr().err


def test_what_resembles_nothing_gets_no_suggestion(capsys: pytest.CaptureFixture[str]) -> None:
    code = run_command_line(["xyzzy"])

    assert code == 2
    assert "did you mean" not in capsys.readouterr().err


def test_ps_is_list() -> None:
    group = cli_group()

    command = group.get_command(click.Context(group), "ps")

    assert command is group.get_command(click.Context(group), "list")


def test_exit_codes_are_a_topic_of_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command_line(["help", "exit-codes"]) == 0

    shown = capsys.readouterr().out

    assert " 137  the run used more memory than it asked for" in shown


def test_help_explains_a_command_of_a_group(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command_line(["help", "daemon", "install"]) == 0

    assert "pollinator daemon install --print" in capsys.readouterr().out


@pytest.mark.parametrize("command", ["checkout", "diff", "pin", "pull", "rerun", "unpin", "wait"])
def test_what_needs_a_run_says_so_when_none_is_named(
    home: Path, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    code = run_command_line([command])

    assert 2 == code
    assert "Missing argument" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["../x", "a/../../x"])
def test_certificates_are_made_nowhere_else_than_where_the_daemon_looks_for_them(
    home: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    code = run_command_line(["executors", "certificate", name, "--host", "hall"])

    assert code == 2
    assert "is no name for an executor" in capsys.readouterr().err
    assert not list(home.rglob("*.pem"))
