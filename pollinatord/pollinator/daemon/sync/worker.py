"""One opened project at work: a thread of its own for the sync engine, an asyncio face for everybody else.

The engine is synchronous and belongs to one thread. A second thread does nothing but sleep until the watcher
has news, so that a seal never waits for that sleep to end.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from pollinator.chunks.store import Store
from pollinator.daemon.pool import Pool
from pollinator.daemon.sync.engine import SyncEngine
from pollinator.daemon.sync.sealed import Sealed, SyncStatus
from pollinator.v1.project_pb2 import ProjectState
from pollinator.v1.spec_pb2 import RunSpec
from pollinator.wire.errors import PollinatorError

_Result = TypeVar("_Result")
_log = logging.getLogger(__name__)

NAP_S = 1.0
"""Longest sleep of the watcher thread: how soon it notices that the project is to be closed."""

RETRY_S = 2.0
"""Pause after a failed background step; the engine itself backs off from a store that fails."""


class ProjectWorker:
    """Keeps one project in sync until it is closed."""

    def __init__(self, root: Path, index_path: Path, store: Store) -> None:
        self.root = root
        self.store = store
        self._engine = SyncEngine(root, index_path, store)
        self._thread = Pool(f"project-{root.name}", 1)
        self._sleeper = Pool(f"watch-{root.name}", 1)
        self._opened = asyncio.Event()
        self._closing = asyncio.Event()
        self._closed = asyncio.Event()
        self._news = asyncio.Event()
        self._seals = 0
        self._progress: tuple[int, int] = (0, 0)
        self.status: SyncStatus = self._engine.status()
        self.in_sync_ns = 0
        """When everything was in the store last; 0 before the first time."""
        self.problem = ""

    async def run(self) -> None:
        """Watch, read and upload in the background until ``close``."""
        try:
            if not await self._background(self._engine.open):
                return
            self._opened.set()
            while not self._closing.is_set():
                left = await self._background(self._engine.step)
                if not left and not self._closing.is_set():
                    await self._sleeper.run(self._engine.wait, NAP_S)
        finally:
            self._opened.set()
            await asyncio.shield(self._shut())

    async def seal(
        self, spec: RunSpec, *, strict: bool, git_commit: str, accept_deletions: bool = False
    ) -> Sealed:
        """Barrier and snapshot: every write that finished before this call is in it."""
        await self._opened.wait()

        def work() -> Sealed:
            return self._engine.seal(
                spec,
                strict=strict,
                git_commit=git_commit,
                accept_deletions=accept_deletions,
                progress=self._note_progress,
            )

        self._seals += 1
        try:
            return await self.call(work)
        finally:
            self._seals -= 1
            self._progress = (0, 0)
            await self._refresh()

    async def call(self, work: Callable[[], _Result]) -> _Result:
        """Run something on the project's thread."""
        return await self._thread.run(work)

    @property
    def progress(self) -> tuple[int, int]:
        """Bytes done and in all of the seal under way; zeros when there is none."""
        return self._progress

    async def changed(self, timeout_s: float) -> None:
        """Return when the status may have changed, at the latest after the timeout."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._news.wait()
        except TimeoutError:
            return

    async def close(self) -> None:
        """Stop and release everything; returns when the engine is closed. A seal under way is finished."""
        self._closing.set()
        if not self._seals and not self._closed.is_set():
            # Nobody waits for what it may be sending: a store that is silent must not hold the end up.
            await self._sleeper.run(self.store.close)
        await self._closed.wait()

    def _note_progress(self, done: int, total: int) -> None:
        self._progress = (done, total)

    async def _background(self, work: Callable[[], object]) -> bool:
        """Do one step; a failure is shown in the status and tried again later."""
        try:
            result = await self.call(work)
            self.problem = ""
        except PollinatorError as error:
            if error.message != self.problem:
                _log.warning("%s: %s", self.root, error.message)
            self.problem = f"{error.message}{f' ({error.hint})' if error.hint else ''}"
            await self._pause(RETRY_S)
            result = True
        await self._refresh()
        return result is None or bool(result)

    async def _refresh(self) -> None:
        status = await self.call(self._engine.status)
        if status.state == ProjectState.PROJECT_STATE_IN_SYNC:
            self.in_sync_ns = time.time_ns()
        if status != self.status:
            self.status = status
            self._news.set()
            self._news = asyncio.Event()

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
