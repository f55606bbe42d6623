"""What is laid out, or changed into another tree, is what was published, however its packs are read."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType
from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pollinator.chunks import ahead, layout, nodes, ranges, read
from pollinator.chunks.cache import PackCache
from pollinator.chunks.cut import Content
from pollinator.chunks.digest import digest_of
from pollinator.chunks.keeping import write_moves
from pollinator.chunks.layout import lay_out
from pollinator.chunks.read import SnapshotReader
from pollinator.chunks.update import update
from pollinator.chunks.upload import Uploader
from pollinator.executors.conformance.trees import File, Folder, Link, Listing, random_bytes, store_tree
from pollinator.v1.keeping_pb2 import Moves
from pollinator.v1.spec_pb2 import RunSpec
from pollinator.v1.tree_pb2 import PackIndex, Snapshot, SnapshotRef, Tree
from support.storing import MemoryStore, listed
from support.thorough import times

MUCH = 1 << 30
# Every other one can be compressed.
CHUNKS = [random_bytes(size) if size % 2 else b"%d" % size * 20 for size in range(40, 400, 33)]
BY_DIGEST = {digest_of(chunk): chunk for chunk in CHUNKS}
HOLE = 300


def in_pieces(pieces: list[int | None]) -> Content:
    """A file of these chunks; nothing stands for a hole, or a part of one."""
    chunks: list[tuple[bytes, int]] = []
    holes: list[tuple[int, int]] = []
    size = 0
    for piece in pieces:
        if piece is not None:
            chunks.append((digest_of(CHUNKS[piece]), len(CHUNKS[piece])))
            size += chunks[-1][1]
            continue
        start, length = holes.pop() if holes and sum(holes[-1]) == size else (size, 0)
        holes.append((start, length + HOLE))
        size += HOLE
    return Content(b"", tuple(chunks), tuple(holes), size)


def data_of(content: Content) -> bytes:
    """All its bytes."""
    data, holes, chunks = b"", dict(content.holes), list(content.chunks)
    while len(data) < content.size:
        data += bytes(holes[len(data)]) if len(data) in holes else BY_DIGEST[chunks.pop(0)[0]]
    return data


def whole(listing: Listing, above: bytes = b"") -> Iterator[tuple[bytes, tuple[str, int, bytes]]]:
    """What is to be found on disk."""
    for name, what in listing.items():
        path = above + name
        match what:
            case Content():
                yield path, ("file", 0o644, data_of(what))
            case File(data, mode):
                yield path, ("file", mode, data)
            case Link(target):
                yield path, ("link", 0o777, target)
            case Folder(below, mode):
                yield path, ("folder", mode, b"")
                yield from whole(below, path + b"/")
            case _:
                raise AssertionError(what)


names = st.sampled_from([b"a", b"b", b"c", b"d", b"e"])
pieces = st.lists(st.none() | st.integers(0, len(CHUNKS) - 1), min_size=1, max_size=7)
# Neighbouring holes are one.
contents = pieces.map(in_pieces)
inline = st.builds(File, st.sampled_from([b"", b"x", b"short"]), st.sampled_from([0o644, 0o400, 0o755]))
leaves = contents | inline | st.just(Link(b"a"))
modes = st.sampled_from([0o755, 0o700])
trees = st.dictionaries(
    names,
    st.recursive(
        leaves,
        lambda below: st.builds(Folder, st.dictionaries(names, below, max_size=4), modes),
        max_leaves=20,
    ),
    max_size=5,
)


READING = st.fixed_dictionaries(
    {
        (ahead, "AHEAD"): st.integers(1, 3),
        (ahead, "AHEAD_BYTES"): st.sampled_from([1, 500, MUCH]),
        (layout, "BATCH_CHUNKS"): st.integers(1, 5) | st.just(MUCH),
        (ranges, "GAP_BYTES"): st.sampled_from([1, MUCH]),
        (ranges, "RANGE_BYTES"): st.sampled_from([1, 500, MUCH]),
        (read, "SMALL_CHUNK"): st.sampled_from([0, 200, MUCH]),
        (read, "NODE_BYTES"): st.sampled_from([0, MUCH]),
        (nodes, "MAX_CHUNKS"): st.sampled_from([2, 64]),
        (nodes, "MAX_ENTRIES"): st.sampled_from([2, 1024]),
    }
)
"""Bounds of what is read and gathered at once, mostly so small that each is reached."""


class Published:
    """A store of trees in small packs."""

    def __init__(self, pack_bytes: int, order: Sequence[int]) -> None:
        self.store = MemoryStore()
        self.rows: list[PackIndex] = []
        self._pack_bytes = pack_bytes
        self._order = order

    def publish(self, listing: Listing, *, index: bool) -> tuple[SnapshotRef, Tree]:
        uploader = Uploader(self.store, on_stored=self.rows.append, pack_bytes=self._pack_bytes)
        with closing(uploader):
            for at in self._order:
                uploader.add(digest_of(CHUNKS[at]), CHUNKS[at])
            tree = Tree(digest=store_tree(listing, uploader))
            uploader.flush()
            rows, indexes = self.rows, list[str]()
            if index:
                rows, indexes = [], [uploader.write_index(rows).result()]
            return uploader.publish(Snapshot(version=1, src=tree, spec=RunSpec()), rows, indexes), tree

    def move(self, which: Sequence[bool]) -> None:
        """Copy some packs into others and remove them."""
        left = [row for row, goes in zip(self.rows, which, strict=False) if goes]
        reader, rows = SnapshotReader(self.store), list[PackIndex]()
        with closing(Uploader(self.store, on_stored=rows.append, pack_bytes=700)) as uploader:
            for row in left:
                reader.learn(row)
                for digest, data in reader.fetch(entry.digest for entry in row.entries if entry.size):
                    uploader.add(digest, data)
            uploader.flush()
        write_moves(self.store, Moves(left=[row.key for row in left], packs=rows))
        for key in {row.key for row in left} - {row.key for row in rows}:
            self.store.delete(key)


@pytest.mark.timeout(times(60, 900))
@settings(max_examples=times(60, 10_000), deadline=None)
@given(
    old=trees,
    new=trees,
    reading=READING,
    pack_bytes=st.sampled_from([1, 300, 1000, MUCH]),
    order=st.permutations(range(len(CHUNKS))),
    index=st.booleans(),
    moved=st.lists(st.booleans(), max_size=12),
    cached=st.booleans(),
    damaged=st.integers(0, 30),
)
def test_what_is_laid_out_is_what_was_published(
    old: Listing,
    new: Listing,
    reading: Mapping[tuple[ModuleType, str], int],
    pack_bytes: int,
    order: Sequence[int],
    index: bool,
    moved: Sequence[bool],
    cached: bool,
    damaged: int,
) -> None:
    with TemporaryDirectory() as scratch, ExitStack() as patches:
        for (module, name), value in reading.items():
            patches.enter_context(patch.object(module, name, value))
        published = Published(pack_bytes, order)
        first, before = published.publish(old, index=index)
        second, after = published.publish(new, index=index)
        reader = SnapshotReader(published.store, PackCache(Path(scratch, "cache"), MUCH) if cached else None)
        for ref in first, second:
            reader.open(ref)
        published.move(moved)
        keys = sorted(published.store.objects)
        published.store.damage[keys[damaged % len(keys)]] = 1
        target = Path(scratch, "tree")
        target.mkdir()
        threads = threading.active_count()
        laid = lay_out(reader, before, target), listed(target)
        told: list[int] = []
        updated = update(reader, before, after, target, progress=told.append), listed(target)

    assert dict(whole(old)) == laid[1]
    assert dict(whole(new)) == updated[1]
    assert sum(len(data) for kind, _, data in laid[1].values() if kind == "file") == laid[0].bytes
    assert told == sorted(told)
    assert updated[0].bytes == max(told, default=0)
    assert threads == threading.active_count()
