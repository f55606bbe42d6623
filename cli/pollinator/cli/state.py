"""The daemon's state: its projects with what moves in them, and active runs. Shown once, or followed."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from pollinator.cli.connect import Daemon
from pollinator.cli.describe import biggest_lines, describe_project
from pollinator.cli.plain import json_text, plain
from pollinator.cli.sites import trouble_line
from pollinator.cli.table import run_lines
from pollinator.cli.terminal import Terminal
from pollinator.cli.words import count_text
from pollinator.v1.daemon_pb2 import GetInfoRequest, GetInfoResponse
from pollinator.v1.executor_pb2 import Executor, ListExecutorsRequest
from pollinator.v1.project_pb2 import ListBiggestRequest, ListProjectsRequest, Project
from pollinator.v1.run_pb2 import ListRunsRequest, Run

TICK_S = 0.5
"""How often a follower looks."""

NOT_RUNNING = "daemon:  not running; the first command that needs it starts it"


@dataclass(frozen=True, slots=True)
class State:
    """What the daemon says at one moment."""

    info: GetInfoResponse
    projects: Sequence[Project]
    runs: Sequence[Run]
    executors: Sequence[Executor]

    def json(self) -> str:
        """As one JSON object."""
        words = {
            "daemon": plain(self.info),
            "projects": [plain(project) for project in self.projects],
            "runs": [plain(run) for run in self.runs],
            "executors": [plain(executor) for executor in self.executors],
        }
        return json_text(words)

    def lines(self, *, colour: bool) -> list[str]:
        """For people."""
        info = self.info
        active = count_text(info.active_runs, "active run")
        lines = [f"daemon:  version {info.version}, process {info.pid}, {active}"]
        lines += [f"executor {trouble}" for each in self.executors if (trouble := trouble_line(each))]
        for project in self.projects:
            lines += ["", *describe_project(project)]
        if self.runs:
            lines += ["", *run_lines(self.runs, colour=colour)]
        return "\n".join(lines).split("\n")


async def state_of(daemon: Daemon) -> State:
    """Ask the daemon."""
    info = await daemon.ask(daemon.daemon.GetInfo, GetInfoRequest())
    projects = await daemon.ask(daemon.projects.ListProjects, ListProjectsRequest())
    runs = await daemon.ask(daemon.runs.ListRuns, ListRunsRequest(active=True, page_size=1000))
    executors = await daemon.ask(daemon.registry.ListExecutors, ListExecutorsRequest())
    return State(info, projects.projects, runs.runs, executors.executors)


async def follow_state(daemon: Daemon, terminal: Terminal, *, as_json: bool) -> None:
    """Show the state until interrupted: in place on a terminal, elsewhere whenever it changes."""
    shown: list[str] = []
    while True:
        state = await state_of(daemon)
        lines = [state.json()] if as_json else state.lines(colour=terminal.colour_out)
        if lines != shown:
            if terminal.read_by_people and not as_json:
                terminal.redraw(lines)
            else:
                for line in [*lines, *([] if as_json else [""])]:
                    terminal.print(line)
        shown = lines
        await asyncio.sleep(TICK_S)


async def print_biggest(daemon: Daemon, terminal: Terminal, *, as_json: bool) -> None:
    """The largest files and directories of each project."""
    projects = (await daemon.ask(daemon.projects.ListProjects, ListProjectsRequest())).projects
    for project in projects:
        answer = await daemon.ask(daemon.projects.ListBiggest, ListBiggestRequest(root=project.root))
        if as_json:
            biggest = [plain(each) for each in answer.paths]
            terminal.print(json_text({"root": project.root, "name": project.name, "biggest": biggest}))
            continue
        terminal.print(f"{project.name}  {project.root}")
        for line in biggest_lines(answer.paths):
            terminal.print(f"  {line}")
