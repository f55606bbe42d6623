"""Reading a snapshot: where its chunks are, the chunks themselves (verified), and its trees.

Memory is bounded by a few ranges of packs, the snapshot's own pack and, while a tree is walked, its nodes.
Writing to disk is the business of ``layout``.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Generator, Iterable, Iterator
from contextlib import suppress
from functools import partial
from typing import TypeVar

from google.protobuf.message import DecodeError, Message
from zstandard import ZstdDecompressor

from pollinator.chunks.ahead import ahead
from pollinator.chunks.cache import PackCache, Reading
from pollinator.chunks.cut import Content
from pollinator.chunks.digest import digest_of
from pollinator.chunks.keeping import all_moves
from pollinator.chunks.keys import check_key
from pollinator.chunks.nodes import check_name, check_names, place_chunks, shown
from pollinator.chunks.pack import decode, footer_reach, parse_footer
from pollinator.chunks.places import Places
from pollinator.chunks.ranges import Range, graded, plan
from pollinator.chunks.store import Store
from pollinator.v1.tree_pb2 import (
    Chunk,
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
from pollinator.wire.errors import Corrupt, Denied, InvalidInput, NotFound

BODIES = 2
"""How many snapshot packs are kept in memory: two trees are compared, no more."""

NODE_BYTES = 128 * 1024 * 1024
"""Directory nodes of a tree are fetched level by level up to so many bytes, then one by one."""

SMALL_CHUNK = 64 * 1024
"""Chunks that are smaller than this, on average, are verified by who uses them."""

INDEX_BYTES = 4 * 1024 * 1024
"""What an index object weighs, roughly."""

FOOTER_BYTES = 256 * 1024
"""As much of a pack is read for its footer: nearly always enough."""

Node = FileNode | DirectoryNode | SymlinkNode
Data = bytes | memoryview
_Message = TypeVar("_Message", bound=Message)
_log = logging.getLogger(__name__)


class SnapshotReader:
    """Reads snapshots of one store. Belongs to one thread; only its requests run on others."""

    def __init__(self, store: Store, cache: PackCache | None = None) -> None:
        self._store = store
        self._cache = cache
        self._places = Places()
        self._indexes: dict[str, bool] = {}
        """Index objects that were named, and whether they were read."""
        self._bodies: dict[str, bytes] = {}
        self._reading = Reading(cache)

    def open(self, ref: SnapshotRef) -> Snapshot:
        """The snapshot ``ref`` names; from here on its chunks can be read.

        Raises:
            NotFound: the store does not have it.
            Corrupt: what it has is not what ``ref`` names.
        """
        footer, body = self._object(check_key(ref.key))
        if digest_of(footer.snapshot.SerializeToString(deterministic=True)) != ref.digest:
            raise Corrupt(
                f"{ref.key} does not hold snapshot {ref.digest.hex()} but another", reason="bad_snapshot"
            )
        # The pack is here already: its nodes and last chunks need no further request.
        self._bodies[ref.key] = body
        while len(self._bodies) > BODIES:
            del self._bodies[next(iter(self._bodies))]
        self._places.learn(PackIndex(key=ref.key, entries=footer.entries))
        for row in footer.packs:
            self._places.learn(row)
        for key in footer.indexes:
            # Read when something is asked for that nobody else lists: most often it is at hand already.
            self._indexes.setdefault(check_key(key), False)
        return footer.snapshot

    def learn(self, row: PackIndex) -> None:
        """Chunks of this pack can be read from here on, as if a snapshot had named it."""
        self._places.learn(row)

    def chunk(self, digest: bytes) -> bytes:
        """One chunk."""
        for _, data in self.fetch([digest]):
            return bytes(data)
        raise AssertionError("fetch gives every chunk or raises")

    def fetch(self, digests: Iterable[bytes]) -> Generator[tuple[bytes, Data]]:
        """Each of the chunks once, pack by pack. Read on threads, a little ahead of its use, and verified.

        Raises:
            NotFound: a pack is gone.
            Corrupt: a chunk is damaged also when read again, or nobody knows where it is.
        """
        return self._fetch(tuple(graded(self._requests(dict.fromkeys(digests)))))

    def fetch_along(self, digests: Iterator[bytes]) -> Generator[tuple[bytes, Data]]:
        """The same, each named once: a pack is read once all of it is named, and given after the last one."""
        return self._fetch(graded(self._requests(digests)))

    def walk(self, tree: Tree) -> Iterator[tuple[bytes, Node]]:
        """All entries of a tree with their paths, parents before children, sorted in each directory.

        Raises:
            Corrupt: a node is damaged, or holds names that cannot be in a directory.
        """
        if not tree.digest:
            return
        loaded = self._load(tree.digest)
        open_nodes = [(b"", iter(self._entries(tree.digest, loaded, b"")))]
        while open_nodes:
            prefix, nodes = open_nodes[-1]
            node = next(nodes, None)
            if node is None:
                open_nodes.pop()
                continue
            path = prefix + node.name
            yield path, node
            if isinstance(node, DirectoryNode):
                open_nodes.append((path + b"/", iter(self._entries(node.digest, loaded, path))))

    def listings(self, digests: Iterable[bytes]) -> dict[bytes, list[Node]]:
        """The sorted entries of some directories, with as few requests as can be."""
        wanted = dict.fromkeys(digests)
        loaded = {digest: parse_node(Directory, digest, data) for digest, data in self.fetch(wanted)}
        parts = {part.digest for node in loaded.values() for part in node.parts}
        for digest, data in self.fetch(parts - loaded.keys()):
            loaded[digest] = parse_node(Directory, digest, data)
        return {digest: self._entries(digest, loaded, b"") for digest in wanted}

    def chunks(self, node: FileNode) -> Iterator[tuple[int, Chunk]]:
        """The chunks of a file with their offsets in it, in order; long lists are read piece by piece.

        Raises:
            Corrupt: chunks and holes do not make up a file of this size.
        """
        return place_chunks(node, self._chunk_list(node))

    def contents(self, node: FileNode) -> Content:
        """What a file holds, with chunk lists resolved; for files of a bearable number of chunks."""
        return Content(
            node.inline,
            tuple((chunk.digest, chunk.size) for _, chunk in self.chunks(node)),
            tuple((hole.offset, hole.length) for hole in node.holes),
            node.size,
        )

    def content(self, node: FileNode) -> bytes:
        """All bytes of a file; for small ones."""
        placed = list(self.chunks(node))
        if not placed and not node.holes:
            return node.inline
        data = bytearray(node.size)
        found = dict(self.fetch(chunk.digest for _, chunk in placed))
        for offset, chunk in placed:
            data[offset : offset + chunk.size] = check_size(chunk, found[chunk.digest])
        return bytes(data)

    def _chunk_list(self, node: FileNode) -> Iterator[Chunk]:
        yield from node.chunks
        for digest in node.chunk_lists:
            yield from parse_node(ChunkList, digest, self.chunk(digest)).chunks

    def _load(self, root: bytes) -> dict[bytes, Directory]:
        """Nodes of a tree, fetched level by level: one request for many."""
        loaded: dict[bytes, Directory] = {}
        level, size = [root], 0
        while level and size < NODE_BYTES:
            below: list[bytes] = []
            for digest, data in self.fetch(level):
                node = parse_node(Directory, digest, data)
                loaded[digest] = node
                size += len(data)
                below += [part.digest for part in node.parts]
                below += [directory.digest for directory in node.directories]
            level = [digest for digest in below if digest not in loaded]
        return loaded

    def _entries(self, digest: bytes, loaded: dict[bytes, Directory], path: bytes) -> list[Node]:
        directory = self._directory(digest, loaded)
        pieces = [self._directory(part.digest, loaded) for part in directory.parts] or [directory]
        nodes: list[Node] = []
        for piece in pieces:
            nodes += [*piece.files, *piece.directories, *piece.symlinks]
        names = [node.name for node in nodes]
        if not check_names(names):
            nodes.sort(key=lambda node: node.name)
            last: bytes | None = None
            for node in nodes:
                # Twice the same name could make what is meant for a folder go through a link.
                if check_name(node.name) == last:
                    raise Corrupt(f"{shown(path)} lists {shown(node.name)} twice", reason="bad_tree")
                last = node.name
        return nodes

    def _directory(self, digest: bytes, loaded: dict[bytes, Directory]) -> Directory:
        return loaded.get(digest) or parse_node(Directory, digest, self.chunk(digest))

    def _learn_indexes(self) -> None:
        """Read the index objects that were named and not read yet."""
        unread = [key for key, read in self._indexes.items() if not read]
        for key, footer in zip(unread, ahead(unread, self._index, lambda _: INDEX_BYTES), strict=True):
            for row in footer.packs:
                self._places.learn(row)
            self._indexes[key] = True

    def _search(self, digests: Collection[bytes]) -> None:
        """Learn more, where it is not known of all of these chunks where they are."""
        if not all(digest in self._places for digest in digests):
            self._learn_indexes()
        if self._places.gone and not all(digest in self._places for digest in digests):
            self._learn_moves()

    def _place(self, digest: bytes) -> tuple[int, PackEntry]:
        """Where a chunk is of which that is not known."""
        self._search((digest,))
        place = self._places.of(digest)
        if place is None:
            raise _lost(digest)
        return place

    def _requests(self, digests: Iterable[bytes]) -> Iterator[Range]:
        """What to read for these chunks, each of them named once."""
        wanted: dict[int, list[PackEntry]] = {}
        # Every file of a tree passes through this loop.
        known, counts = self._places.of, self._places.counts
        for digest in digests:
            row, entry = known(digest) or self._place(digest)
            here = wanted.setdefault(row, [])
            here.append(entry)
            if len(here) == counts[row]:
                yield from self._plan(row, wanted.pop(row))
        for row, entries in wanted.items():
            yield from self._plan(row, entries)

    def _plan(self, row: int, entries: list[PackEntry]) -> Iterator[Range]:
        pack = self._places.rows[row]
        last = pack.entries[-1]
        return plan(pack.key, entries, last.offset + last.stored_size)

    def _fetch(self, requests: Iterable[Range]) -> Generator[tuple[bytes, Data]]:
        gone: list[Range] = []
        for found in ahead(requests, partial(self._read, gone), lambda each: each.weight):
            yield from found
        if gone:
            yield from self._elsewhere(gone)

    def _elsewhere(self, gone: list[Range]) -> Iterator[tuple[bytes, Data]]:
        """Chunks of packs that are gone: other packs hold them, or it was said where they were moved to."""
        packs = {entry.digest: each.key for each in gone for entry in each.entries}
        self._places.forget({each.key for each in gone})
        self._search(packs.keys())
        for digest, key in packs.items():
            if digest not in self._places:
                raise NotFound(
                    f"{key} is gone from {self._store.identity}, and chunk {digest.hex()} with it",
                    reason="object_missing",
                    hint="pollinator fsck says what else is missing",
                    about=key,
                )
        yield from self.fetch(packs)

    def _learn_moves(self) -> None:
        """Learn what all packs hold to which anything was moved, and that are there."""
        try:
            rows = {row.key: row for moves in all_moves(self._store).values() for row in moves.packs}
            absent = set(self._store.missing(list(rows)))
        except (Denied, InvalidInput) as error:
            _log.warning("cannot see what was moved in %s: %s", self._store.identity, error.message)
            return
        for key in rows.keys() - absent:
            self._places.learn(rows[key])

    def _read(self, gone: list[Range], wanted: Range) -> Iterable[tuple[bytes, Data]]:
        """Make a request, on any thread; one for a pack that is gone is noted as such."""
        body = b"" if not wanted.key else self._bodies.get(wanted.key)
        if body is not None:
            return self._verified(wanted, memoryview(body)[wanted.start : wanted.end])
        if self._cache is None or not self._cache.packs or not self._cache.has(wanted.key):
            return self._read_stored(gone, wanted)
        found, absent = self._cache.chunks(wanted)
        for each in plan(wanted.key, absent, wanted.end):
            found += self._read_stored(gone, each)
        return found

    def _read_stored(self, gone: list[Range], wanted: Range) -> Iterable[tuple[bytes, Data]]:
        with self._reading as reading:
            try:
                view = memoryview(self._store.get(wanted.key, wanted.start, wanted.end - wanted.start))
            except NotFound as error:
                if error.reason != "object_missing":
                    raise
                gone.append(wanted)
                return ()
            reading.keep(wanted.key, view, wanted.start)
        return self._verified(wanted, view)

    def _verified(self, wanted: Range, body: memoryview) -> Iterable[tuple[bytes, Data]]:
        """The chunks of a request; small ones when they are used, for threads would wait for each other."""
        found = self._decoded(wanted, body)
        return found if wanted.weight < SMALL_CHUNK * len(wanted.entries) else list(found)

    def _decoded(self, wanted: Range, body: memoryview) -> Iterator[tuple[bytes, Data]]:
        unpacker = ZstdDecompressor()
        for entry in wanted.entries:
            start = entry.offset - wanted.start
            try:
                data = decode(wanted.key, entry, body[start : start + entry.stored_size], unpacker)
            except Corrupt as error:
                # Damaged on its way, perhaps: once more from the store before giving up.
                _log.warning("%s; reading it again", error.message)
                data = decode(wanted.key, entry, self._store.get(wanted.key, entry.offset, entry.stored_size))
            yield entry.digest, data

    def _object(self, key: str) -> tuple[PackFooter, bytes]:
        """A whole object that says where chunks are, and its footer."""
        if self._cache is not None and (body := self._cache.read(key)):
            with suppress(Corrupt):
                return parse_footer(key, body), body
        body = self._store.get(key)
        try:
            footer = parse_footer(key, body)
        except Corrupt as error:
            _log.warning("%s; reading it again", error.message)
            body = self._store.get(key)
            footer = parse_footer(key, body)
        if self._cache is not None:
            self._cache.keep(key, body)
        return footer, body

    def _index(self, key: str) -> PackFooter:
        return self._object(key)[0]


def read_footer(store: Store, key: str, size: int) -> PackFooter:
    """The footer of a pack, without reading all of it.

    Raises:
        NotFound: the store does not have it.
        Corrupt: what it has is not what ``key`` names.
    """
    tail = store.get(key, max(0, size - FOOTER_BYTES))
    if (reach := footer_reach(tail)) > len(tail):
        tail = store.get(key, max(0, size - reach))
    try:
        return parse_footer(key, tail)
    except Corrupt as error:
        _log.warning("%s; reading it again", error.message)
        return parse_footer(key, store.get(key))


def check_size(chunk: Chunk, data: Data) -> Data:
    """``data`` if it is as long as the file says.

    Raises:
        Corrupt: it is not.
    """
    if len(data) != chunk.size:
        raise Corrupt(f"chunk {chunk.digest.hex()} is not as long as its file says", reason="bad_file")
    return data


def parse_node(kind: type[_Message], digest: bytes, data: Data) -> _Message:
    """A node of a tree, or a piece of a list of chunks; raises Corrupt when it is none."""
    try:
        return kind.FromString(bytes(data))
    except DecodeError as error:
        raise Corrupt(f"chunk {digest.hex()} is no {kind.__name__}", reason="bad_tree") from error


def _lost(digest: bytes) -> Corrupt:
    return Corrupt(
        f"the store does not say where chunk {digest.hex()} is",
        reason="chunk_missing",
        hint="store again what this machine still has: pollinator fsck --repair",
    )
