"""A developer's folder, kept in a store by a sync engine of its own, and what others read there."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from pollinator.chunks.layout import lay_out
from pollinator.chunks.read import SnapshotReader
from pollinator.chunks.store import Store
from pollinator.daemon.sync.engine import SyncEngine
from pollinator.daemon.sync.sealed import Sealed
from pollinator.v1.project_pb2 import ProjectState
from pollinator.v1.spec_pb2 import RunSpec
from pollinator.v1.tree_pb2 import SnapshotRef
from support.sandbox import wait_until
from support.storing import listed


class Desk:
    """The folder and its engine. Nothing happens in the background but what ``settle`` does."""

    def __init__(self, folder: Path, store: Store) -> None:
        self.src, self.data = folder / "cfs" / "src", folder / "cfs" / "data"
        for tree in (self.src, self.data):
            tree.mkdir(parents=True)
        self.engine = SyncEngine(folder, folder / "index.db", store)

    def seal(self) -> Sealed:
        """Barrier and snapshot."""
        return self.engine.seal(RunSpec(project="demo"))

    def settle(self) -> None:
        """Do what the daemon does in the background until everything is in the store."""

        def stepped() -> bool:
            self.engine.step()
            self.engine.wait(0.05)
            return self.engine.status().state == ProjectState.PROJECT_STATE_IN_SYNC

        wait_until(stepped, "all is in the store")

    def listing(self) -> dict[str, dict[bytes, tuple[str, int, bytes]]]:
        """What is on disk now."""
        return {"src": listed(self.src), "data": listed(self.data)}


@contextmanager
def desk_at(folder: Path, store: Store) -> Generator[Desk]:
    """A desk; its engine ends with it."""
    desk = Desk(folder, store)
    try:
        yield desk
    finally:
        desk.engine.close()


def read_back(store: Store, ref: SnapshotRef, target: Path) -> dict[str, dict[bytes, tuple[str, int, bytes]]]:
    """Lay a snapshot out as an executor does, and list what lies there."""
    reader = SnapshotReader(store)
    snapshot = reader.open(ref)
    for name, tree in (("src", snapshot.src), ("data", snapshot.data)):
        (target / name).mkdir(parents=True)
        lay_out(reader, tree, target / name)
    return {name: listed(target / name) for name in ("src", "data")}
