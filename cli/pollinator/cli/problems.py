"""Places in sources that need looking at, as lines that editors know how to read.

A line is ``path:line:column: error: what``, as compilers write them: an editor that jumps to what gcc says
jumps to these as well. Paths are relative to where the command was called.
"""

from __future__ import annotations

import os

from pollinator.cli.connect import Daemon
from pollinator.cli.plain import Plain, json_text, plain
from pollinator.cli.terminal import Terminal
from pollinator.v1.project_pb2 import ListProblemsRequest, Problem
from pollinator.v1.run_pb2 import Run, RunState, Severity
from pollinator.wire.errors import PollinatorError

_WORDS = {Severity.SEVERITY_INFO: "note", Severity.SEVERITY_WARNING: "warning"}


def problem_lines(problem: Problem, root: str, here: str) -> list[str]:
    """The line of a problem, and one with what to do where that is known.

    Args:
        problem: what is wrong, and where.
        root: folder of the project, or empty if it is not on this machine.
        here: the folder that paths are told from.
    """
    path = os.path.relpath(os.path.join(root, problem.path), here) if root else problem.path
    place = ":".join([path, *(str(each) for each in (problem.line, problem.column) if each)])
    message = " ".join(problem.message.split()) or problem.code
    lines = [f"{place}: {_WORDS.get(problem.severity, 'error')}: {message}"]
    return [*lines, f"{place}: note: {' '.join(problem.hint.split())}"] if problem.hint else lines


def problem_json(problem: Problem, root: str, run_id: str = "") -> Plain:
    """A problem for programs, with the folder that its path begins at and the run that said so."""
    return {"root": root, "run_id": run_id, **plain(problem)}


async def problems_of(daemon: Daemon, run: Run) -> list[Problem]:
    """The places in the sources that the output of a failed run names, what matters most first."""
    answer = await daemon.ask(daemon.projects.ListProblems, ListProblemsRequest(run_id=run.id))
    return list(answer.problems)


async def tell_problems(daemon: Daemon, terminal: Terminal, run: Run, *, as_json: bool) -> None:
    """After a run that was followed: which places in the sources its output names, if it has failed."""
    if run.state != RunState.RUN_STATE_FAILED:
        return
    try:
        problems = await problems_of(daemon, run)
    except PollinatorError as error:
        # How the run ended is told already, and decides the exit code.
        terminal.warn(f"which places in the sources it names is not known: {error.message}")
        return
    for problem in problems:
        if as_json:
            terminal.print(json_text({"problem": problem_json(problem, run.root, run.id)}))
            continue
        for line in problem_lines(problem, run.root, os.getcwd()):
            terminal.say(line)
