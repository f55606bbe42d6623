"""What goes into the store: chunks it lacks, packs of them, snapshots; and what the index remembers of that.

The order is the only transaction: packs are acknowledged, then a snapshot that needs them is put. Which files
to read again after a failure is the engine's business.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from pathlib import Path

from pollinator.chunks.digest import digest_of
from pollinator.chunks.store import Store
from pollinator.chunks.upload import Uploader
from pollinator.daemon.index import Index, Known, TreeRecord
from pollinator.daemon.sync.sealed import Counters
from pollinator.v1.tree_pb2 import Snapshot, SnapshotRef
from pollinator.wire.errors import PollinatorError

QUIET_S = 1.0
"""A pack that is not full is sent after so long without another chunk for it."""
BACK_OFF_S = 30.0
UNLISTED_PACKS = 64
UNLISTED_CHUNKS = 4096

_log = logging.getLogger(__name__)


class Outbox:
    """The way of one project into its store. Belongs to the engine's thread.

    Attributes:
        problem: why nothing gets into the store at present; empty when all is well.

    Raises:
        PollinatorError: the index cannot be used.
    """

    def __init__(
        self,
        index_path: Path,
        store: Store,
        monotonic: Callable[[], float],
        on_sent: Callable[[int], None] | None = None,
    ) -> None:
        self._store = store
        self._monotonic = monotonic
        self._index = Index(index_path, store.identity)
        self._uploader = Uploader(store, on_stored=self._index.save_pack, on_sent=on_sent)
        self._fed_at = monotonic()
        self._retry_at = 0.0
        self._failures = 0
        self._puts_before = 0
        self.problem = ""

    def close(self) -> None:
        """Release everything; what is not acknowledged yet is forgotten."""
        self._uploader.close()
        self._index.close()

    def take_files(self) -> dict[bytes, Known]:
        """Files as the index knows them, once, for the first look at the disk."""
        return self._index.files()

    @property
    def trees(self) -> Mapping[str, TreeRecord]:
        """What the trees were when they were sealed last."""
        return self._index.trees

    @property
    def unsent_bytes(self) -> int:
        """Bytes that are on their way into the store."""
        return self._uploader.unsent_bytes

    @property
    def on_the_way_bytes(self) -> int:
        """The same without what has arrived and was not taken in yet. Another thread may ask."""
        return self._uploader.on_the_way_bytes

    @property
    def resting(self) -> bool:
        """The store failed, and it is too soon to try again."""
        return self._monotonic() < self._retry_at

    def counters(self) -> Counters:
        """Requests made, chunks and bytes that the store acknowledged."""
        return Counters(self._store.requests, self._uploader.chunks, self._uploader.bytes_sent)

    def has(self, digest: bytes) -> bool:
        """The store acknowledged a chunk."""
        return digest in self._index.stored

    def sink(self, digest: bytes, data: bytes) -> None:
        """Take a chunk or node, if the store lacks it."""
        if digest not in self._index.stored:
            self._fed_at = self._monotonic()
            self._uploader.add(digest, data)

    def save(self, changed: Mapping[bytes, Known], gone: set[bytes]) -> None:
        """Remember what was read and what is gone."""
        self._index.save_files(changed, gone)

    def work(self) -> None:
        """Send a pack that waited long enough, and take in what the store acknowledged."""
        if self._uploader.open_bytes and self._monotonic() - self._fed_at >= QUIET_S:
            self._uploader.send()
        self._uploader.reap()
        self._list_packs()
        if self._uploader.puts > self._puts_before or not self._uploader.unsent_bytes:
            self._failures, self.problem = 0, ""

    def publish(self, snapshot: Snapshot, trees: Mapping[str, TreeRecord]) -> SnapshotRef:
        """Put a snapshot whose nodes and chunks were all given to ``sink``, unless it is there already."""
        digest = digest_of(snapshot.SerializeToString(deterministic=True))
        known = self._index.snapshot(digest)
        if known is not None:
            if trees != self._index.trees:
                self._index.save_snapshot(known, trees)
            return known
        self._uploader.settle()
        self._list_packs()
        rows = [self._index.unlisted[key] for key in sorted(self._index.unlisted)]
        ref = self._uploader.publish(snapshot, rows, self._index.index_keys)
        self._index.save_snapshot(ref, trees)
        self._failures, self.problem = 0, ""
        return ref

    def discard(self) -> None:
        """Forget what is not acknowledged: its chunks and nodes must be given again."""
        self._uploader.discard()

    def note_failure(self, error: PollinatorError) -> None:
        """Rest a while, longer each time until the store takes something again."""
        self._failures += 1
        self._puts_before = self._uploader.puts
        self._retry_at = self._monotonic() + min(BACK_OFF_S, 0.5 * 2**self._failures)
        self.problem = f"{error.message} ({error.hint})" if error.hint else error.message

    def seems_lost(self) -> bool:
        """Ask the store for one of the objects that the index knows; True when it is gone."""
        some = self._index.keys(1)
        try:
            return bool(some and self._store.missing(list(some)))
        except PollinatorError as error:
            _log.info("cannot see what %s holds: %s", self._store.identity, error.message)
            return False

    def find_lost(self) -> bool:
        """Ask the store whether it still has what the index says; True when something is gone."""
        lost = self._index.keys()
        try:
            lost.difference_update(self._store.keys() if lost else ())
        except PollinatorError as error:
            # Credentials that may put and get objects need not be good for listing them.
            _log.info("cannot see what %s holds: %s", self._store.identity, error.message)
            return False
        if lost:
            _log.warning("%s has lost %d objects; they are stored again", self._store.identity, len(lost))
            self._index.forget(lost)
        return bool(lost)

    def _list_packs(self) -> None:
        rows = list(self._index.unlisted.values())
        if len(rows) > UNLISTED_PACKS or sum(len(row.entries) for row in rows) > UNLISTED_CHUNKS:
            self._index.save_listing(self._uploader.write_index(rows), rows)
