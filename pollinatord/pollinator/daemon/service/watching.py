"""WatchProject: the live state of a project and of its runs, first all of it and then what changes."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Callable, Container, Coroutine, Sequence
from dataclasses import dataclass, field

from pollinator.daemon.runs.log import DEFAULT_PAGE, RunLog
from pollinator.daemon.service.runs import with_pin
from pollinator.daemon.sync.projects import Projects
from pollinator.v1.project_pb2 import Project, WatchProjectRequest, WatchProjectResponse
from pollinator.v1.run_pb2 import ListRunsRequest, Run

HEARTBEAT_S = 10.0
TICK_S = 0.5
"""How often a follower hears of what moves."""

MOST = 1000
"""So many runs are told as the newest at most, whatever a client asks for."""

MESSAGE_BYTES = 1024 * 1024
"""A message with runs that weigh so much has no further ones: clients take four times as much at most."""

AT_ONCE = 100
"""So many changed runs are told in one message; the next follows at once."""


@dataclass(slots=True)
class _Told:
    """What one follower has heard."""

    project: Project | None = None
    at: float = 0.0
    number: int | None = None
    """Of the last change of a run; None when it knows of no run."""
    rest: list[Run] = field(default_factory=list[Run])
    """Of the first runs those that it has not heard of yet."""
    edits: int | None = None
    """Of the last edit; None before the first message."""
    worker: object | None = None

    def begin_with(self, worker: object) -> None:
        """Whoever looks after the project now numbers edits from the beginning."""
        if worker is not self.worker:
            self.worker, self.edits = worker, None

    def hears(self, message: WatchProjectResponse, now: float) -> bool:
        """Whether the message says anything new, or silence would be too long; takes it for told then."""
        new = (
            message.complete
            or bool(message.runs)
            or message.project != self.project
            or message.edits.number != self.edits
        )
        if new or now - self.at >= HEARTBEAT_S:
            self.project, self.edits, self.at = message.project, message.edits.number, now
            return True
        return False


class ProjectWatch:
    """Answers WatchProject. What a slow client misses is told in one message when it has time."""

    def __init__(self, projects: Projects, runs: RunLog, pinned: Callable[[], Container[str]]) -> None:
        self._projects = projects
        self._runs = runs
        self._pinned = pinned

    async def watch(self, request: WatchProjectRequest) -> AsyncIterator[WatchProjectResponse]:
        """The state now, and again whenever it changes; twice a second while something moves.

        Raises:
            NotFound: no project is open in the folder.
        """
        told = _Told()
        if request.runs:
            told.number = self._runs.changes.number(request.cursor)
        while True:
            project = self._projects.get(request.root)
            told.begin_with(project.worker)
            seen, busy = project.worker.version, project.worker.busy
            message = WatchProjectResponse(project=project.describe(), edits=project.worker.edits(told.edits))
            more = request.runs and self._add_runs(message, request, told)
            if told.hears(message, time.monotonic()):
                yield message
            if not more:
                waits = [project.worker.changed(seen, TICK_S if busy else HEARTBEAT_S)]
                if told.number is not None:
                    waits.append(self._runs.changes.wait(request.root, told.number, HEARTBEAT_S))
                await _first(waits)

    def _add_runs(self, message: WatchProjectResponse, request: WatchProjectRequest, told: _Told) -> bool:
        """Add what the follower has not heard of runs; True when there is more than fits."""
        changes, more = self._runs.changes, False
        if told.number is None:
            told.number = changes.newest
            told.rest = sorted(self._all(request), key=lambda run: run.id)
            message.complete = True
        if told.rest or message.complete:
            runs = _fitting(told.rest)
            del told.rest[: len(runs)]
            more = bool(told.rest)
        else:
            changed = changes.since(request.root, told.number)
            runs = _fitting([self._runs.get(run_id) for run_id, _ in changed[:AT_ONCE]])
            more = len(runs) < len(changed)
            told.number = changed[len(runs) - 1][1] if more else changes.newest
        pinned = self._pinned() if runs else ()
        message.runs.extend(with_pin(run, pinned) for run in sorted(runs, key=lambda run: run.id))
        if not told.rest:
            # Before that a client has not heard of all, and has to begin anew after a cut.
            message.cursor = changes.cursor(told.number)
        return more

    def _all(self, request: WatchProjectRequest) -> list[Run]:
        """The newest runs of the project, and those that have not ended."""
        size = min(request.limit or DEFAULT_PAGE, MOST)
        newest = self._runs.select(ListRunsRequest(root=request.root, page_size=size))
        active = [run for run in self._runs.active() if run.root == request.root]
        return list({run.id: run for run in (*newest, *active)}.values())


def _fitting(runs: Sequence[Run]) -> list[Run]:
    """As many of the first as one message should hold, and one at least if there is any."""
    weights = itertools.accumulate(run.ByteSize() for run in runs)
    return [
        run
        for number, (run, weight) in enumerate(zip(runs, weights, strict=True))
        if not number or weight <= MESSAGE_BYTES
    ]


async def _first(waits: Sequence[Coroutine[None, None, None]]) -> None:
    """Return when one of these does."""
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(wait) for wait in waits]
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            task.cancel()
