"""What the cluster tells besides of runs that have not begun: events of Jobs and pods, and Kueue's word.

Asked for only while a run waits and nothing else says why, less and less often, and for many together.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NoReturn

from pollinator.executors.kubernetes.api import Api
from pollinator.executors.kubernetes.data import Manifest
from pollinator.executors.kubernetes.handover import Handover
from pollinator.executors.kubernetes.kueue import Kueue
from pollinator.executors.kubernetes.seen import MOST_WORDS
from pollinator.executors.kubernetes.settings import Site
from pollinator.executors.kubernetes.watcher import Watcher
from pollinator.wire.documents import as_entry
from pollinator.wire.errors import PollinatorError

ROUND_S = 0.5
FIRST_S = 1.0
"""So long a run has to wait before anybody asks."""
LONGEST_S = 30.0
ALONE = 4
"""As many are asked about one by one; more by one list of all that the namespace tells."""
KEPT = 20

_log = logging.getLogger(__name__)


class Asking:
    """The task that asks.

    Args:
        api: of the namespace.
        watcher: knows Jobs and pods.
        site: what the settings say.
        waiting: the runs that wait.
    """

    def __init__(
        self, api: Api, watcher: Watcher, site: Site, waiting: Callable[[], Iterable[Handover]]
    ) -> None:
        self._api = api
        self._site = site
        self._watcher = watcher
        self._waiting = waiting
        self._kueue = Kueue(api)

    async def run(self) -> NoReturn:
        """Ask, as long as anything waits."""
        while True:
            await asyncio.sleep(ROUND_S)
            if self._watcher.trouble is not None:
                continue
            due = {uid: run for run in self._waiting() if (uid := self._about(run))}
            if not due:
                continue
            try:
                await self._ask(due)
            except PollinatorError as error:
                _log.info("what the cluster tells besides is not known: %s", error)

    def _about(self, run: Handover) -> str:
        """Uid of what to ask about, if it is time to."""
        now = time.monotonic()
        if not run.uid or run.age("waiting") < FIRST_S or now < run.asked_at + run.ask_pause_s:
            return ""
        pods = [each for each in self._watcher.pods(run.job.run_id, run.attempt) if not each.gone]
        if any(each.unscheduled or each.waiting for each in pods):
            return ""
        starting = [each for each in pods if each.node and not each.begun]
        if pods and not starting:
            return ""
        run.asked_at = now
        run.ask_pause_s = min(LONGEST_S, max(FIRST_S, 2 * run.ask_pause_s))
        return starting[0].uid if starting else run.uid

    async def _ask(self, due: Mapping[str, Handover]) -> None:
        if len(due) > ALONE:
            found = await self._api.events()
            for uid, run in due.items():
                run.events = _told([each for each in found if _of(each) == uid])
        else:
            for uid, run in due.items():
                run.events = _told(await self._api.events(uid))
        queued: dict[str, str] = {}
        for uid, run in due.items():
            job, queue = self._watcher.job(uid), self._site.queue_of(run.job.spec)
            if job is not None and job.suspended and queue:
                queued[uid] = queue
        for uid, words in (await self._kueue.words(queued)).items():
            due[uid].events = (*due[uid].events, ("Workload", words))


def _of(event: Manifest) -> str:
    return str(as_entry(event.get("involvedObject")).get("uid", ""))


def _told(events: Sequence[Manifest]) -> tuple[tuple[str, str], ...]:
    """Reason and words of each, the newest last."""

    def when(event: Manifest) -> str:
        series = as_entry(event.get("series")).get("lastObservedTime")
        times = (series, event.get("lastTimestamp"), event.get("eventTime"), event.get("firstTimestamp"))
        return next((str(each) for each in times if each), "")

    said = [
        (str(each.get("reason", "")), str(each.get("message", ""))[:MOST_WORDS])
        for each in sorted(events, key=when)
    ]
    return tuple(said[-KEPT:])
