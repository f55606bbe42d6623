"""The store of an executor that cannot reach that of a project: what it lacks of a snapshot is put there.

It is a store like any other, written as the sync engine writes its own: what it has is remembered across
restarts, chunks that it lacks go in packs of its own, and a snapshot pack publishes them. So the snapshot has
the digest that it has at home and another key, and after a small change it is one PUT.

What is remembered is only a belief. Each time some of it is asked for while the rest goes on, all of it after
a restart and when an executor could not find something; what is not there any more is sent again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from pollinator.chunks.blobs import MAX_KEYS, PeerStore
from pollinator.chunks.digest import EMPTY
from pollinator.chunks.read import SnapshotReader
from pollinator.chunks.walk import nodes_below
from pollinator.daemon.sync.outbox import Outbox
from pollinator.v1.tree_pb2 import Snapshot, SnapshotRef
from pollinator.wire.errors import PollinatorError, Unavailable
from pollinator.wire.faults import crash_point

TRIES = 3
"""So often a snapshot is put together anew when what it needs was lost meanwhile."""


class FarStore:
    """One project's part of the store of one executor. Belongs to one thread.

    Args:
        index_path: where what the store holds is remembered.
        store: the executor's own, closed with this.

    Attributes:
        store: the executor's own.
    """

    def __init__(self, index_path: Path, store: PeerStore) -> None:
        self.store = store
        self._index_path = index_path
        self._opened: Outbox | None = None
        self._asking = ThreadPoolExecutor(1, thread_name_prefix="far")
        self._complete: set[bytes] = set()
        """Nodes that are there with all below them."""
        self._given = self._total = 0
        self._doubted = False

    @property
    def progress(self) -> tuple[int, int]:
        """Bytes done and in all of what is being sent. Another thread may ask."""
        outbox = self._opened
        return max(0, self._given - (outbox.on_the_way_bytes if outbox else 0)), self._total

    def send(self, reader: SnapshotReader, ref: SnapshotRef, go_on: Callable[[], object]) -> SnapshotRef:
        """Have a snapshot there with all it needs; returns where.

        Args:
            reader: of the store at home.
            ref: where it is there.
            go_on: called all the time; what it raises ends the work, of which nothing is lost.

        Raises:
            PollinatorError: one of the stores does not answer, or something is missing at home.
        """
        self._given = self._total = 0
        snapshot = reader.open(ref)
        self._outbox.look_if_needed()
        if self._doubted:
            self._outbox.look(everything=True)
            self._doubted = False
        asked = self._asking.submit(self.store.missing, self._outbox.sample(MAX_KEYS))
        try:
            for _ in range(TRIES):
                if self._outbox.lost:
                    self._outbox.lost = False
                    self._complete.clear()
                found = self._publish(reader, snapshot, go_on)
                if gone := asked.result():
                    self._outbox.forget(gone)
                    asked = self._asking.submit(list[str])
                if found is not None and not self._outbox.lost:
                    return found
                go_on()
        except PollinatorError:
            self._outbox.discard()
            raise
        raise Unavailable(f"{self.store.identity} loses what is put there", reason="store_unavailable")

    def doubt(self) -> None:
        """A run did not find there what it needs: the next one may not go by what is remembered."""
        self._doubted = True

    def rest_s(self) -> float:
        """When there is something to write down there for which nobody waits."""
        return self._outbox.rest_s()

    def work(self) -> None:
        """Write it down."""
        self._outbox.work()

    def close(self) -> None:
        """Release everything; calls under way end."""
        self.store.close()
        self._asking.shutdown(wait=False, cancel_futures=True)
        if self._opened is not None:
            self._opened.close()
            self._opened = None

    @property
    def _outbox(self) -> Outbox:
        if self._opened is None:
            self._opened = Outbox(self._index_path, self.store, time.monotonic)
        return self._opened

    def _publish(
        self, reader: SnapshotReader, snapshot: Snapshot, go_on: Callable[[], object]
    ) -> SnapshotRef | None:
        walked: list[bytes] = []
        lacking = dict(self._lacking(reader, snapshot, walked))
        self._total += sum(lacking.values())
        for digest, data in reader.fetch(lacking):
            go_on()
            self._outbox.sink(digest, data)
            crash_point("after_bridged_chunk")
            self._given += len(data)
        found = self._outbox.publish(snapshot, {})
        if found is not None:
            self._complete.update(walked)
        return found

    def _lacking(
        self, reader: SnapshotReader, snapshot: Snapshot, walked: list[bytes]
    ) -> Iterator[tuple[bytes, int]]:
        """Chunks that are not there, and their sizes; nodes are sent on the way to them."""
        for node in nodes_below(reader, (snapshot.src.digest, snapshot.data.digest), self._complete):
            self._outbox.sink(node.digest, node.data)
            walked.append(node.digest)
            for chunk in node.chunks:
                if chunk.digest != EMPTY and not self._outbox.holds(chunk.digest):
                    yield chunk.digest, chunk.size
