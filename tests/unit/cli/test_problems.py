"""Places in sources as lines that editors read."""

from __future__ import annotations

import pytest

from pollinator.cli.problems import problem_json, problem_lines
from pollinator.v1.project_pb2 import Problem
from pollinator.v1.run_pb2 import Severity


@pytest.mark.parametrize(
    ("problem", "here", "lines"),
    [
        (
            Problem(path="cfs/src/main.py", line=3, column=5, code="ValueError", message="ValueError: no"),
            "/demo",
            ["cfs/src/main.py:3:5: error: ValueError: no"],
        ),
        (
            Problem(path="cfs/src/main.py", line=3, message="several\n  lines"),
            "/demo/cfs",
            ["src/main.py:3: error: several lines"],
        ),
        (Problem(path="project.yaml", code="missing"), "/", ["demo/project.yaml: error: missing"]),
        (
            Problem(
                path="project.yaml",
                line=2,
                severity=Severity.SEVERITY_WARNING,
                message="unknown key",
                hint="did you mean cmd?",
            ),
            "/demo",
            ["project.yaml:2: warning: unknown key", "project.yaml:2: note: did you mean cmd?"],
        ),
    ],
)
def test_a_problem_is_told_as_compilers_do(problem: Problem, here: str, lines: list[str]) -> None:
    assert lines == problem_lines(problem, "/demo", here)


def test_a_project_that_is_not_here_has_paths_of_its_own() -> None:
    assert ["cfs/src/a.c:1: error: x"] == problem_lines(
        Problem(path="cfs/src/a.c", line=1, message="x"), "", "/somewhere"
    )


def test_programs_are_told_where_a_path_begins_and_which_run_said_so() -> None:
    told = problem_json(Problem(path="cfs/src/a.c", line=1, message="x"), "/demo", "01abc")

    assert ("/demo", "01abc", "cfs/src/a.c", 1, "", 0) == (
        told["root"],
        told["run_id"],
        told["path"],
        told["line"],
        told["severity"],
        told["column"],
    )
