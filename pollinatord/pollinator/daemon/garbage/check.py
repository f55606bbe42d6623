"""Looking whether all is in a store that somebody needs, and whether it is what it should be.

Each snapshot is read as a reader would: by its own rows and index objects. What is missing or damaged is
named with the snapshots, runs and files that it hits. Putting it right is the business of who has the files.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from google.protobuf.message import DecodeError

from pollinator.chunks.garbage.roots import Report, Roots, said_roots
from pollinator.chunks.keeping import all_moves
from pollinator.chunks.pack import decode
from pollinator.chunks.read import SnapshotReader, read_footer
from pollinator.chunks.store import Listed, Store
from pollinator.v1.project_pb2 import Checked, Flaw
from pollinator.v1.tree_pb2 import FileNode, PackEntry, PackFooter, PackIndex, Snapshot, Tree
from pollinator.wire.errors import Corrupt, NotFound, PollinatorError

MAX_PATHS = 10
"""So many files that are hit are named."""

INDEX_WRONG = "index_wrong"
PACK_MISSING = "pack_missing"
PACK_DAMAGED = "pack_damaged"
SNAPSHOT_MISSING = "snapshot_missing"
SNAPSHOT_DAMAGED = "snapshot_damaged"

GONE = "it is not in the store"

Place = tuple[str, PackEntry]


@dataclass(slots=True)
class _Hit:
    code: str
    text: str
    snapshots: set[str] = field(default_factory=set[str])
    paths: dict[bytes, None] = field(default_factory=dict[bytes, None])


class Checker:
    """Checks one store. Belongs to one thread."""

    def __init__(self, store: Store, known: Mapping[str, int], *, read_data: bool) -> None:
        """Prepare.

        Args:
            store: where.
            known: packs that the index of this machine says are stored, and how far their chunks reach.
            read_data: read and verify every byte that is needed.
        """
        self._store = store
        self._known = known
        self._read_data = read_data
        self._listed: dict[str, Listed] = {}
        self._moved: list[PackIndex] = []
        self._hits: dict[str, _Hit] = {}
        self._owners: dict[bytes, tuple[str, bytes]] = {}
        self.needed: dict[str, dict[bytes, PackEntry]] = {}
        """Packs, and the chunks of each that snapshots need."""

    def check(self, report: Report) -> Checked:
        """Find all that is wrong.

        Raises:
            PollinatorError: the store does not answer, or does not say who needs what.
        """
        self._listed = {each.key: each for each in self._store.listing()}
        now_ns = max((each.modified_ns for each in self._listed.values()), default=0)
        roots = said_roots(self._store, now_ns)
        self._moved = [row for moves in all_moves(self._store).values() for row in moves.packs]
        keys = sorted(roots.snapshots)
        for at, key in enumerate(keys):
            report("looking at snapshots", at, len(keys))
            self._snapshot(key)
        bytes_read = self._verify(report) if self._read_data else 0
        self._look_at_index()
        return Checked(
            store=self._store.identity,
            snapshots=len(keys),
            chunks=sum(map(len, self.needed.values())),
            packs=len(self.needed),
            bytes_read=bytes_read,
            flaws=[self._flaw(key, hit, roots) for key, hit in sorted(self._hits.items())],
        )

    def _snapshot(self, key: str) -> None:
        """Everything that this snapshot needs is where a reader looks for it."""
        places: dict[bytes, Place] = {}
        try:
            snapshot = self._open(key, places)
        except (NotFound, Corrupt) as error:
            if key in self._listed:
                self._hit(key, SNAPSHOT_DAMAGED, error.message, key)
            else:
                self._hit(key, SNAPSHOT_MISSING, GONE, key)
            return
        reader = SnapshotReader(self._store)
        rows: dict[str, list[PackEntry]] = {}
        for pack, entry in places.values():
            rows.setdefault(pack, []).append(entry)
        for pack, entries in rows.items():
            reader.learn(PackIndex(key=pack, entries=sorted(entries, key=lambda each: each.offset)))
        for name, tree in (("src", snapshot.src), ("data", snapshot.data), ("result", snapshot.result)):
            self._tree(key, name.encode(), tree, reader, places)

    def _open(self, key: str, places: dict[bytes, Place]) -> Snapshot:
        footer = self._footer(key)
        indexes = [row for index in footer.indexes for row in self._footer(index).packs]
        own = PackIndex(key=key, entries=footer.entries)
        # A reader believes the snapshot before the index objects, and looks elsewhere only for what is gone.
        for row in (*self._moved, *indexes, *footer.packs, own):
            for entry in row.entries:
                if row.key in self._listed or entry.digest not in places:
                    places[entry.digest] = (row.key, entry)
        return footer.snapshot

    def _footer(self, key: str) -> PackFooter:
        size = self._listed[key].size if key in self._listed else 0
        return read_footer(self._store, key, size)

    def _tree(
        self, key: str, name: bytes, tree: Tree, reader: SnapshotReader, places: Mapping[bytes, Place]
    ) -> None:
        try:
            for path, node in reader.walk(tree):
                if isinstance(node, FileNode):
                    for _, chunk in reader.chunks(node):
                        self._chunk(key, name + b"/" + path, chunk.digest, places)
        except (NotFound, Corrupt, DecodeError) as error:
            text = error.message if isinstance(error, PollinatorError) else str(error)
            pack = error.about if isinstance(error, PollinatorError) else ""
            if not pack:
                self._hit(key, "tree_damaged", f"not all of {name.decode()} can be read: {text}", key, name)
                return
            missing = pack not in self._listed
            self._hit(pack, PACK_MISSING if missing else PACK_DAMAGED, GONE if missing else text, key, name)
            # What it holds besides cannot be told without the node that was in it.
            held = {digest: entry for digest, (at, entry) in places.items() if at == pack}
            self.needed.setdefault(pack, {}).update(held)

    def _chunk(self, snapshot: str, path: bytes, digest: bytes, places: Mapping[bytes, Place]) -> None:
        if digest not in places:
            text = f"the store does not say where chunk {digest.hex()} is"
            self._hit(digest.hex(), "chunk_missing", text, snapshot, path)
            return
        pack, entry = places[digest]
        listed = self._listed.get(pack)
        if listed is None:
            self._hit(pack, PACK_MISSING, GONE, snapshot, path)
        elif entry.offset + entry.stored_size > listed.size:
            self._hit(pack, PACK_DAMAGED, "it is shorter than what it should hold", snapshot, path)
        self.needed.setdefault(pack, {})[digest] = entry
        self._owners.setdefault(digest, (snapshot, path))

    def _verify(self, report: Report) -> int:
        """Read every byte that is needed; returns how many."""
        count = 0
        packs = [key for key in sorted(self.needed) if key in self._listed]
        for at, key in enumerate(packs):
            report("reading packs", at, len(packs))
            try:
                body = self._store.get(key)
            except NotFound:
                continue  # it was moved meanwhile
            count += len(body)
            for digest, entry in self.needed[key].items():
                try:
                    decode(key, entry, body[entry.offset : entry.offset + entry.stored_size])
                except Corrupt as error:
                    self._hit(key, PACK_DAMAGED, error.message, *self._owners[digest])
        return count

    def _look_at_index(self) -> None:
        for key, reach in self._known.items():
            listed = self._listed.get(key)
            if key not in self._hits and (listed is None or listed.size < reach):
                wrong = "is not there" if listed is None else "is shorter"
                self._hit(key, INDEX_WRONG, f"the index of this machine takes it for stored, and it {wrong}")

    def _hit(self, key: str, code: str, text: str, snapshot: str = "", path: bytes = b"") -> None:
        hit = self._hits.setdefault(key, _Hit(code, text))
        if snapshot:
            hit.snapshots.add(snapshot)
        if path and len(hit.paths) < MAX_PATHS:
            hit.paths[path] = None

    def _flaw(self, key: str, hit: _Hit, roots: Roots) -> Flaw:
        runs = {run for snapshot in hit.snapshots for run in roots.snapshots[snapshot]}
        return Flaw(
            code=hit.code,
            text=hit.text,
            key=key if "/" in key else "",
            snapshots=sorted(hit.snapshots),
            runs=sorted(run for run in runs if run and "/" not in run),
            paths=list(hit.paths),
        )
