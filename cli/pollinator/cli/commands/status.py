"""``pollinator status``."""

from __future__ import annotations

import os
from pathlib import Path

import click

from pollinator.cli.group import Command
from pollinator.cli.options import json_option, project_option


@click.command(
    "status",
    cls=Command,
    short_help="Show the daemon, its projects and active runs.",
    examples=(
        "pollinator status",
        "pollinator status --watch",
        "pollinator status --watch --project ~/demo --json",
        "pollinator status --biggest",
        "pollinator status --forget ~/old-project",
    ),
)
@click.option("-w", "--watch", is_flag=True, help="Stay, and show what changes until Ctrl-C.")
@click.option("--biggest", is_flag=True, help="Name the largest files and directories of each project.")
@click.option(
    "--forget",
    metavar="DIR",
    type=click.Path(),
    help="Stop watching the project in this folder.",
)
@project_option("With --watch: only this project, and all of its runs.")
@json_option(
    "Print one JSON object; with --watch one a line for each change, with --biggest for each project."
)
def status_command(
    watch: bool, biggest: bool, forget: str | None, project: Path | None, as_json: bool
) -> int:
    """Show the daemon, its projects with what is still to be stored, and active runs. Starts nothing.

    A project that is forgotten keeps its files, its runs and what is in the store; any command in it opens it
    again.
    """
    from pollinator.cli.folder import project_here
    from pollinator.cli.session import run_async

    if watch + biggest + (forget is not None) > 1:
        raise click.UsageError("--watch, --biggest and --forget exclude each other")
    if project is not None and not watch:
        raise click.UsageError("--project goes with --watch")
    if forget is not None:
        # Not resolved: what links lead to cannot be told of a folder that is gone.
        return run_async(_forget(os.path.abspath(forget)))
    if project is not None:
        return run_async(_watch_project(str(project_here(project)), as_json=as_json))
    return run_async(_status(watch=watch, biggest=biggest, as_json=as_json))


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


async def _watch_project(root: str, *, as_json: bool) -> int:
    from pollinator.cli.connect import connected_if_running
    from pollinator.cli.exits import Exit
    from pollinator.cli.project_state import NOBODY, follow_one
    from pollinator.cli.state import NOT_RUNNING
    from pollinator.cli.terminal import Terminal

    terminal = Terminal()
    async with connected_if_running() as daemon:
        if daemon is None:
            terminal.print(NOBODY if as_json else NOT_RUNNING)
        else:
            await follow_one(daemon, terminal, root, as_json=as_json)
    return int(Exit.OK)


async def _status(*, watch: bool, biggest: bool, as_json: bool) -> int:
    from pollinator.cli.connect import connected_if_running
    from pollinator.cli.exits import Exit
    from pollinator.cli.plain import json_text
    from pollinator.cli.state import NOT_RUNNING, follow_state, print_biggest, state_of
    from pollinator.cli.terminal import Terminal

    terminal = Terminal()
    async with connected_if_running() as daemon:
        if daemon is None:
            no_daemon = json_text({"daemon": None, "projects": [], "runs": [], "executors": []})
            terminal.print(no_daemon if as_json else NOT_RUNNING)
        elif watch:
            await follow_state(daemon, terminal, as_json=as_json)
        elif biggest:
            await print_biggest(daemon, terminal, as_json=as_json)
        else:
            state = await state_of(daemon)
            for line in [state.json()] if as_json else state.lines(colour=terminal.colour_out):
                terminal.print(line)
    return int(Exit.OK)
