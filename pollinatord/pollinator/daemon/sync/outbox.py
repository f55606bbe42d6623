"""What goes into the store: chunks it lacks, packs of them, snapshots; and what the index remembers of that.

The order is the only transaction: packs are acknowledged, then a snapshot that needs them is put. Which files
to read again after a failure is the engine's business.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Collection, Container, Iterator, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path

from pollinator.chunks.digest import digest_of
from pollinator.chunks.keeping import all_moves
from pollinator.chunks.store import Store
from pollinator.chunks.upload import Uploader
from pollinator.daemon.index import Index, TreeRecord
from pollinator.daemon.known import File
from pollinator.daemon.sync.held import rows_held
from pollinator.daemon.sync.sealed import Counters
from pollinator.daemon.sync.view import VIEW_S, View, uptime
from pollinator.v1.tree_pb2 import PackIndex, Snapshot, SnapshotRef
from pollinator.wire.errors import PollinatorError

QUIET_S = 0.05
"""A pack that is not full is sent after so long without another chunk for it: a burst goes into few."""
PATIENCE_S = 1.0
"""It is sent after so long at the latest, unless files are being read for it all the time."""
LARGE_REST = 4 * 1024 * 1024
"""So much is sent at once when nothing is left to read, and not left to the pack of a snapshot."""
BACK_OFF_S = 30.0
UNLISTED_PACKS = 64
UNLISTED_CHUNKS = 4096
"""Every snapshot carries what no list has. What is more than this gets a list of its own."""
LIST_QUIET_S = 5.0
"""It is sent so long after the last chunk or snapshot: on a slow line it would hold up a run that starts."""
TOO_MANY = 4
"""With so many times the two numbers above, the list is sent at once."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Claims:
    """What a project needs in its store, whatever its runs need."""

    head: SnapshotRef | None
    """The last that was sealed."""
    packs: tuple[str, ...]
    """Objects that no snapshot names yet, sorted."""
    view_s: int
    """It never goes by a view of the condemned lists that is older; 0 when it may not see them."""


class Outbox:
    """The way of one project into its store. Belongs to the engine's thread.

    Attributes:
        problem: why nothing gets into the store at present; empty when all is well.
        lost: something that was stored is gone, or will be: chunks and nodes must be given again.

    Raises:
        PollinatorError: the index cannot be used.
    """

    def __init__(
        self,
        index_path: Path,
        store: Store,
        monotonic: Callable[[], float],
        clock: Callable[[], float] = uptime,
        on_sent: Callable[[int], None] | None = None,
        wake: Callable[[], None] = lambda: None,
        view_s: float = VIEW_S,
    ) -> None:
        self._store = store
        self._monotonic = monotonic
        self._index = Index(index_path, store.identity)
        self._new = not self._index.keys(1)
        self._abandoned: set[str] = set()
        self._view = View(store, clock, view_s)
        self._avoid = _Any(self._view.condemned, self._abandoned)
        self._uploader = Uploader(
            store, on_stored=self._stored, on_sent=on_sent, on_arrival=wake, avoid=self._avoid
        )
        self._unnamed: set[str] = set()
        self._look_again_at = 0.0
        self._opened_at = self._used_at = monotonic()
        self._listing: _Listing | None = None
        self._list_again_at = 0.0
        self._retry_at = 0.0
        self._failures = 0
        self._puts_before = 0
        self.problem = ""
        self.lost = False

    def close(self) -> None:
        """Release everything; what is not acknowledged yet is forgotten."""
        self._uploader.close()
        self._index.close()

    def take_files(self) -> dict[bytes, File]:
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

    def holds(self, digest: bytes) -> bool:
        """A chunk is in the store, or on its way there."""
        self.look_if_needed()
        return digest in self._index.stored or self._uploader.pending(digest)

    def sink(self, digest: bytes, data: bytes | memoryview) -> None:
        """Take a chunk or node, if the store lacks it."""
        self.look_if_needed()
        if digest not in self._index.stored:
            self._used_at = self._monotonic()
            if not self._uploader.open_bytes:
                self._opened_at = self._used_at
            self._uploader.add(digest, data)
            if not self._uploader.open_bytes:
                # A full pack was sent: there may be many of them.
                self._list_packs()

    def save(self, changed: Mapping[bytes, File], gone: set[bytes]) -> None:
        """Remember what was read and what is gone."""
        if changed or gone:
            self._index.save_files(changed, gone)

    def rest_s(self) -> float:
        """When there is something to do here, if nothing is given or acknowledged before."""
        now = self._monotonic()
        if self.resting:
            return self._retry_at - now
        return max(0.0, min(self._pack_due(), self._list_due()) - now)

    def work(self, more: bool = False) -> None:
        """Send a pack that waited long enough, and take in what the store acknowledged.

        Args:
            more: files are being read whose chunks it may take.
        """
        if not more and self._pack_due() <= self._monotonic():
            self._uploader.send()
        self._uploader.reap()
        self._list_packs()
        if self._uploader.puts > self._puts_before or not self._uploader.unsent_bytes:
            self._failures, self.problem = 0, ""

    def publish(self, snapshot: Snapshot, trees: Mapping[str, TreeRecord]) -> SnapshotRef | None:
        """Put a snapshot whose nodes and chunks were all given to ``sink``, unless it is there already.

        None when something it needs is lost: then nothing was said, and all must be given again.
        """
        self.look_if_needed()
        if self.lost:
            return None
        digest = digest_of(snapshot.SerializeToString(deterministic=True))
        known = self._index.snapshot(digest)
        if known is not None:
            if trees != self._index.trees or known != self._index.head:
                self._index.save_snapshot(known, trees)
            return known
        self._uploader.settle(LARGE_REST)
        self._take_listing()
        rows = [self._index.unlisted[key] for key in sorted(self._index.unlisted)]
        ref = self._uploader.publish(snapshot, rows, self._index.index_keys)
        self._index.save_snapshot(ref, trees)
        self._used_at = self._monotonic()
        self._failures, self.problem = 0, ""
        # A machine that slept in the middle of it cannot know what was removed meanwhile.
        self.look_if_needed()
        if self.lost:
            return None
        self._unnamed.clear()
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

    def probe(self) -> None:
        """One object of earlier days stands for all, so that the store is not asked much."""
        some = self._index.keys(1)
        try:
            if some and self._store.missing(list(some)):
                self.look(everything=True)
        except PollinatorError as error:
            _log.info("cannot see what %s holds: %s", self._store.identity, error.message)

    def claims(self) -> Claims:
        """What must stay in the store for this project's sake."""
        self.look_if_needed()
        return Claims(
            self._index.head,
            tuple(sorted(self._unnamed)),
            0 if self._view.blind else math.ceil(self._view.view_s),
        )

    def look_if_needed(self) -> None:
        """Nothing is put, or said to be stored, by a view that is too old."""
        if self._new or self._view.too_old:
            self.look()

    def look_now_and_then(self) -> None:
        """The same for the background, so that a seal need not; without an answer, again a little later."""
        if not self._view.due or self._monotonic() < self._look_again_at:
            return
        self._look_again_at = self._monotonic() + BACK_OFF_S
        try:
            self.look()
        except PollinatorError:
            if self._view.too_old:
                raise

    def look(self, *, everything: bool = False) -> None:
        """Learn what is to be removed; after a long time without a look, also what is gone already."""
        everything = everything or self._view.worthless
        if everything:
            self._settle()
        self._view.look()
        known = self._index.keys()
        gone = known & self._view.condemned
        if everything and known and not self._view.blind:
            gone |= known.difference(self._store.keys())
        if gone:
            _log.info("%s loses %d objects that were known here", self._store.identity, len(gone))
            for row in list(self._moved(gone)):
                self._stored(row)
            self.forget(gone)
        if self._new:
            self._adopt()

    def _settle(self) -> None:
        """Take in all that was put, for it may be gone again as what was put before."""
        self._uploader.settle()
        if self._listing is not None:
            self._uploader.wait_for(self._listing.written)
            self._take_listing()

    def _adopt(self) -> None:
        """With a new index: what is in the store already need not be sent."""
        rows = rows_held(self._store, self._view.condemned)
        self._new = False
        for row in rows:
            self._stored(row)
        if rows:
            _log.info("%s holds %d packs, which are not sent again", self._store.identity, len(rows))

    def forget(self, gone: Collection[str]) -> None:
        """These objects are not in the store, or not to be used any more."""
        self._index.forget(gone)
        self._unnamed.difference_update(gone)
        # It may lead readers to them.
        self._listing = None
        self.lost = True

    def abandon(self, damaged: Collection[str]) -> None:
        """These objects are to be removed: what was in them is stored again, and under other names.

        The chunks of a pack, put together again, would make the same pack.
        """
        self._abandoned.update(damaged)
        self.forget(damaged)

    def sample(self, limit: int) -> list[str]:
        """Objects to which the next snapshot leads its readers, those that it names itself first."""
        named = (*self._index.unlisted, *self._index.index_keys, *sorted(self._index.keys(limit)))
        return list(dict.fromkeys(named))[:limit]

    def rows(self) -> list[PackIndex]:
        """What every pack holds that the store acknowledged."""
        return self._index.rows()

    def _moved(self, gone: Collection[str]) -> Iterator[PackIndex]:
        """Packs to which somebody has copied what was needed of those that go."""
        if self._view.blind:
            return
        moves = [each for each in all_moves(self._store).values() if not set(each.left).isdisjoint(gone)]
        rows = {row.key: row for each in moves for row in each.packs}
        absent = {*self._view.condemned, *self._store.missing(list(rows))}
        yield from (row for key, row in rows.items() if key not in absent)

    def _stored(self, row: PackIndex) -> None:
        self._index.save_pack(row)
        self._unnamed.add(row.key)

    def _pack_due(self) -> float:
        """When the open pack is sent, full or not."""
        if not self._uploader.open_bytes:
            return math.inf
        if self._uploader.open_bytes > LARGE_REST:
            return -math.inf
        return min(self._used_at + QUIET_S, self._opened_at + PATIENCE_S)

    def _list_due(self) -> float:
        """When to write a list of packs, as it stands."""
        if self._listing is not None or not self._unlisted_exceed(1):
            return math.inf
        if self._unlisted_exceed(TOO_MANY):
            return self._list_again_at
        if self._uploader.unsent_bytes:
            return math.inf
        return max(self._list_again_at, self._used_at + LIST_QUIET_S)

    def _unlisted_exceed(self, times: int) -> bool:
        rows = self._index.unlisted.values()
        return len(rows) > times * UNLISTED_PACKS or (
            sum(len(row.entries) for row in rows) > times * UNLISTED_CHUNKS
        )

    def _list_packs(self) -> None:
        """Take in the list that was written, and begin the next one if it is due."""
        self._take_listing()
        if self._list_due() <= self._monotonic():
            rows = tuple(self._index.unlisted.values())
            self._listing = _Listing(rows, self._uploader.write_index(rows))

    def _take_listing(self) -> None:
        listing = self._listing
        if listing is None or not listing.written.done():
            return
        self._listing = None
        try:
            key = listing.written.result()
        except PollinatorError as error:
            # Nothing is lost: the next snapshots say where their chunks are.
            _log.info("cannot list packs in %s: %s", self._store.identity, error.message)
            self._list_again_at = self._monotonic() + BACK_OFF_S
            return
        if key not in self._avoid:
            self._index.save_listing(key, listing.rows)
            self._unnamed.add(key)


@dataclass(frozen=True, slots=True)
class _Listing:
    """A list of packs under way. Nobody waits for it."""

    rows: tuple[PackIndex, ...]
    written: Future[str]


class _Any(Container[str]):
    """What is in any of some sets, as they are now."""

    def __init__(self, *sets: set[str]) -> None:
        self._sets = sets

    def __contains__(self, key: object) -> bool:
        return any(key in each for each in self._sets)
