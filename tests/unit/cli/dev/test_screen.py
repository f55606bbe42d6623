"""What a loop says when it is asked."""

from __future__ import annotations

import io

import pytest

from pollinator.cli.dev.screen import CHOICES, Screen
from pollinator.cli.terminal import Terminal
from pollinator.cli.view import Style
from pollinator.v1.executor_pb2 import Executor
from pollinator.v1.project_pb2 import DiffRunsResponse, SettingChange


def asked(executors: list[Executor]) -> list[str]:
    said = io.StringIO()
    Screen(Terminal(io.StringIO(), said, {}), Style(), as_json=False).choices(executors, "local")
    return said.getvalue().splitlines()


def test_the_kind_of_an_executor_is_told_where_its_name_does_not() -> None:
    said = asked([Executor(name="local", kind="local"), Executor(name="lumi", kind="slurm")])

    assert [" *1  local", "  2  lumi  slurm"] == said[:2]


def test_of_executors_beyond_the_keys_is_told_how_to_name_them() -> None:
    said = asked([Executor(name=f"e{number}", kind="slurm") for number in range(CHOICES + 2)])

    assert "  9  e8  slurm" == said[CHOICES - 1]
    assert "    2 more: pollinator dev --on NAME" == said[CHOICES]
    assert CHOICES + 2 == len(said)


@pytest.mark.parametrize(("other", "named"), [("02b", "run 02b"), ("", "what is on disk now")])
def test_where_nothing_differs_it_is_said_between_which(other: str, named: str) -> None:
    out, said = io.StringIO(), io.StringIO()
    screen = Screen(Terminal(out, said, {}), Style(), as_json=False)

    screen.changes(DiffRunsResponse(base_run_id="01a", run_id=other))
    screen.changes(DiffRunsResponse(base_run_id="01a", settings=[SettingChange(name="x", value="1")]))

    assert f"Nothing differs between run 01a and {named}.\n" == said.getvalue()
    assert "x: (none) -> 1\n" == out.getvalue()
