"""Saves as the daemon tells of them: those that have come to rest, each once, whatever is cut meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from pollinator.cli.connect import LONG_S, PATIENCE_S, Daemon
from pollinator.v1.project_pb2 import (
    Edits,
    OpenProjectRequest,
    Project,
    ProjectState,
    WatchProjectRequest,
)
from pollinator.v1.store_pb2 import StoreSettings
from pollinator.wire.errors import NotFound, PollinatorError
from pollinator.wire.streams import follow_project

SETTLE_S = 0.015
"""So long nothing more may be saved. The daemon itself waits twice as long before it looks."""

MOST_S = 1.0
"""Who never stops saving is answered all the same."""


@dataclass(frozen=True, slots=True)
class Save:
    """What was saved since the one before."""

    paths: tuple[bytes, ...] = ()
    """From the project's folder on."""
    count: int = 0
    complete: bool = True
    """The paths are all there is to know; otherwise anything may have changed."""


class Saves:
    """Watches a project for as long as it is asked to."""

    def __init__(
        self,
        daemon: Daemon,
        root: Path,
        store: StoreSettings | None,
        tell: Callable[[Save], None],
        warn: Callable[[str], None],
    ) -> None:
        """``tell`` is given each save, ``warn`` what keeps the project from being watched."""
        self._daemon = daemon
        self._opening = OpenProjectRequest(root=str(root), store=store)
        self._tell = tell
        self._warn = warn
        self._problem = ""
        self._number: int | None = None
        self._cut = False
        self._pending = Save()
        self._timer: asyncio.TimerHandle | None = None
        self._latest_at = 0.0
        self.ready = asyncio.Event()
        """What is saved from now on is told."""

    async def watch(self) -> None:
        """Tell of saves until cancelled.

        Raises:
            PollinatorError: the project cannot be watched, or the daemon does not come back.
        """
        try:
            while True:
                await self._daemon.ask(self._daemon.projects.OpenProject, self._opening, timeout_s=LONG_S)
                # A daemon that came back may not have opened it, or somebody has closed it.
                with suppress(NotFound):
                    await self._follow()
                self._cut = True
        finally:
            if self._timer is not None:
                self._timer.cancel()

    async def _follow(self) -> None:
        request = WatchProjectRequest(root=self._opening.root)
        async for message in follow_project(
            self._daemon.projects, request, patience_s=PATIENCE_S, on_cut=self._on_cut
        ):
            self._show(message.project)
            self._take(message.edits)
            self.ready.set()

    async def _on_cut(self, error: PollinatorError) -> None:
        self._cut = True
        await self._daemon.revive(error)

    def _show(self, project: Project) -> None:
        bad = project.state in (ProjectState.PROJECT_STATE_HALTED, ProjectState.PROJECT_STATE_MISSING)
        problem = project.problem if bad else ""
        if problem and problem != self._problem:
            self._warn(problem)
        self._problem = problem

    def _take(self, edits: Edits) -> None:
        known, self._number = self._number, edits.number
        lost, self._cut = self._cut, False
        if known is None or (edits.number == known and not lost):
            return
        whole = not lost and edits.count > 0 and edits.count == len(edits.paths)
        before = self._pending
        paths = tuple(sorted({*before.paths, *edits.paths}))
        unnamed = before.count - len(before.paths) + edits.count - len(edits.paths)
        self._pending = Save(paths, len(paths) + unnamed, before.complete and whole)
        self._wait()

    def _wait(self) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        if self._timer is None:
            self._latest_at = now + MOST_S
        else:
            self._timer.cancel()
        self._timer = loop.call_at(min(now + SETTLE_S, self._latest_at), self._settled)

    def _settled(self) -> None:
        save, self._pending, self._timer = self._pending, Save(), None
        self._tell(save)
