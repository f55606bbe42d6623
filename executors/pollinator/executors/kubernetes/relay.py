"""One run whose pods share nothing with this machine: what they tell comes here, and they are told things.

Who is asked, and when; how it is told is in ``told``.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, Container, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from pollinator.chunks.store import Store
from pollinator.chunks.stores import open_store
from pollinator.executors.base import Job
from pollinator.executors.kubernetes.data import GO, STOP, PodSeen
from pollinator.executors.kubernetes.told import Told, folder_of
from pollinator.executors.records import read_record, write_json
from pollinator.wire.errors import Corrupt, PollinatorError

FIRST_LOOK_S = 0.2
LOOK_S = 1.0
LATE_LOOK_S = 2.0
"""Between questions whether a pod has told more: once it has, while it is silent, and after ``LATE_S``."""
LATE_S = 1800.0
SLOWER = 1.15
AGAIN_S = (1.0, 30.0)
"""Between tries at a store that does not answer, at first and in the end."""
QUESTIONS_A_SECOND = 50
"""So many about all pods of all runs together."""
SEEN = "seen.json"
"""In a run's folder: its pods, of all attempts, as the cluster told last."""

Blocking = Callable[[Callable[[], bool]], Awaitable[bool]]
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Followed:
    """A pod, as the cluster told last."""

    attempt: int
    node: int
    ended: bool
    gone: bool


class Relay:
    """One run. What it asks it asks on a thread, one question at a time; the rest is for the loop's thread.

    Args:
        job: the run; replaced by a newer one when its credentials are.
        in_thread: does something that blocks.
        questions: how many pods are asked in all.
    """

    def __init__(self, job: Job, in_thread: Blocking, questions: Callable[[], int]) -> None:
        self.job = job
        self._in_thread = in_thread
        self._questions = questions
        self._told = Told(job.workspace, job.run_id, job.spec.processes_per_node)
        known = read_record(job.workspace / SEEN) or {}
        self._pods = self._noted = {uid: _Followed(**each) for uid, each in known.items()}
        self._drained: set[str] = set()
        """Pods that are gone, and have been asked since."""
        self._lost: dict[str, str] = {}
        self._wake = asyncio.Event()
        self._news = asyncio.Event()
        self._store: tuple[str, Store] | None = None
        self._begun = time.monotonic()
        self._look_s, self._again_s = FIRST_LOOK_S, AGAIN_S[0]
        self._ended = False
        self.trouble: PollinatorError | None = None
        """Why the store gave no answer when it was asked last."""

    @property
    def attempt(self) -> int:
        """The last one that has pods; 0 without any."""
        return max((each.attempt for each in self._pods.values()), default=0)

    @property
    def open(self) -> int:
        """How many pods may still tell something."""
        return len(self._open_of(range(self.attempt + 1)))

    def see(self, attempt: int, pods: Sequence[PodSeen]) -> None:
        """Note how all pods of an attempt are; one that is not among them is gone."""
        listed = {each.uid: _Followed(attempt, each.node, each.ended, each.gone) for each in pods}
        for uid, each in self._pods.items():
            if each.attempt == attempt and uid not in listed:
                listed[uid] = _Followed(attempt, each.node, ended=True, gone=True)
        if any(self._pods.get(uid) != each for uid, each in listed.items()):
            self._pods = self._pods | listed
            self._wake.set()

    def wake(self) -> None:
        """There is something to tell the pods."""
        self._wake.set()

    def settled(self, attempt: int) -> bool:
        """All that the ranks of an attempt have printed is here."""
        return all(map(self._is_quiet, self._open_of([attempt])))

    def has_told(self, attempt: int) -> bool:
        """Every pod of an attempt has told where its results are, or will never."""
        return not self._open_of([attempt])

    async def all_told(self, attempt: int) -> None:
        """Wait until that is so.

        Raises:
            PollinatorError: the store does not answer.
        """
        while not self.has_told(attempt):
            if self.trouble is not None:
                raise self.trouble
            self._news.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK_S):
                    await self._news.wait()

    def ends(self, attempt: int) -> tuple[dict[int, Mapping[str, Any]], dict[int, str]]:
        """The last pages of the nodes in an attempt, and why others have none."""
        ends: dict[int, Mapping[str, Any]] = {}
        lost: dict[int, str] = {}
        for uid, each in self._pods.items():
            if each.attempt != attempt:
                continue
            told = self._told.pods.get(uid)
            if told is not None and told.end is not None:
                ends[each.node] = told.end
            elif told is not None:
                # Of one that told nothing no rank can have begun.
                lost[each.node] = self._lost.get(uid, "its pod was gone before they were stored")
        return ends, {node: why for node, why in lost.items() if node not in ends}

    async def run(self) -> None:
        """Go on until it is to end."""
        while not self._ended:
            self._wake.clear()
            pause_s = await self._ask_all() if self.open else None
            self._news.set()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause_s):
                    await self._wake.wait()

    async def _ask_all(self) -> float:
        """Ask each pod once; how long to rest after that."""
        try:
            news = await self._in_thread(self._round)
        except Exception as error:  # noqa: BLE001 - the root of one run: a defect it meets must not end the others
            self.trouble = error if isinstance(error, PollinatorError) else None
            if isinstance(error, (PollinatorError, OSError)):
                _log.warning("run %s: its pods are not heard: %s", self.job.run_id, error)
            else:
                _log.exception("run %s: its pods are not heard", self.job.run_id)
            again_s, self._again_s = self._again_s, min(2 * self._again_s, AGAIN_S[1])
            return again_s
        self.trouble, self._again_s = None, AGAIN_S[0]
        longest_s = LOOK_S if time.monotonic() < self._begun + LATE_S else LATE_LOOK_S
        self._look_s = FIRST_LOOK_S if news else min(self._look_s * SLOWER, longest_s)
        return max(0.0 if news else self._look_s, self._questions() / QUESTIONS_A_SECOND)

    def end(self) -> None:
        """Nobody needs to know more."""
        self._ended = True
        self._wake.set()

    def close(self) -> None:
        """Release connections."""
        if self._store is not None:
            self._store[1].close()
            self._store = None

    # On a thread

    def _round(self) -> bool:
        self._note_pods()
        store, news = self._opened(), False
        for uid, each in list(self._pods.items()):
            if not self._is_over(uid):
                news = self._ask(store, uid, each) or news
        return news

    def _note_pods(self) -> None:
        """For whoever comes after a restart; tried again with the next round where a disk is full."""
        pods = self._pods
        if pods is not self._noted:
            write_json(self.job.workspace / SEEN, {uid: asdict(each) for uid, each in pods.items()})
            self._noted = pods

    def _ask(self, store: Store, uid: str, pod: _Followed) -> bool:
        words = self._words(pod.attempt)
        if not pod.gone and (words or pod.ended):
            self._told.tell(store, uid, words, gone=pod.ended)
        try:
            if self._told.read(store, uid, pod.node, pod.attempt):
                return True
        except Corrupt as error:
            # There is no other way to hear of it.
            self._lost[uid] = f"what it told cannot be read: {error.message}"
            self._drained.add(uid)
        if pod.gone:
            # It was so before it was asked: there will be no more.
            self._drained.add(uid)
        return False

    def _opened(self) -> Store:
        source = self.job.source
        body = source.store.SerializeToString(deterministic=True).hex()
        if self._store is not None and self._store[0] != body:
            self.close()
        if self._store is None:
            self._store = body, open_store(source.store, source.spec.project)
        return self._store[1]

    # What is known

    def _is_over(self, uid: str) -> bool:
        told = self._told.pods.get(uid)
        return uid in self._drained or (told is not None and told.end is not None)

    def _is_quiet(self, uid: str) -> bool:
        told = self._told.pods.get(uid)
        return told is not None and told.quiet

    def _open_of(self, attempts: Container[int]) -> list[str]:
        return [
            uid for uid, each in self._pods.items() if each.attempt in attempts and not self._is_over(uid)
        ]

    def _words(self, attempt: int) -> dict[str, str]:
        """What there is to tell the pods of an attempt: on disk, for whoever comes after a restart."""
        found: dict[str, str] = {}
        for name in (GO, STOP):
            with contextlib.suppress(FileNotFoundError):
                text = (folder_of(self.job.workspace, attempt) / name).read_text("utf-8").strip()
                found |= {name: text} if text else {}
        return found
