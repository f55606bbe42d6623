"""Collecting the garbage of the projects' stores: when a client asks, and once a day when all is quiet."""

from __future__ import annotations

import asyncio
import logging

from pollinator.chunks.garbage.collect import Collector, collected_lately
from pollinator.chunks.garbage.roots import Report
from pollinator.daemon.pool import Pool
from pollinator.daemon.runs.keeping import Keeping, place_of
from pollinator.daemon.runs.log import RunLog
from pollinator.daemon.sync.projects import OpenProject, Projects
from pollinator.daemon.sync.stores import StoreKeeper
from pollinator.v1.project_pb2 import Collected, ProjectState
from pollinator.wire.errors import PollinatorError

LOOK_S = 600.0
"""How often it is looked whether a collection is due."""

_log = logging.getLogger(__name__)


class Tidying:
    """Collects one store at a time, on a thread of its own."""

    def __init__(
        self,
        log: RunLog,
        projects: Projects,
        keeper: StoreKeeper,
        keeping: Keeping,
        *,
        every_s: float,
        grace_s: float,
    ) -> None:
        self._runs = log
        self._projects = projects
        self._keeper = keeper
        self._keeping = keeping
        self._every_s = every_s
        self._grace_s = grace_s
        self._pool = Pool("garbage", 1)

    async def run(self) -> None:
        """Collect what is due, for ever."""
        try:
            while True:
                await asyncio.sleep(min(LOOK_S, self._every_s))
                for project in self._projects.all():
                    if self._idle(project):
                        await self._collect_if_due(project)
        finally:
            self._pool.close()

    async def begin(
        self, project: OpenProject, report: Report, *, dry_run: bool
    ) -> asyncio.Future[Collected]:
        """Collect the store of a project, which goes on also when nobody waits for it any more.

        Raises:
            PollinatorError: what this daemon keeps cannot be said; the future may raise the same.
        """
        if not dry_run:
            await self._keeping.say(place_of(project))
        return self._pool.start(self._collect, project, report, dry_run=dry_run)

    async def _collect_if_due(self, project: OpenProject) -> None:
        try:
            await self._keeping.say(place_of(project))
            if not await self._pool.run(self._collected_lately, project):
                done = await self._pool.run(self._collect, project, _no_report, dry_run=False)
                _log.info("%s: %s", project.worker.root, _words(done))
        except PollinatorError as error:
            _log.warning("the store of %s is not collected: %s", project.worker.root, error.message)

    def _idle(self, project: OpenProject) -> bool:
        """Nobody waits for the store, and all that is on disk is in it."""
        return not self._runs.active() and project.worker.status.state == ProjectState.PROJECT_STATE_IN_SYNC

    def _collected_lately(self, project: OpenProject) -> bool:
        store = self._keeper.reopen(project.store_id, project.name)
        try:
            return collected_lately(store, self._every_s)
        finally:
            store.close()

    def _collect(self, project: OpenProject, report: Report, *, dry_run: bool) -> Collected:
        store = self._keeper.reopen(project.store_id, project.name)
        try:
            client = self._keeping.client(str(project.worker.root))
            return Collector(store, client, self._grace_s).collect(report, dry_run=dry_run)
        finally:
            store.close()


def _words(done: Collected) -> str:
    removed = sum(each.objects for each in done.removed)
    condemned = sum(each.objects for each in done.condemned)
    return f"{removed} objects removed, {condemned} condemned" + "".join(
        f"; {each}" for each in done.problems
    )


def _no_report(_doing: str, _done: int, _total: int) -> None: ...
