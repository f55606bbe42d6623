"""Which objects of a store are needed, found from its roots as a reader would find them.

Every node is read once, whatever the number of snapshots it is in. Where a chunk is, the rows of each
snapshot and of its index objects say; a pack is needed if any of them place a needed chunk there.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from google.protobuf.message import DecodeError

from pollinator.chunks.digest import EMPTY
from pollinator.chunks.garbage.roots import Report
from pollinator.chunks.read import SnapshotReader, read_footer
from pollinator.chunks.store import Listed, Store
from pollinator.v1.keeping_pb2 import Moves
from pollinator.v1.tree_pb2 import ChunkList, Directory, FileNode, PackIndex, Snapshot
from pollinator.wire.errors import Corrupt, NotFound


@dataclass(slots=True)
class Marked:
    """What is needed."""

    snapshots: set[str] = field(default_factory=set[str])
    indexes: set[str] = field(default_factory=set[str])
    moves: set[str] = field(default_factory=set[str])
    packs: dict[str, int] = field(default_factory=dict[str, int])
    """Packs, and how many of their stored bytes are needed."""
    chunks: set[bytes] = field(default_factory=set[bytes])
    broken: dict[str, str] = field(default_factory=dict[str, str])
    """Roots that cannot be read, and why; whatever they may need is kept."""

    @property
    def objects(self) -> set[str]:
        """Keys of all that is needed."""
        return {*self.snapshots, *self.indexes, *self.moves, *self.packs}


class Marker:
    """Marks what some snapshots of one store need. Belongs to one thread."""

    def __init__(self, store: Store, listed: Mapping[str, Listed], moves: Mapping[str, Moves]) -> None:
        self._store = store
        self._listed = listed
        self._moves = moves
        self._reader = SnapshotReader(store)
        self._walked: set[bytes] = set()
        self._walked_now: list[bytes] = []
        for each in moves.values():
            for row in each.packs:
                self._read_from(row)
        self._rows: dict[str, bytes] = {}
        """Rows of all packs that a root names, encoded: parsed they would take far more memory."""
        self._index_packs: dict[str, list[str]] = {}
        self._found = Marked()

    def mark(self, roots: Iterable[str], report: Report) -> Marked:
        """Find what these snapshots need.

        Raises:
            PollinatorError: the store does not answer. What is damaged or missing is in ``broken``.
        """
        todo = sorted(roots)
        for at, key in enumerate(todo):
            report("looking at snapshots", at, len(todo))
            self._mark_root(key)
        self._place()
        report("looking at snapshots", len(todo), len(todo))
        return self._found

    def _mark_root(self, key: str) -> None:
        self._found.snapshots.add(key)
        packs: list[str] = []
        try:
            snapshot = self._open(key, packs)
            self._walked_now.clear()
            for tree in (snapshot.src, snapshot.data, snapshot.result):
                if tree.digest:
                    self._walk(tree.digest)
        except (NotFound, Corrupt) as error:
            self._found.broken[key] = error.message
            # What is below these was not seen, and the next root must not take it for seen.
            self._walked.difference_update(self._walked_now)
            # What cannot be read may have needed any of these.
            for pack in packs:
                self._found.packs.setdefault(pack, 0)

    def _open(self, key: str, packs: list[str]) -> Snapshot:
        if key not in self._listed:
            raise NotFound(f"the store has no snapshot {key}", reason="object_missing")
        footer = read_footer(self._store, key, self._listed[key].size)
        own = PackIndex(key=key, entries=footer.entries)
        packs += [self._learn(row) for row in (own, *footer.packs)]
        for index in footer.indexes:
            self._found.indexes.add(index)
            packs += self._index(index)
        return footer.snapshot

    def _index(self, key: str) -> list[str]:
        if key not in self._index_packs:
            if key not in self._listed:
                raise NotFound(f"the store has no index {key}", reason="object_missing")
            rows = read_footer(self._store, key, self._listed[key].size).packs
            self._index_packs[key] = [self._learn(row) for row in rows]
        return self._index_packs[key]

    def _learn(self, row: PackIndex) -> str:
        if row.key not in self._rows:
            self._rows[row.key] = row.SerializeToString()
            self._read_from(row)
        return row.key

    def _read_from(self, row: PackIndex) -> None:
        if row.key in self._listed:
            self._reader.learn(row)

    def _walk(self, root: bytes) -> None:
        level = [root]
        while level:
            lists: list[bytes] = []
            level = list(self._nodes(level, lists))
            for data in self._fresh(lists):
                self._found.chunks.update(chunk.digest for chunk in _chunk_list(data).chunks)

    def _nodes(self, digests: Iterable[bytes], lists: list[bytes]) -> Iterator[bytes]:
        """Read these directories; gives those below, and adds lists of chunks."""
        for data in self._fresh(digests):
            node = _directory(data)
            yield from (part.digest for part in node.parts)
            yield from (below.digest for below in node.directories)
            for file in node.files:
                self._file(file, lists)

    def _file(self, file: FileNode, lists: list[bytes]) -> None:
        self._found.chunks.update(chunk.digest for chunk in file.chunks)
        lists += file.chunk_lists

    def _fresh(self, digests: Iterable[bytes]) -> Iterator[bytes]:
        """The bytes of each node that was not read yet."""
        wanted = [digest for digest in dict.fromkeys(digests) if digest not in self._walked]
        for digest, data in self._reader.fetch(wanted):
            self._found.chunks.add(digest)
            yield bytes(data)
            # Only now: one that could not be read is to be missed by every root.
            self._walked.add(digest)
            self._walked_now.append(digest)

    def _place(self) -> None:
        """Find the packs that hold what is needed."""
        moved = {key for moves in self._moves.values() for key in moves.left}
        displaced: set[bytes] = set()
        self._found.chunks.discard(EMPTY)
        for key, body in self._rows.items():
            row = PackIndex.FromString(body)
            needed = self._needed(row)
            if key in moved or key not in self._listed:
                displaced.update(digest for digest, _ in needed)
            elif needed:
                self._found.packs[key] = sum(size for _, size in needed)
        left = displaced - self._place_moved(displaced, moved)
        # Nowhere else, or only where it is about to be moved from.
        for key, body in self._rows.items():
            if left and key in self._listed and key in moved:
                self._place_row(PackIndex.FromString(body), left)

    def _place_moved(self, displaced: set[bytes], moved: set[str]) -> set[bytes]:
        found: set[bytes] = set()
        for last in (False, True):
            for key, moves in self._moves.items():
                for row in moves.packs:
                    if row.key not in self._listed or (row.key in moved) is not last:
                        continue
                    hit = self._place_row(row, displaced - found if last else displaced)
                    found |= hit
                    if hit:
                        self._found.moves.add(key)
        return found

    def _place_row(self, row: PackIndex, wanted: set[bytes]) -> set[bytes]:
        hit = {entry.digest: entry.stored_size for entry in row.entries if entry.digest in wanted}
        if hit:
            self._found.packs[row.key] = max(self._found.packs.get(row.key, 0), sum(hit.values()))
        return set(hit)

    def _needed(self, row: PackIndex) -> list[tuple[bytes, int]]:
        chunks = self._found.chunks
        return [(entry.digest, entry.stored_size) for entry in row.entries if entry.digest in chunks]


def _directory(data: bytes) -> Directory:
    try:
        return Directory.FromString(data)
    except DecodeError as error:
        raise Corrupt(f"a node of a tree cannot be read: {error}", reason="bad_tree") from error


def _chunk_list(data: bytes) -> ChunkList:
    try:
        return ChunkList.FromString(data)
    except DecodeError as error:
        raise Corrupt(f"a list of chunks cannot be read: {error}", reason="bad_tree") from error
