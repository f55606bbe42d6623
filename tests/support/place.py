"""One machine of a test: its disk, and the engine that looks after a project on it."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from pollinator.daemon.sync.engine import SyncEngine
from support.syncing import CoarseStamps, LateWatch
from support.user import Disk


class Place:
    """A machine: a disk with a project on it, and the engine that looks after that."""

    def __init__(self, folder: Path, stamps: CoarseStamps, pack_bytes: int) -> None:
        self.folder = folder
        self.watch: LateWatch | None = None
        self.disk = Disk(folder / "project", stamps, lambda: self.watch)
        self.lives = 0
        self.pack_bytes = pack_bytes
        self.started: SyncEngine | None = None

    @property
    def index(self) -> Path:
        """Of this life."""
        return self.folder / f"index-{self.lives}.db"

    @property
    def engine(self) -> SyncEngine:
        """The engine that lives."""
        assert self.started is not None
        return self.started

    @contextmanager
    def all_announced(self) -> Generator[None]:
        """What a drain promises: all that was done before it."""
        if self.watch is not None:
            self.watch.complete = True
        yield
        if self.watch is not None:
            self.watch.complete = False
