"""One opened project at work: a thread of its own for the sync engine, an asyncio face for everybody else.

The engine is synchronous and belongs to one thread. A second thread does nothing but sleep until the watcher
has news, so that a seal never waits for that sleep to end. When nothing happens, nobody wakes up.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable, Collection
from functools import partial
from pathlib import Path
from typing import TypeVar

from pollinator.chunks.store import Store
from pollinator.daemon.about import about
from pollinator.daemon.pool import Pool
from pollinator.daemon.sync.biggest import find_biggest
from pollinator.daemon.sync.engine import SyncEngine
from pollinator.daemon.sync.meter import Meter
from pollinator.daemon.sync.outbox import Claims, Outbox
from pollinator.daemon.sync.sealed import Backlog, Sealed, SyncStatus
from pollinator.daemon.sync.view import VIEW_S
from pollinator.v1.project_pb2 import BigPath, Edits
from pollinator.v1.spec_pb2 import RunSpec
from pollinator.v1.tree_pb2 import PackIndex
from pollinator.wire.errors import PollinatorError, Unavailable

_Result = TypeVar("_Result")
_log = logging.getLogger(__name__)

NAP_S = 3600.0
"""How long the second thread sleeps at a time."""

SETTLE_S = 0.025
"""So long changes are left alone when there is nothing else to do: what was written in one go is looked at at
once, and files that are old enough for their stamps to be trusted are read only once."""

RETRY_S = 2.0
"""Pause after a failed background step; the engine itself backs off from a store that fails."""


class ProjectWorker:
    """Keeps one project in sync until it is closed."""

    def __init__(
        self, root: Path, index_path: Path, store: Store, name: str = "", view_s: float = VIEW_S
    ) -> None:
        self.root = root
        self._name = name
        self.store = store
        self._loop: asyncio.AbstractEventLoop | None = None
        self._engine = SyncEngine(root, index_path, store, wake=self._wake, view_s=view_s)
        self._thread = Pool(f"project-{root.name}", 1)
        self._sleeper = Pool(f"watch-{root.name}", 1)
        self._closing = asyncio.Event()
        self._awake = asyncio.Event()
        self._nap: asyncio.Future[bool] | None = None
        self._rest_s = 0.0
        self._closed = asyncio.Event()
        self._news = asyncio.Condition()
        self._seals = 0
        self._most = 0
        self._edits = 0
        self.status: SyncStatus = self._engine.status()
        self.problem = ""
        self.errors = Counter[str]()
        """What went wrong so far, by its reason."""
        self.version = 0
        """Grows whenever ``status``, ``problem`` or the number of edits changes."""

    async def run(self) -> None:
        """Watch, read and upload in the background until ``close``."""
        self._loop = asyncio.get_running_loop()
        try:
            news = True
            while not self._closing.is_set():
                # First: what comes in from now on asks for another step.
                self._awake.clear()
                await self._step(news)
                news = await self._sleep()
        finally:
            await asyncio.shield(self._shut())

    async def seal(
        self, spec: RunSpec, *, strict: bool, git_commit: str, accept_deletions: bool = False
    ) -> Sealed:
        """Barrier and snapshot: every write that finished before this call is in it."""
        after: list[tuple[SyncStatus, float]] = []

        def work() -> Sealed:
            try:
                return self._engine.seal(
                    spec, strict=strict, git_commit=git_commit, accept_deletions=accept_deletions
                )
            finally:
                # Now: the next turn on this thread may be that of a long step, and somebody waits.
                after.append(self._state())

        self._seals += 1
        began = time.monotonic()
        try:
            sealed = await self.call(work)
            self.meter.seals.add(time.monotonic() - began)
            return sealed
        except PollinatorError as error:
            self.errors[error.reason] += 1
            raise
        finally:
            self._seals -= 1
            self._most = 0
            for state in after:
                await self._note(state, self.problem)
            self._awake.set()

    async def call(self, work: Callable[[], _Result]) -> _Result:
        """Run something on the project's thread.

        Raises:
            Unavailable: the project was just closed.
        """
        if self._closed.is_set():
            raise Unavailable(f"the project {self.root} was just closed", reason="project_closed")
        with about(project=self._name):
            return await self._thread.run(work)

    @property
    def progress(self) -> tuple[int, int]:
        """Bytes done and in all of the seal under way; zeros when there is none, or too little is known."""
        left = self.backlog.bytes if self._seals else 0
        self._most = max(self._most, left)
        return self._most - left, self._most

    @property
    def meter(self) -> Meter:
        """What is read and sent."""
        return self._engine.meter

    @property
    def backlog(self) -> Backlog:
        """What is not in the store yet, at this very moment."""
        return self._engine.backlog()

    @property
    def busy(self) -> bool:
        """Numbers change without a new ``version``: something is read or sent, or was a moment ago."""
        meter = self._engine.meter
        return bool(self._seals or meter.reading or meter.read.rate() or self.store.sent.rate())

    def edits(self, since: int | None) -> Edits:
        """What changed after an edit, by its number."""
        return self.meter.edits.since(since)

    async def forget_stored(self, objects: Collection[str]) -> None:
        """These are not in the store, or not to be used: what is here of them is stored again."""
        gone = set(objects)
        await self.call(lambda: self._engine.with_outbox(lambda outbox: outbox.abandon(gone)))

    async def stored_rows(self) -> list[PackIndex]:
        """What every pack holds that the store acknowledged."""
        return await self.call(lambda: self._engine.with_outbox(Outbox.rows))

    async def claims(self) -> Claims:
        """What must stay in the store for this project's sake."""
        return await self.call(lambda: self._engine.with_outbox(Outbox.claims))

    async def biggest(self, limit: int) -> list[BigPath]:
        """The largest of all files and directories that are known."""
        return await self.call(lambda: find_biggest(self._engine.sizes(), limit))

    def leaves_out(self, path: bytes) -> bool:
        """A file, named from the folder of the trees, is not sent. May be called from any thread."""
        return self._engine.leaves_out(path)

    async def changed(self, seen: int, timeout_s: float) -> None:
        """Return when ``version`` is not what was ``seen`` any more, at the latest after the timeout."""
        try:
            async with asyncio.timeout(timeout_s), self._news:
                await self._news.wait_for(lambda: self.version != seen)
        except TimeoutError:
            return

    async def close(self) -> None:
        """Stop and release everything; returns when the engine is closed. A seal under way is finished."""
        self._closing.set()
        self._awake.set()
        if not self._seals and not self._closed.is_set():
            # Nobody waits for what it may be sending: a store that is silent must not hold the end up.
            await self._sleeper.run(self.store.close)
        await self._closed.wait()

    def _wake(self) -> None:
        """A put has ended; called on its thread."""
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._awake.set)

    async def _sleep(self) -> bool:
        """Until it is time for the next step; True when there is news of the watcher."""
        if self._nap is None:
            self._nap = self._sleeper.start(self._engine.wait, NAP_S)
            self._nap.add_done_callback(lambda _: self._awake.set())
        try:
            async with asyncio.timeout(self._rest_s):
                await self._awake.wait()
        except TimeoutError:
            pass
        if not self._nap.done():
            return False
        nap, self._nap = self._nap, None
        if nap.result() and self._rest_s > 0.0:
            await self._pause(SETTLE_S)
        return nap.result()

    async def _step(self, news: bool) -> None:
        """Do one step; a failure is shown in the status and tried again later."""
        try:
            await self.call(partial(self._engine.step, news))
        except PollinatorError as error:
            problem = f"{error.message} ({error.hint})" if error.hint else error.message
            if problem != self.problem:
                _log.warning("%s: %s", self.root, error.message)
            await self._failed(error.reason, problem)
        except Exception as error:  # noqa: BLE001 - the root of one project: a defect must not end the daemon
            _log.exception("%s: trying again", self.root)
            await self._failed("internal", f"internal error: {error!r}; the daemon's log says more")
        else:
            await self._refresh("")

    async def _failed(self, reason: str, problem: str) -> None:
        self.errors[reason] += 1
        await self._refresh(problem)
        await self._pause(RETRY_S)

    def _state(self) -> tuple[SyncStatus, float]:
        return self._engine.status(), self._engine.rest_s()

    async def _refresh(self, problem: str) -> None:
        await self._note(await self.call(self._state), problem)

    async def _note(self, state: tuple[SyncStatus, float], problem: str) -> None:
        status, self._rest_s = state
        edits = self.meter.edits.number
        if (status, problem, edits) != (self.status, self.problem, self._edits):
            async with self._news:
                self.status, self.problem, self._edits = status, problem, edits
                self.version += 1
                self._news.notify_all()

    async def _pause(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._closing.wait()
        except TimeoutError:
            return

    async def _shut(self) -> None:
        await self.call(self._engine.close)
        await self.call(self.store.close)
        self._thread.close()
        self._sleeper.close()
        self._closed.set()
        # Whoever watches it asks again: there may be another worker in its place by then, or none.
        async with self._news:
            self.version += 1
            self._news.notify_all()
