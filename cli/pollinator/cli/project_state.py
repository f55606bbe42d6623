"""One project and its runs, followed: what an editor shows of them, and ``status --watch --project``."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator
from contextlib import aclosing

from pollinator.cli.connect import PATIENCE_S, Daemon
from pollinator.cli.describe import describe_project
from pollinator.cli.plain import json_text, plain
from pollinator.cli.table import run_lines
from pollinator.cli.terminal import Terminal
from pollinator.v1.project_pb2 import (
    OpenProjectRequest,
    Project,
    WatchProjectRequest,
    WatchProjectResponse,
)
from pollinator.v1.run_pb2 import Run
from pollinator.wire.errors import NotFound
from pollinator.wire.store_env import store_settings_from_environment
from pollinator.wire.streams import follow_project

SHOWN = 20
"""So many of the newest runs, and all that have not ended."""

NOBODY = json_text(plain(WatchProjectResponse(complete=True)))
"""What is told where no daemon runs."""


class ProjectState:
    """A project and its runs, put together from what WatchProject tells."""

    def __init__(self) -> None:
        self.project = Project()
        self._runs: dict[str, Run] = {}

    def take(self, message: WatchProjectResponse) -> None:
        """Note what changed."""
        self.project.CopyFrom(message.project)
        if message.complete:
            self._runs.clear()
        for run in message.runs:
            self._runs[run.id] = run
        for run_id in message.forgotten_runs:
            self._runs.pop(run_id, None)

    @property
    def runs(self) -> list[Run]:
        """The runs, newest first."""
        return [self._runs[run_id] for run_id in sorted(self._runs, reverse=True)]

    def lines(self, *, colour: bool) -> list[str]:
        """For people."""
        lines = describe_project(self.project)
        if self._runs:
            lines += ["", *run_lines(self.runs[:SHOWN], colour=colour)]
        return "\n".join(lines).split("\n")


async def project_messages(daemon: Daemon, root: str) -> AsyncGenerator[WatchProjectResponse]:
    """What WatchProject tells of a project and its runs; the project is opened where it is not.

    Raises:
        PollinatorError: the project cannot be watched, or the daemon has been gone for too long.
    """
    request = WatchProjectRequest(root=root, runs=True, limit=SHOWN)
    opened = False
    while True:
        watched = follow_project(daemon.projects, request, patience_s=PATIENCE_S, on_cut=daemon.revive)
        try:
            async with aclosing(watched) as messages:
                async for message in messages:
                    opened = False
                    yield message
            return
        except NotFound as missing:
            # Also after a restart, when the project's store did not answer at once.
            if missing.reason != "project_missing" or opened:
                raise
        store = store_settings_from_environment(os.environ)
        await daemon.ask(daemon.projects.OpenProject, OpenProjectRequest(root=root, store=store))
        opened = True


async def follow_one(daemon: Daemon, terminal: Terminal, root: str, *, as_json: bool) -> None:
    """Show one project and its runs until interrupted: in place on a terminal, elsewhere whenever it changes.

    Raises:
        PollinatorError: the project cannot be watched, or the daemon has been gone for too long.
    """
    state = ProjectState()
    async with aclosing(project_messages(daemon, root)) as messages:
        async for message in messages:
            if as_json:
                terminal.print(json_text(plain(message)))
                continue
            state.take(message)
            lines = state.lines(colour=terminal.colour_out)
            if terminal.read_by_people:
                terminal.redraw(lines)
            else:
                for line in [*lines, ""]:
                    terminal.print(line)
