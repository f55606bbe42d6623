"""``pollinator problems``."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pollinator.cli.group import Command
from pollinator.cli.options import json_option, project_option, run_argument

if TYPE_CHECKING:
    from pollinator.cli.terminal import Terminal
    from pollinator.v1.project_pb2 import Problem
    from pollinator.v1.run_pb2 import Run

_NEWEST = "latest"


@click.command(
    "problems",
    cls=Command,
    short_help="Say which places in the sources a failed run names.",
    examples=(
        "pollinator problems",
        "pollinator problems 01jb2 --json",
        "pollinator problems --spec",
    ),
)
@click.option("--spec", is_flag=True, help="What is wrong in project.yaml instead.")
@click.option("--stdin", is_flag=True, help="With --spec: look at the text on stdin instead of the file.")
@project_option()
@json_option("Print each problem as a JSON object, one a line.")
@run_argument(default=_NEWEST)
def problems_command(run_id: str, spec: bool, stdin: bool, project: Path | None, as_json: bool) -> int:
    """Say which places in the sources the output of a failed run names, the newest run when RUN is left out.

    Tracebacks of Python, messages of compilers, panics of Rust and Go are read; paths of where it ran become
    those of `cfs/src` here. A line is `path:line:column: error: what`. The exit code is 1 if there are some.
    """
    from pollinator.cli.folder import project_here, project_or_any
    from pollinator.cli.session import run_async

    if stdin and not spec:
        raise click.UsageError("--stdin goes with --spec")
    if spec and run_id != _NEWEST:
        raise click.UsageError("--spec is about project.yaml, not about a run")
    if spec:
        # Whatever an editor has there: that it is no text is nothing to fail about.
        text = sys.stdin.buffer.read().decode("utf-8", "replace") if stdin else None
        return run_async(_of_spec(str(project_here(project)), text, as_json=as_json))
    return run_async(_of_run(run_id, project_or_any(project), as_json=as_json))


async def _of_spec(root: str, text: str | None, *, as_json: bool) -> int:
    from pollinator.cli.connect import connected
    from pollinator.cli.terminal import Terminal
    from pollinator.v1.project_pb2 import CheckSpecRequest
    from pollinator.wire.places import PROJECT_FILE

    terminal = Terminal()
    async with connected(terminal) as daemon:
        answer = await daemon.ask(daemon.projects.CheckSpec, CheckSpecRequest(root=root, text=text))
    what = "the text on stdin" if text is not None else os.path.join(root, PROJECT_FILE)
    return _print(answer.problems, root, "", f"No problems in {what}.", terminal, as_json=as_json)


async def _of_run(named: str, root: str, *, as_json: bool) -> int:
    from pollinator.cli.connect import connected
    from pollinator.cli.follow import find_run
    from pollinator.cli.problems import problems_of
    from pollinator.cli.terminal import Terminal

    terminal = Terminal()
    async with connected(terminal) as daemon:
        run = await find_run(daemon, named, root)
        problems = await problems_of(daemon, run)
    none = f"No problems: run {run.id} of {run.project} {_how(run)}."
    return _print(problems, run.root, run.id, none, terminal, as_json=as_json)


def _how(run: Run) -> str:
    """Why there is nothing to say about it."""
    from pollinator.cli.table import shown_state
    from pollinator.v1.run_pb2 import RunState

    if run.state == RunState.RUN_STATE_FAILED:
        return "failed, and its output names no place in the sources"
    return f"has not failed ({shown_state(run)})"


def _print(
    problems: Sequence[Problem], root: str, run_id: str, none: str, terminal: Terminal, *, as_json: bool
) -> int:
    from pollinator.cli.exits import Exit
    from pollinator.cli.plain import json_text
    from pollinator.cli.problems import problem_json, problem_lines

    for problem in problems:
        if as_json:
            terminal.print(json_text(problem_json(problem, root, run_id)))
            continue
        for line in problem_lines(problem, root, os.getcwd()):
            terminal.print(line)
    if not problems and not as_json:
        terminal.say(none)
    return int(Exit.FAILED if problems else Exit.OK)
