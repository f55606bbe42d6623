"""Making one snapshot of the results that several have stored, each its own part.

Only directories that differ are read and written anew: what one of them alone has is taken as it is stored.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from pollinator.chunks.capture import LISTED_CHUNKS
from pollinator.chunks.digest import digest_of
from pollinator.chunks.keys import check_key
from pollinator.chunks.nodes import DirEntry, Entry, FileEntry, LinkEntry, encode_directory, shown
from pollinator.chunks.pack import parse_footer
from pollinator.chunks.read import Node, SnapshotReader
from pollinator.chunks.store import Store
from pollinator.chunks.upload import Uploader
from pollinator.v1.tree_pb2 import (
    DirectoryNode,
    FileNode,
    PackIndex,
    Snapshot,
    SnapshotRef,
    SymlinkNode,
    Tree,
)
from pollinator.wire.errors import Corrupt


@dataclass(frozen=True, slots=True)
class Joined:
    """Several results as one."""

    ref: SnapshotRef
    tree: Tree
    replaced: tuple[str, ...]
    """Paths that several had, and not the same: what the last of them had is there."""


def join(store: Store, parts: Sequence[SnapshotRef]) -> Joined:
    """Publish the ``result`` trees of some snapshots as one.

    A file that several have is that of the last; a folder is what is in any of them.

    Args:
        store: has them all.
        parts: the snapshots, at least one.

    Raises:
        PollinatorError: the store fails, or has one of them not.
    """
    with_rows = _Parts(store)
    trees = [with_rows.open(part) for part in parts]
    uploader = Uploader(store, on_stored=with_rows.rows.append)
    try:
        merge = _Merge(with_rows.reader, uploader)
        digest = merge.tree([tree.digest for tree in trees if tree.digest])
        tree = Tree(digest=digest, files=merge.files, bytes=merge.bytes)
        uploader.settle()
        rows, indexes = with_rows.rows, list(with_rows.indexes)
        if sum(len(row.entries) for row in rows) > LISTED_CHUNKS:
            rows, indexes = [], [*indexes, uploader.write_index(rows).result()]
        ref = uploader.publish(Snapshot(version=1, result=tree), rows, indexes)
    finally:
        uploader.close()
    return Joined(ref, tree, tuple(merge.replaced))


class _Parts:
    """The snapshots that are joined, and where their chunks are."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.reader = SnapshotReader(store)
        self.rows: list[PackIndex] = []
        self.indexes: dict[str, None] = {}

    def open(self, ref: SnapshotRef) -> Tree:
        """The results in one of them; from here on they can be read."""
        snapshot = self.reader.open(ref)
        footer = parse_footer(check_key(ref.key), self._store.get(ref.key))
        if digest_of(footer.snapshot.SerializeToString(deterministic=True)) != ref.digest:
            raise Corrupt(f"{ref.key} does not hold the results it should", reason="bad_snapshot")
        if footer.entries:
            self.rows.append(PackIndex(key=ref.key, entries=footer.entries))
        self.rows += footer.packs
        self.indexes.update(dict.fromkeys(footer.indexes))
        return snapshot.result


@dataclass(slots=True)
class _Folder:
    """A folder that is being put together."""

    path: bytes
    mode: int
    entries: dict[bytes, Entry] = field(default_factory=dict[bytes, Entry])
    below: list[tuple[bytes, int, list[bytes]]] = field(default_factory=list[tuple[bytes, int, list[bytes]]])
    """Folders in it that several have and that differ: name, mode, digests."""


class _Merge:
    def __init__(self, reader: SnapshotReader, uploader: Uploader) -> None:
        self._reader = reader
        self._uploader = uploader
        self.files = 0
        self.bytes = 0
        self.replaced: list[str] = []

    def tree(self, digests: Sequence[bytes]) -> bytes:
        """Digest of what is in any of these trees. A loop, as folders may be nested deeper than calls."""
        if len(set(digests)) < 2:
            return self._whole(digests[0]) if digests else encode_directory({}, self._sink)
        opened = [self._open(b"", 0, digests)]
        while True:
            folder = opened[-1]
            if folder.below:
                name, mode, several = folder.below.pop()
                opened.append(self._open(folder.path + b"/" + name if folder.path else name, mode, several))
                continue
            digest = encode_directory(folder.entries, self._sink)
            opened.pop()
            if not opened:
                return digest
            opened[-1].entries[folder.path.rpartition(b"/")[2]] = DirEntry(folder.mode, digest)

    def _open(self, path: bytes, mode: int, digests: Sequence[bytes]) -> _Folder:
        folder = _Folder(path, mode)
        listings = self._reader.listings(digests)
        named: dict[bytes, list[Node]] = {}
        for digest in digests:
            for node in listings[digest]:
                named.setdefault(node.name, []).append(node)
        for name, nodes in sorted(named.items()):
            last = nodes[-1]
            inside = [node.digest for node in nodes if isinstance(node, DirectoryNode)]
            if isinstance(last, DirectoryNode) and len(inside) == len(nodes) and len(set(inside)) > 1:
                folder.below.append((name, last.mode, inside))
                continue
            if any(_differs(node, last) for node in nodes):
                self.replaced.append(shown(path + b"/" + name if path else name))
            folder.entries[name] = self._entry(last)
        folder.below.reverse()
        return folder

    def _entry(self, node: Node) -> Entry:
        match node:
            case DirectoryNode():
                return DirEntry(node.mode, self._whole(node.digest))
            case SymlinkNode():
                return LinkEntry(node.target)
            case _:
                self._count(node)
                return FileEntry(node.mode, self._reader.contents(node))

    def _whole(self, digest: bytes) -> bytes:
        """A folder that is taken as it is."""
        for node in self._below(digest):
            self._count(node)
        return digest

    def _below(self, digest: bytes) -> Iterator[FileNode]:
        for _, node in self._reader.walk(Tree(digest=digest)):
            if isinstance(node, FileNode):
                yield node

    def _count(self, file: FileNode) -> None:
        self.files += 1
        self.bytes += file.size

    def _sink(self, digest: bytes, data: bytes) -> None:
        self._uploader.add(digest, data)


def _differs(node: Node, last: Node) -> bool:
    """What one had is not what is there now; modes of folders do not count."""
    if isinstance(node, DirectoryNode) and isinstance(last, DirectoryNode):
        return node.digest != last.digest
    return type(node) is not type(last) or node != last
