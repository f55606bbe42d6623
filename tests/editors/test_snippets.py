"""Tasks and run configurations for other editors: what they type is a command, what it prints is read."""

from __future__ import annotations

import json
import re
import shlex
from typing import Any
from xml.etree import ElementTree as ET

import click
import pytest

from pollinator.cli.main import cli
from pollinator.cli.problems import problem_lines
from pollinator.v1.project_pb2 import Problem
from pollinator.v1.run_pb2 import Severity
from support.source import ROOT

TASKS: list[dict[str, Any]] = json.loads((ROOT / "editors/tasks/tasks.json").read_text())["tasks"]
CONFIGURATIONS = sorted((ROOT / "editors/jetbrains").glob("*.run.xml"))
PLACE = Problem(path="cfs/src/main.py", line=3, column=5, message="ValueError: no")


def parse(command: str) -> None:
    """Parse a command line as the program does, and do nothing."""
    name, *words = shlex.split(command)
    assert "pollinator" == name
    _, found, rest = cli.resolve_command(click.Context(cli), words)
    assert found is not None
    found.make_context("pollinator", list(rest))


@pytest.mark.parametrize("task", TASKS, ids=lambda task: str(task["label"]))
def test_a_task_runs_a_command_there_is(task: dict[str, Any]) -> None:
    parse(task["command"])


@pytest.mark.parametrize("path", CONFIGURATIONS, ids=lambda path: path.name)
def test_a_run_configuration_runs_a_command_there_is(path: Any) -> None:
    configuration = ET.parse(path).getroot().find("configuration")
    assert configuration is not None
    options = {each.get("name"): each.get("value") for each in configuration.iter("option")}

    parse(str(options["SCRIPT_TEXT"]))
    assert ("ShConfigurationType", "false") == (configuration.get("type"), options["EXECUTE_SCRIPT_FILE"])


@pytest.mark.parametrize(
    ("problem", "root", "matched"),
    [
        (PLACE, "/p", ("cfs/src/main.py", "3", "5", "error", "ValueError: no")),
        (PLACE, "/p/demo", ("demo/cfs/src/main.py", "3", "5", "error", "ValueError: no")),
        (
            Problem(path="cfs/src/a b.c", line=1, message="m"),
            "/p",
            ("cfs/src/a b.c", "1", None, "error", "m"),
        ),
        (
            Problem(path="project.yaml", line=2, message="m", severity=Severity.SEVERITY_WARNING),
            "/p",
            ("project.yaml", "2", None, "warning", "m"),
        ),
    ],
)
def test_problems_are_matched(problem: Problem, root: str, matched: tuple[str | None, ...]) -> None:
    pattern = TASKS[0]["problemMatcher"]["pattern"]

    found = re.match(pattern["regexp"], problem_lines(problem, root, "/p")[0])

    assert found is not None
    assert matched == tuple(
        found[pattern[name]] for name in ("file", "line", "column", "severity", "message")
    )


@pytest.mark.parametrize(
    "line", ["/cfs/src/main.c:3:1: error: x", "/home/ada/work/src/m.c:1:2: error: x", "ok"]
)
def test_places_where_it_ran_are_not_matched(line: str) -> None:
    assert not [
        task["label"]
        for task in TASKS
        if task["problemMatcher"] and re.match(task["problemMatcher"]["pattern"]["regexp"], line)
    ]
