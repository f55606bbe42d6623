"""Reading a snapshot: where its chunks are, the chunks themselves (verified), and its trees."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from pollinator.chunks.cut import Content
from pollinator.chunks.digest import digest_of
from pollinator.chunks.nodes import check_name, node_content
from pollinator.chunks.pack import decode, parse_footer
from pollinator.chunks.store import Store
from pollinator.v1.tree_pb2 import (
    ChunkList,
    Directory,
    DirectoryNode,
    FileNode,
    PackEntry,
    PackFooter,
    PackIndex,
    Snapshot,
    SnapshotRef,
    SymlinkNode,
    Tree,
)
from pollinator.wire.errors import Corrupt

GAP_BYTES = 256 * 1024
"""Wanted ranges with less than this between them are read as one."""

READ_BYTES = 16 * 1024 * 1024
"""Longest range read at once."""

Node = FileNode | DirectoryNode | SymlinkNode


class SnapshotReader:
    """Reads snapshots of one store. Used from one thread."""

    def __init__(self, store: Store, cache_dir: Path | None = None) -> None:
        self._store = store
        self._cache_dir = cache_dir
        self._places: dict[bytes, tuple[str, PackEntry]] = {}
        self._nodes: dict[bytes, bytes] = {}
        self._indexes: set[str] = set()

    def open(self, ref: SnapshotRef) -> Snapshot:
        """The snapshot ``ref`` names; from here on its chunks can be read.

        Raises:
            NotFound: the store does not have it.
            Corrupt: what it has is not what ``ref`` names.
        """
        body = self._store.get(ref.key)
        footer = parse_footer(ref.key, body)
        if digest_of(footer.snapshot.SerializeToString(deterministic=True)) != ref.digest:
            raise Corrupt(f"{ref.key} holds another snapshot than asked for", reason="bad_snapshot")
        self._learn(PackIndex(key=ref.key, entries=footer.entries))
        for row in footer.packs:
            self._learn(row)
        for key in footer.indexes:
            if key not in self._indexes:
                self._indexes.add(key)
                for row in self._index(key).packs:
                    self._learn(row)
        # The pack is here already; its nodes and last chunks need no second request.
        for entry in footer.entries:
            stored = body[entry.offset : entry.offset + entry.stored_size]
            self._nodes[entry.digest] = decode(ref.key, entry, stored)
        return footer.snapshot

    def chunk(self, digest: bytes) -> bytes:
        """One chunk."""
        for _, data in self.fetch([digest]):
            return data
        raise self._lost(digest)

    def fetch(self, digests: Iterable[bytes]) -> Iterator[tuple[bytes, bytes]]:
        """Each of the chunks once, in the order the store can give them fastest.

        Raises:
            Corrupt: a chunk is damaged also when read again, or nobody knows where it is.
        """
        wanted: dict[str, list[PackEntry]] = {}
        for digest in dict.fromkeys(digests):
            if digest in self._nodes:
                yield digest, self._nodes[digest]
                continue
            place = self._places.get(digest)
            if place is None:
                raise self._lost(digest)
            wanted.setdefault(place[0], []).append(place[1])
        for key, entries in wanted.items():
            for batch in _ranges(sorted(entries, key=lambda entry: entry.offset)):
                yield from self._read(key, batch)

    def walk(self, tree: Tree) -> Iterator[tuple[bytes, Node]]:
        """All entries of a tree with their paths, parents before children, sorted in each directory."""
        if tree.digest:
            yield from self._walk(tree.digest, b"")

    def contents(self, node: FileNode) -> Content:
        """What a file holds, with chunk lists resolved."""
        if not node.chunk_lists:
            return node_content(node)
        full = FileNode()
        full.CopyFrom(node)
        for digest in node.chunk_lists:
            full.chunks.extend(ChunkList.FromString(self.chunk(digest)).chunks)
        return node_content(full)

    def content(self, node: FileNode) -> bytes:
        """All bytes of a file; for small ones."""
        content = self.contents(node)
        found = dict(self.fetch(digest for digest, _ in content.chunks))
        data = content.inline or b"".join(found[digest] for digest, _ in content.chunks)
        for offset, length in content.holes:
            data = data[:offset] + bytes(length) + data[offset:]
        return data

    def _walk(self, digest: bytes, prefix: bytes) -> Iterator[tuple[bytes, Node]]:
        for node in self._entries(digest):
            path = prefix + check_name(node.name)
            yield path, node
            if isinstance(node, DirectoryNode):
                yield from self._walk(node.digest, path + b"/")

    def _entries(self, digest: bytes) -> list[Node]:
        directory = Directory.FromString(self._node(digest))
        pieces = [Directory.FromString(self._node(part.digest)) for part in directory.parts] or [directory]
        nodes: list[Node] = []
        for piece in pieces:
            nodes += [*piece.files, *piece.directories, *piece.symlinks]
        return sorted(nodes, key=lambda node: node.name)

    def _node(self, digest: bytes) -> bytes:
        data = self._nodes.get(digest)
        return self.chunk(digest) if data is None else data

    def _read(self, key: str, batch: list[PackEntry]) -> Iterator[tuple[bytes, bytes]]:
        start = batch[0].offset
        end = batch[-1].offset + batch[-1].stored_size
        body = self._store.get(key, start, end - start)
        for entry in batch:
            stored = body[entry.offset - start : entry.offset - start + entry.stored_size]
            try:
                data = decode(key, entry, stored)
            except Corrupt:
                # Damaged on its way, perhaps: once more from the store before giving up.
                data = decode(key, entry, self._store.get(key, entry.offset, entry.stored_size))
            yield entry.digest, data

    def _index(self, key: str) -> PackFooter:
        cached = self._cache_dir / key.rpartition("/")[2] if self._cache_dir else None
        if cached is not None and cached.exists():
            try:
                return parse_footer(key, cached.read_bytes())
            except Corrupt:
                cached.unlink(missing_ok=True)
        body = self._store.get(key)
        footer = parse_footer(key, body)
        if cached is not None:
            temporary = cached.with_suffix(f".{os.getpid()}")
            temporary.write_bytes(body)
            temporary.replace(cached)
        return footer

    def _learn(self, row: PackIndex) -> None:
        for entry in row.entries:
            self._places[entry.digest] = (row.key, entry)

    def _lost(self, digest: bytes) -> Corrupt:
        return Corrupt(
            f"the store does not say where chunk {digest.hex()} is",
            reason="chunk_missing",
            hint="run pollinator sync in the project to store it again",
        )


def _ranges(entries: list[PackEntry]) -> Iterator[list[PackEntry]]:
    """Group entries of one pack, sorted by offset, into ranges worth one request each."""
    batch: list[PackEntry] = []
    for entry in entries:
        if batch:
            end = batch[-1].offset + batch[-1].stored_size
            long = entry.offset + entry.stored_size - batch[0].offset > READ_BYTES
            if long or entry.offset - end > GAP_BYTES:
                yield batch
                batch = []
        batch.append(entry)
    if batch:
        yield batch
