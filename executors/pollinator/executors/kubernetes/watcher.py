"""What is known of our Jobs and pods: one list and one watch of each kind for a namespace, however many runs.

A watch that ends goes on where it was; one that cannot is begun again with a list, in which is missed what
is gone. An API that does not answer is asked again, less and less often.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable, Mapping
from contextlib import aclosing
from dataclasses import replace
from typing import Generic, NoReturn, TypeVar

from pollinator.executors.kubernetes.api import JOBS, PODS, Api, Kind
from pollinator.executors.kubernetes.data import Manifest
from pollinator.executors.kubernetes.seen import JobSeen, PodState, job_seen, pod_seen
from pollinator.wire.documents import as_entry
from pollinator.wire.errors import OutOfRange, PollinatorError

FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 30.0
SPREAD = 0.3
"""Many that lost one server do not all come back at once."""

_Seen = TypeVar("_Seen", bound=JobSeen | PodState)
_log = logging.getLogger(__name__)


class Kept(Generic[_Seen]):
    """All objects of one kind that are ours, by uid."""

    def __init__(self, kind: Kind, read: Callable[[Manifest], _Seen]) -> None:
        self.kind = kind
        self._read = read
        self.there: dict[str, _Seen] = {}
        self.listed_at = float("-inf")
        """When the last list was asked for, by the monotonic clock: what was made before is in it."""
        self.version = ""
        """From where a watch can go on; empty where one has to list."""

    def replace(self, found: list[Manifest], version: str, asked_at: float) -> list[_Seen]:
        """Take a list; returns what changed: what is new or other, and what is gone as it was."""
        now = {seen.uid: seen for seen in map(self._read, found)}
        changed = [seen for uid, seen in now.items() if self.there.get(uid) != seen]
        lost = [seen for uid, seen in self.there.items() if uid not in now]
        self.there, self.version, self.listed_at = now, version, asked_at
        return [*changed, *lost]

    def take(self, event: Manifest) -> _Seen | None:
        """Take an event of a watch; returns what changed."""
        found: Manifest = event["object"]
        version = as_entry(found.get("metadata")).get("resourceVersion")
        if version:
            self.version = str(version)
        if event.get("type") not in ("ADDED", "MODIFIED", "DELETED"):
            return None
        seen = self._read(found)
        if event["type"] == "DELETED":
            self.there.pop(seen.uid, None)
        else:
            self.there[seen.uid] = seen
        return seen


class Watcher:
    """Both kinds.

    Args:
        api: of the namespace.
        is_awaited: somebody asks, or will ask, about a run.
    """

    def __init__(self, api: Api, is_awaited: Callable[[str], bool]) -> None:
        self._api = api
        self._is_awaited = is_awaited
        self._jobs = Kept(JOBS, job_seen)
        self._pods = Kept(PODS, pod_seen)
        self._gone: dict[str, dict[str, PodState]] = {}
        """Pods that are not there any more, of runs that are awaited, as they were last."""
        self._ended: dict[str, str] = {}
        """Uids of Jobs that are not there any more, with their runs, of runs that are awaited."""
        self._of_run: dict[str, list[PodState]] | None = None
        """Those that are there, by run; None where something has changed since."""
        self.trouble: PollinatorError | None = None
        """Why the API could not be asked the last time; None when it could."""
        self.trouble_since = 0.0

    async def run(self) -> NoReturn:
        """Know it."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._keep(self._jobs), name="watch jobs")
            group.create_task(self._keep(self._pods), name="watch pods")
        raise AssertionError("it goes on until it is cancelled")

    @property
    def knows(self) -> bool:
        """Both kinds were listed."""
        return min(self._jobs.listed_at, self._pods.listed_at) > float("-inf")

    def jobs(self) -> Mapping[str, JobSeen]:
        """All of ours, by uid."""
        return self._jobs.there

    def job(self, uid: str) -> JobSeen | None:
        """One of them."""
        return self._jobs.there.get(uid)

    def is_gone(self, uid: str, since: float) -> bool:
        """A Job that was made at that time, by the monotonic clock, is not there any more."""
        return uid in self._ended or (self._jobs.listed_at > since and uid not in self._jobs.there)

    def pods(self, run: str, attempt: int) -> list[PodState]:
        """Those of an attempt, also such as are gone, in the order of their nodes."""
        if self._of_run is None:
            self._of_run = {}
            for each in self._pods.there.values():
                self._of_run.setdefault(each.run, []).append(each)
        gone = [replace(each, gone=True) for each in self._gone.get(run, {}).values()]
        found = [each for each in (*self._of_run.get(run, ()), *gone) if each.attempt == attempt]
        return sorted(found, key=lambda each: (each.index, each.gone, each.name))

    def made(self, found: Manifest) -> None:
        """A Job that we have just made: the watch may tell of it later, or may have told already."""
        seen = job_seen(found)
        if seen.uid not in self._ended:
            self._jobs.there.setdefault(seen.uid, seen)

    def forget(self, run: str) -> None:
        """Nobody asks about a run any more."""
        self._gone.pop(run, None)
        for uid in [uid for uid, of in self._ended.items() if of == run]:
            del self._ended[uid]

    # Knowing it

    async def _keep(self, kept: Kept[_Seen]) -> NoReturn:
        pause_s = FIRST_PAUSE_S
        while True:
            began = time.monotonic()
            try:
                # A watch has no word for that it began: only a list tells that the API answers again.
                if not kept.version or self.trouble is not None:
                    await self._list(kept)
                    self._note(None)
                await self._watch(kept)
            except OutOfRange:
                # What was to come next is not kept there any more.
                kept.version = ""
                if time.monotonic() - kept.listed_at < FIRST_PAUSE_S:
                    await _rest(FIRST_PAUSE_S)
            except PollinatorError as error:
                self._note(error)
                if time.monotonic() - began > LONGEST_PAUSE_S:
                    pause_s = FIRST_PAUSE_S
                await _rest(pause_s)
                pause_s = min(2 * pause_s, LONGEST_PAUSE_S)

    async def _list(self, kept: Kept[_Seen]) -> None:
        asked_at = time.monotonic()
        before = dict(kept.there)
        found, version = await self._api.all(kept.kind)
        for seen in kept.replace(found, version, asked_at):
            self._tell(seen, gone=seen.uid in before and seen.uid not in kept.there)

    async def _watch(self, kept: Kept[_Seen]) -> None:
        began = time.monotonic()
        async with aclosing(self._api.watch(kept.kind, kept.version)) as events:
            async for event in events:
                self._note(None)
                seen = kept.take(event)
                if seen is not None:
                    self._tell(seen, gone=event["type"] == "DELETED")
        if time.monotonic() - began < FIRST_PAUSE_S:
            # A server that ends each at once is not asked without an end.
            await _rest(FIRST_PAUSE_S)

    def _tell(self, seen: JobSeen | PodState, *, gone: bool) -> None:
        self._of_run = None
        # Most go when their run is forgotten, and nobody would forget them again.
        if not gone or not self._is_awaited(seen.run):
            return
        if isinstance(seen, PodState):
            self._gone.setdefault(seen.run, {})[seen.uid] = seen
        else:
            self._ended[seen.uid] = seen.run

    def _note(self, error: PollinatorError | None) -> None:
        if error is not None and self.trouble is None:
            _log.warning("the cluster cannot be asked: %s", error.message)
            self.trouble_since = time.monotonic()
        if error is None and self.trouble is not None:
            _log.info("the cluster answers again")
        self.trouble = error


async def _rest(pause_s: float) -> None:
    await asyncio.sleep(pause_s * random.uniform(1 - SPREAD, 1 + SPREAD))  # noqa: S311 - no secret
