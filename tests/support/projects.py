"""A project that a sync engine looks after, with the system's own watcher and a store in memory."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pollinator.chunks.store import Store
from pollinator.daemon.sync.engine import SyncEngine
from pollinator.daemon.sync.lookout import WatchOpener
from pollinator.daemon.sync.sealed import Sealed, SyncStatus
from pollinator.daemon.watch.choose import open_watch
from pollinator.v1.project_pb2 import ProjectState
from pollinator.v1.spec_pb2 import RunSpec
from support.storing import MemoryStore
from support.syncing import Listing, on_disk, read_back

SPEC = RunSpec(project="demo", command="true")


class Project:
    """Folders ``src`` and ``data``, and an engine that may be closed and begun again."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "project"
        self.cfs = self.root / "cfs"
        self.src = self.cfs / "src"
        self.data = self.cfs / "data"
        self.index = folder / "index.db"
        self.store: Store = MemoryStore()
        self.watch: WatchOpener = open_watch
        self.clock_ns: Callable[[], int] | None = None
        self._engine: SyncEngine | None = None
        for path in (self.src, self.data, self.cfs / "result"):
            path.mkdir(parents=True)

    @property
    def engine(self) -> SyncEngine:
        """The engine; made when it is first asked for."""
        if self._engine is None:
            clock_ns = self.clock_ns or time.time_ns
            self._engine = SyncEngine(self.root, self.index, self.store, watch=self.watch, clock_ns=clock_ns)
        return self._engine

    def seal(
        self, *, strict: bool = False, accept_deletions: bool = False, external_links: bool = False
    ) -> Sealed:
        """Seal it."""
        spec = RunSpec()
        spec.CopyFrom(SPEC)
        spec.allow_external_links = external_links
        return self.engine.seal(spec, strict=strict, accept_deletions=accept_deletions)

    def sealed(self) -> dict[str, Listing]:
        """Seal it, and read that back from the store alone."""
        return read_back(self.store, self.seal().ref)

    @property
    def disk(self) -> dict[str, Listing]:
        """What is there, ignored or not."""
        return on_disk(self.root)

    def settle(self) -> SyncStatus:
        """Let the background do its work until nothing is left to do."""
        while True:
            if not self.engine.step() and not self.engine.status().backlog.bytes:
                return self.engine.status()

    def settle_until_problem(self) -> str:
        """Let the background work until something is wrong; returns what."""
        while not self.engine.status().problem:
            self.engine.step()
        return self.engine.status().problem

    def restart(self) -> None:
        """As when the daemon ends and starts again."""
        self.close()
        self._engine = None

    def close(self) -> None:
        """Release everything."""
        if self._engine is not None:
            self._engine.close()

    def write(self, path: str, data: bytes | str = b"", mode: int | None = None) -> Path:
        """Write a file below cfs; folders above it are made."""
        file = self.cfs / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data.encode() if isinstance(data, str) else data)
        if mode is not None:
            file.chmod(mode)
        return file


def put(folder: Path, name: bytes, data: bytes = b"") -> None:
    """Write a file whose name may be no text."""
    descriptor = os.open(os.path.join(os.fsencode(folder), name), os.O_WRONLY | os.O_CREAT, 0o644)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)


HALTED = ProjectState.PROJECT_STATE_HALTED
IN_SYNC = ProjectState.PROJECT_STATE_IN_SYNC
SYNCING = ProjectState.PROJECT_STATE_SYNCING
SCANNING = ProjectState.PROJECT_STATE_SCANNING


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    """A new project."""
    made = Project(tmp_path)
    yield made
    made.close()
