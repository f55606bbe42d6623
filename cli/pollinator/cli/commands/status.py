"""``pollinator status``."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import click

from pollinator.cli.group import Command
from pollinator.cli.options import json_option

if TYPE_CHECKING:
    from pollinator.cli.connect import Daemon
    from pollinator.cli.terminal import Terminal


@click.command(
    "status",
    cls=Command,
    short_help="Show the daemon, its projects and active runs.",
    examples=("pollinator status", "pollinator status --json", "pollinator status --forget ~/old-project"),
)
@click.option(
    "--forget",
    metavar="DIR",
    type=click.Path(),
    help="Stop watching the project in this folder.",
)
@json_option()
def status_command(forget: str | None, as_json: bool) -> int:
    """Show the daemon, its projects with what is still to be stored, and active runs. Starts nothing.

    A project that is forgotten keeps its files, its runs and what is in the store; any command in it opens it
    again.
    """
    from pollinator.cli.session import run_async

    if forget is not None:
        # Not resolved: what links lead to cannot be told of a folder that is gone.
        return run_async(_forget(os.path.abspath(forget)))
    return run_async(_status(as_json=as_json))


async def _forget(root: str) -> int:
    from pollinator.cli.connect import connected
    from pollinator.cli.exits import Exit
    from pollinator.cli.terminal import Terminal
    from pollinator.v1.project_pb2 import CloseProjectRequest

    terminal = Terminal()
    async with connected(terminal) as daemon:
        await daemon.ask(daemon.projects.CloseProject, CloseProjectRequest(root=root))
    terminal.say(f"No longer watched: {root}")
    return int(Exit.OK)


async def _status(*, as_json: bool) -> int:
    from pollinator.cli.connect import connected_if_running
    from pollinator.cli.exits import Exit
    from pollinator.cli.plain import json_text
    from pollinator.cli.terminal import Terminal

    terminal = Terminal()
    async with connected_if_running() as daemon:
        if daemon is not None:
            await _print_status(daemon, terminal, as_json=as_json)
        elif as_json:
            terminal.print(json_text({"daemon": None, "projects": [], "runs": []}))
        else:
            terminal.print("daemon:  not running; the first command that needs it starts it")
    return int(Exit.OK)


async def _print_status(daemon: Daemon, terminal: Terminal, *, as_json: bool) -> None:
    from pollinator.cli.describe import describe_project
    from pollinator.cli.plain import json_text, plain
    from pollinator.cli.table import print_runs
    from pollinator.cli.words import count_text
    from pollinator.v1.project_pb2 import ListProjectsRequest
    from pollinator.v1.run_pb2 import ListRunsRequest

    projects = (await daemon.ask(daemon.projects.ListProjects, ListProjectsRequest())).projects
    runs = (await daemon.ask(daemon.runs.ListRuns, ListRunsRequest(active=True, page_size=1000))).runs
    if as_json:
        words = {
            "daemon": plain(daemon.info),
            "projects": [plain(project) for project in projects],
            "runs": [plain(run) for run in runs],
        }
        terminal.print(json_text(words))
        return
    info = daemon.info
    active = count_text(info.active_runs, "active run")
    terminal.print(f"daemon:  version {info.version}, process {info.pid}, {active}")
    for project in projects:
        terminal.print("")
        for line in describe_project(project):
            terminal.print(line)
    if runs:
        terminal.print("")
        print_runs(terminal, runs)
