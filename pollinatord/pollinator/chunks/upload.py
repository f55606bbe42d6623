"""Sending chunks to a store in packs, several at a time, in bounded memory.

What is stored already, and reading files again after a failure, are the caller's business.
"""

from __future__ import annotations

import importlib.metadata
import math
import threading
from collections.abc import Callable, Container, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass

from pollinator.chunks.digest import digest_of
from pollinator.chunks.keys import INDEX, PACK, SNAPSHOT
from pollinator.chunks.pack import PackBuilder
from pollinator.chunks.store import Store
from pollinator.v1.tree_pb2 import PackIndex, Snapshot, SnapshotRef
from pollinator.wire.faults import crash_point

PACK_BYTES = 16 * 1024 * 1024
WORKERS = 4
"""Puts at a time. Whoever is killed sends again what was under way: no more than these."""


@dataclass(frozen=True, slots=True)
class Sending:
    """A pack under way."""

    row: PackIndex
    body: memoryview
    size: int


class Uploader:
    """Packs chunks and puts them. Belongs to one thread; only the puts run on others.

    A chunk counts as stored only once ``on_stored`` was called for its pack, always on the owner's thread.
    A failed put is raised by the next call; its chunks then belong to nobody and must be added again.
    ``on_sent`` is told the bytes of each object that the store took, at once and on the thread that put it.
    ``on_arrival`` is called on any thread when a put has ended, so that the owner knows when to ``reap``.

    Attributes:
        chunks: number of chunks the store acknowledged.
        bytes_sent: bytes the store acknowledged, as stored.
        puts: packs and snapshots the store acknowledged.
    """

    def __init__(
        self,
        store: Store,
        *,
        on_stored: Callable[[PackIndex], None],
        on_sent: Callable[[int], None] | None = None,
        on_arrival: Callable[[], None] = lambda: None,
        workers: int = WORKERS,
        pack_bytes: int = PACK_BYTES,
        avoid: Container[str] = (),
    ) -> None:
        self._store = store
        self._on_stored = on_stored
        self._on_sent = on_sent
        self._on_arrival = on_arrival
        self._threads = ThreadPoolExecutor(workers, thread_name_prefix="upload")
        # Two more than workers, so that none waits for the next pack to be filled.
        self._limit = workers + 2
        self._pack_bytes = pack_bytes
        # Keys under which nothing may be written, for what is there is to be removed.
        self._avoid = avoid
        self._writer = f"pollinator {importlib.metadata.version('pollinatord')}"
        self._open: PackBuilder | None = None
        self._spare: list[bytearray] = []
        self._sending: dict[Future[None], Sending] = {}
        self._pending: set[bytes] = set()
        self._publishing = 0
        self._lock = threading.Lock()
        self._out_before = 0
        self.chunks = 0
        self.bytes_sent = 0
        self.puts = 0

    @property
    def open_bytes(self) -> int:
        """Bytes in the pack that was not sent yet; 0 when it is empty."""
        return self._open.size if self._open is not None else 0

    @property
    def unsent_bytes(self) -> int:
        """Bytes that were added and that the store has not acknowledged."""
        return self.open_bytes + sum(pack.size for pack in self._sending.values())

    @property
    def on_the_way_bytes(self) -> int:
        """The same without what has arrived and was not reaped yet. Another thread may ask."""
        sending = tuple(self._sending.items())
        packs = sum(pack.size for future, pack in sending if not future.done()) + self._publishing
        # Not exact: others may put objects into the same store meanwhile.
        out = min(max(0, self._store.sent.total - self._out_before), packs)
        return self.open_bytes + packs - out

    def pending(self, digest: bytes) -> bool:
        """The chunk was added and is not acknowledged yet."""
        return digest in self._pending

    def add(self, digest: bytes, data: bytes | memoryview) -> None:
        """Take a chunk that the store is not known to have; waits while too many packs are under way.

        Takes in acknowledgements as well: what is not taken in is sent again by whoever comes after a kill.
        """
        if self._sending:
            self.reap()
        if digest in self._pending:
            return
        self._pending.add(digest)
        if self._open is None:
            self._open = self._builder()
        self._open.add(digest, data)
        if self._open.size >= self._pack_bytes:
            self.send()

    def send(self) -> None:
        """Send the open pack now, without waiting for the acknowledgement."""
        if self._open is None:
            return
        if not self._sending:
            self._out_before = self._store.sent.total
        row, body = self._open.finish(PACK, avoid=self._avoid)
        self._open = None
        future = self._threads.submit(self._put, row.key, body)
        self._sending[future] = Sending(row, body, len(body))
        future.add_done_callback(lambda _: self._on_arrival())
        while len(self._sending) >= self._limit:
            wait(self._sending, return_when=FIRST_COMPLETED)
            self.reap()

    def reap(self) -> None:
        """Deliver acknowledgements that have come in; raises the first failure."""
        failure: BaseException | None = None
        for future in [each for each in self._sending if each.done()]:
            pack = self._sending.pop(future)
            self._pending.difference_update(entry.digest for entry in pack.row.entries)
            error = future.exception()
            self._reclaim(pack.body)
            if error is None:
                self._stored(pack.row, pack.size)
            else:
                failure = failure or error
        if not self._sending:
            # The next burst may be far away.
            self._spare.clear()
        if failure is not None:
            raise failure

    def flush(self) -> None:
        """Send the open pack and wait until everything is acknowledged."""
        self.send()
        self.settle()

    def settle(self, rest_bytes: float = math.inf) -> None:
        """Wait until all that was sent is acknowledged; the open pack stays open.

        Where it has to be waited for others, an open pack of more than ``rest_bytes`` is sent beside them.
        """
        if self._sending and self.open_bytes > rest_bytes:
            self.send()
        wait(self._sending)
        self.reap()

    def publish(self, snapshot: Snapshot, rows: Sequence[PackIndex], indexes: Sequence[str]) -> SnapshotRef:
        """Publish a snapshot with one put, which carries all that is in the open pack.

        Args:
            snapshot: what to publish; all its chunks are stored or were added.
            rows: rows of stored packs that no index object lists. Looked at once all that was sent is
                acknowledged, so it may be a list that ``on_stored`` appends to.
            indexes: keys of index objects that list the rest.
        """
        self.settle()
        crash_point("before_snapshot_put")
        builder = self._open or self._builder()
        self._open = None
        row, body = builder.finish(
            SNAPSHOT, snapshot=snapshot, packs=rows, indexes=indexes, avoid=self._avoid
        )
        self._pending.clear()
        self._out_before = self._store.sent.total
        self._publishing = len(body)
        try:
            self._put_now(row.key, body)
        finally:
            self._publishing = 0
        crash_point("after_snapshot_put")
        self._stored(row, len(body))
        return SnapshotRef(digest=digest_of(snapshot.SerializeToString(deterministic=True)), key=row.key)

    def write_index(self, rows: Sequence[PackIndex]) -> Future[str]:
        """Store an index object that lists these packs, and do not wait; gives its key, or why it failed."""
        row, body = PackBuilder(self._writer).finish(INDEX, packs=rows, avoid=self._avoid)

        def write() -> str:
            self._put_now(row.key, body)
            return row.key

        future = self._threads.submit(write)
        future.add_done_callback(lambda _: self._on_arrival())
        return future

    def wait_for(self, written: Future[str]) -> None:
        """Wait until an index object is stored, or failed."""
        wait((written,))

    def discard(self) -> None:
        """Forget what was not acknowledged, after a failure: its chunks must be added again."""
        wait(self._sending)
        self._sending.clear()
        self._spare.clear()
        self._pending.clear()
        self._open = None

    def close(self) -> None:
        """Let the threads end; what was not acknowledged is forgotten."""
        self._threads.shutdown(wait=True, cancel_futures=True)

    def _builder(self) -> PackBuilder:
        return PackBuilder(self._writer, self._spare.pop() if self._spare else None)

    def _reclaim(self, body: memoryview) -> None:
        """Keep the memory of a pack that was sent for the next one."""
        buffer = body.obj
        # Whoever still reads it would read the next pack: that must be an error.
        body.release()
        if isinstance(buffer, bytearray):
            self._spare.append(buffer)

    def _stored(self, row: PackIndex, size: int) -> None:
        self.chunks += len(row.entries)
        self.bytes_sent += size
        self.puts += 1
        if row.entries:
            self._on_stored(row)

    def _put(self, key: str, body: memoryview) -> None:
        crash_point("before_pack_put")
        self._put_now(key, body)
        crash_point("after_pack_put")

    def _put_now(self, key: str, body: memoryview) -> None:
        self._store.put(key, body)
        with self._lock:
            self._out_before += len(body)
        if self._on_sent is not None:
            self._on_sent(len(body))
