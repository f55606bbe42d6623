"""Objects kept on this machine."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from pollinator.chunks.cache import PackCache, Reading
from pollinator.chunks.read import SnapshotReader
from pollinator.executors.conformance.trees import Listing, random_bytes
from pollinator.v1.tree_pb2 import FileNode, SnapshotRef, Tree
from support.disk import full_disk
from support.storing import MemoryStore, Publisher

MUCH = 1 << 30
FILES: Listing = {b"%d" % at: random_bytes(3000 + at, b"%d" % at) for at in range(60)}


class Kept:
    """A store of some packs, and a cache in front of it."""

    def __init__(self, root: Path) -> None:
        self.store = MemoryStore()
        self.publisher = Publisher(self.store, pack_bytes=50_000)
        self.cache = PackCache(root / "cache", MUCH)
        self.folder = root / "cache"

    def publish(self, listing: Listing) -> tuple[SnapshotRef, Tree]:
        return self.publisher.publish(listing, flush=True)

    def read(self, ref: SnapshotRef, tree: Tree) -> dict[bytes, bytes]:
        """All files, as a process reads them that was just started."""
        self.store.gets.clear()
        reader = SnapshotReader(self.store, self.cache)
        reader.open(ref)
        nodes = [node for _, node in reader.walk(tree) if isinstance(node, FileNode)]
        digests = [chunk.digest for node in nodes for _, chunk in reader.chunks(node)]
        found = {digest: bytes(data) for digest, data in reader.fetch(digests)}
        return {node.name: found[node.chunks[0].digest] for node in nodes}


@pytest.fixture
def kept(tmp_path: Path) -> Kept:
    return Kept(tmp_path)


def test_what_was_read_once_is_not_asked_for_again(kept: Kept) -> None:
    snapshot = kept.publish(FILES)
    first = kept.read(*snapshot), len(kept.store.gets)
    second = kept.read(*snapshot), len(kept.store.gets)

    assert (FILES, FILES, 0) == (first[0], *second)
    assert first[1] > 3


def test_only_what_changed_is_asked_for(kept: Kept) -> None:
    kept.read(*kept.publish(FILES))
    before = {key for key, _, _ in kept.store.gets}
    changed = {**FILES, b"7": random_bytes(3000, b"new")}
    snapshot = kept.publisher.publish(changed)

    assert changed == kept.read(*snapshot)
    assert (2, set()) == (len(kept.store.gets), before & {key for key, _, _ in kept.store.gets})


def test_what_is_damaged_or_missing_in_the_cache_is_asked_for_and_kept_again(kept: Kept) -> None:
    snapshot = kept.publish(FILES)
    kept.read(*snapshot)
    for number, path in enumerate(sorted(kept.folder.iterdir())):
        if number % 3 == 0:
            os.truncate(path, path.stat().st_size // 2)
        elif number % 3 == 1:
            path.write_bytes(bytes(path.stat().st_size))

    assert FILES == kept.read(*snapshot)
    assert kept.store.gets
    assert FILES == kept.read(*snapshot)
    assert [] == kept.store.gets


def test_a_chunk_damaged_on_its_way_is_not_believed_when_read_from_the_cache(kept: Kept) -> None:
    snapshot = kept.publish(FILES)
    for key in kept.store.objects:
        kept.store.damage[key] = 1

    assert [FILES, FILES, FILES] == [kept.read(*snapshot) for _ in range(3)]
    assert [] == kept.store.gets


def test_the_cache_may_be_deleted_at_any_time(kept: Kept) -> None:
    snapshot = kept.publish(FILES)
    kept.read(*snapshot)
    shutil.rmtree(kept.folder)

    assert FILES == kept.read(*snapshot)
    assert FILES == kept.read(*snapshot)
    assert [] == kept.store.gets


def test_a_full_disk_is_no_reason_to_fail(kept: Kept) -> None:
    snapshot = kept.publish(FILES)
    with full_disk(5000):
        found = kept.read(*snapshot)

    assert FILES == found


GIB = 1 << 30


@pytest.mark.parametrize(
    ("size", "free", "is_kept"),
    [
        (1000 * GIB, 20 * GIB, True),
        (1000 * GIB, 3 * GIB, False),
        (1000 * GIB, 4 * GIB, False),
        (10 * GIB, 2 * GIB, True),
        (10 * GIB, GIB // 2, False),
    ],
)
def test_a_disk_keeps_room_for_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int, free: int, is_kept: bool
) -> None:
    block = 4096
    blocks = (size // block, free // block, free // block)

    def disk(path: Path) -> os.statvfs_result:
        return os.statvfs_result((block, block, *blocks, 0, 0, 0, 0, 255))

    monkeypatch.setattr(os, "statvfs", disk)
    cache = PackCache(tmp_path, MUCH)
    cache.keep("p/00/x", b"part")

    assert is_kept == cache.has("p/00/x")


def test_what_was_not_used_for_longest_goes_first(tmp_path: Path) -> None:
    cache = PackCache(tmp_path, 100_000)
    names = [f"p/{at:02}/x" for at in range(5)]
    for at, name in enumerate(names):
        cache.keep(name, bytes([at]) * 30_000)
        os.utime(tmp_path / name.replace("/", "-"), (at, at))
    assert bytes([0]) * 30_000 == cache.read(names[0])
    cache.trim()

    assert [True, False, False, False, True] == [cache.has(name) for name in names]


def test_a_cache_that_is_small_enough_is_left_alone(tmp_path: Path) -> None:
    cache = PackCache(tmp_path, 100_000)
    cache.keep("p/00/x", bytes(50_000))
    cache.trim()

    assert cache.has("p/00/x")


def test_a_part_larger_than_the_whole_cache_is_not_kept(tmp_path: Path) -> None:
    cache = PackCache(tmp_path, 1000)
    cache.keep("p/00/x", bytes(1001))

    assert not cache.has("p/00/x")
    assert b"" == cache.read("p/00/x")


def test_packs_are_not_kept_where_they_are_read_once(kept: Kept, tmp_path: Path) -> None:
    kept.cache = PackCache(tmp_path / "other", MUCH, packs=False)
    kept.read(*kept.publish(FILES))

    assert {"s"} == {path.name[0] for path in (tmp_path / "other").iterdir()}


def test_what_is_read_is_kept_once_nobody_reads_any_more(tmp_path: Path) -> None:
    cache = PackCache(tmp_path, MUCH)
    reading = Reading(cache)
    with reading:
        with reading as one:
            one.keep("p/a", memoryview(b"abc"), 0)
        waits = not cache.has("p/a")

    assert waits
    assert b"abc" == cache.read("p/a")


def test_so_much_that_was_read_waits_to_be_kept_and_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pollinator.chunks.cache.UNKEPT_BYTES", 5)
    cache = PackCache(tmp_path, MUCH)
    reading = Reading(cache)
    seen: list[bool] = []
    with reading:
        for key in ("p/a", "p/b"):
            with reading as one:
                one.keep(key, memoryview(b"abc"), 0)
            seen.append(cache.has("p/a"))

    assert [False, True] == seen
    assert (b"abc", b"abc") == (cache.read("p/a"), cache.read("p/b"))
