"""Reading snapshots back."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from pollinator.chunks.ahead import AHEAD
from pollinator.chunks.cache import PackCache
from pollinator.chunks.digest import EMPTY, digest_of
from pollinator.chunks.nodes import encode_directory
from pollinator.chunks.read import SnapshotReader
from pollinator.chunks.upload import Uploader
from pollinator.executors.conformance.trees import File, Link, Listing, content_of, random_bytes
from pollinator.v1.tree_pb2 import (
    Directory,
    DirectoryNode,
    FileNode,
    PackIndex,
    Snapshot,
    SnapshotRef,
    Tree,
)
from pollinator.wire.errors import Corrupt, InvalidInput, NotFound
from support.sandbox import wait_until
from support.storing import MemoryStore, Publisher

MUCH = 1 << 30
LISTING: Listing = {
    b"main.py": b"print(1)\n" * 100,
    b"small": b"text",
    b"empty": b"",
    b"run.sh": File(b"#!/bin/sh\n", 0o755),
    b"lib": {b"a.py": b"import b\n" * 200, b"deep": {b"x": random_bytes(5000)}, b"none": {}},
    b"link": Link(b"lib/a.py"),
}


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def publisher(store: MemoryStore) -> Publisher:
    return Publisher(store)


def opened(store: MemoryStore, ref: SnapshotRef, cache: PackCache | None = None) -> SnapshotReader:
    reader = SnapshotReader(store, cache)
    reader.open(ref)
    store.gets.clear()
    return reader


def contents(reader: SnapshotReader, tree: Tree) -> dict[bytes, bytes]:
    return {path: reader.content(node) for path, node in reader.walk(tree) if isinstance(node, FileNode)}


def test_a_tree_is_read_back_as_it_was(store: MemoryStore, publisher: Publisher) -> None:
    ref, tree = publisher.publish(LISTING)
    reader = opened(store, ref)
    found = contents(reader, tree)

    assert found == {
        b"main.py": b"print(1)\n" * 100,
        b"small": b"text",
        b"empty": b"",
        b"run.sh": b"#!/bin/sh\n",
        b"lib/a.py": b"import b\n" * 200,
        b"lib/deep/x": random_bytes(5000),
    }


def test_a_walk_gives_parents_first_and_is_sorted_in_each_directory(
    store: MemoryStore, publisher: Publisher
) -> None:
    ref, tree = publisher.publish(LISTING)
    paths = [path for path, _ in opened(store, ref).walk(tree)]

    assert paths == [
        b"empty",
        b"lib",
        b"lib/a.py",
        b"lib/deep",
        b"lib/deep/x",
        b"lib/none",
        b"link",
        b"main.py",
        b"run.sh",
        b"small",
    ]


def test_opening_answers_with_the_snapshot(store: MemoryStore, publisher: Publisher) -> None:
    ref, tree = publisher.publish(LISTING)

    assert SnapshotReader(store).open(ref).src == tree


def test_a_hot_snapshot_is_read_with_one_request(store: MemoryStore, publisher: Publisher) -> None:
    ref, tree = publisher.publish(LISTING)
    reader = SnapshotReader(store)
    reader.open(ref)
    contents(reader, tree)

    assert store.gets == [(ref.key, 0, None)]


def test_old_packs_are_read_by_range(store: MemoryStore, publisher: Publisher) -> None:
    ref, tree = publisher.publish(LISTING, flush=True)
    reader = opened(store, ref)
    contents(reader, tree)

    assert {key[:2] for key, _, _ in store.gets} == {"p/"}
    assert all(offset > 0 and length is not None for _, offset, length in store.gets)


def test_directory_nodes_are_fetched_level_by_level(store: MemoryStore, publisher: Publisher) -> None:
    listing: Listing = {b"%d" % at: {b"%d" % below: {b"f": b"x"} for below in range(20)} for at in range(20)}
    ref, tree = publisher.publish(listing, flush=True)
    reader = opened(store, ref)

    assert sum(1 for _ in reader.walk(tree)) == 20 + 400 + 400
    assert len(store.gets) <= 3


def test_index_objects_say_where_older_chunks_are(store: MemoryStore, publisher: Publisher) -> None:
    ref, tree = publisher.publish(LISTING, flush=True, index=True)
    reader = opened(store, ref)

    assert contents(reader, tree)[b"small"] == b"text"


def test_an_index_object_is_fetched_once_for_all_readers_with_a_cache(
    store: MemoryStore, publisher: Publisher, tmp_path: Path
) -> None:
    ref, tree = publisher.publish(LISTING, flush=True, index=True)
    first, second = (opened(store, ref, PackCache(tmp_path / "cache", MUCH)) for _ in range(2))
    contents(first, tree)
    before = {key[0] for key, _, _ in store.gets}
    store.gets.clear()
    contents(second, tree)

    assert {"i", "p"} == before
    assert [] == store.gets


def test_an_index_object_is_not_fetched_when_nothing_is_wanted_of_it(
    store: MemoryStore, publisher: Publisher
) -> None:
    publisher.publish({b"old": b"x" * 200}, flush=True)
    ref, tree = publisher.publish({b"new": b"y" * 200}, index=True)
    found = contents(opened(store, ref), tree)

    assert {b"new": b"y" * 200} == found
    assert [] == store.gets


def test_a_damaged_cache_is_replaced(store: MemoryStore, publisher: Publisher, tmp_path: Path) -> None:
    ref, tree = publisher.publish(LISTING, flush=True, index=True)
    cache = PackCache(tmp_path, MUCH, packs=False)
    contents(opened(store, ref, cache), tree)
    (cached,) = tmp_path.glob("i-*")
    good = cached.read_bytes()
    cached.write_bytes(good[:-10])

    assert contents(opened(store, ref, cache), tree)[b"small"] == b"text"
    assert cached.read_bytes() == good


def test_a_cache_that_cannot_be_written_is_done_without(
    store: MemoryStore, publisher: Publisher, tmp_path: Path
) -> None:
    ref, tree = publisher.publish(LISTING, flush=True, index=True)
    cache = PackCache(tmp_path / "cache", MUCH)
    (tmp_path / "cache").rmdir()
    (tmp_path / "cache").touch()

    assert contents(opened(store, ref, cache), tree)[b"small"] == b"text"


def test_a_chunk_damaged_on_its_way_is_read_again(store: MemoryStore, publisher: Publisher) -> None:
    ref, tree = publisher.publish(LISTING, flush=True)
    reader = opened(store, ref)
    for key in store.objects:
        store.damage[key] = 1

    assert contents(reader, tree)[b"lib/deep/x"] == random_bytes(5000)


def test_a_chunk_damaged_in_the_store_is_named_with_pack_and_place(
    store: MemoryStore, publisher: Publisher
) -> None:
    ref, _ = publisher.publish(LISTING, flush=True)
    reader = opened(store, ref)
    digest = digest_of(random_bytes(5000))
    row = next(row for row in publisher.rows if any(entry.digest == digest for entry in row.entries))
    offset = next(entry.offset for entry in row.entries if entry.digest == digest)
    store.damage[row.key] = 100
    with pytest.raises(Corrupt) as caught:
        reader.chunk(digest)

    assert caught.value.reason == "bad_chunk"
    assert (len(store.gets), store.gets[-1][:2]) == (2, (row.key, offset))
    for part in (digest.hex(), row.key, f"at {offset}"):
        assert part in caught.value.message


def test_a_snapshot_damaged_on_its_way_is_read_again(store: MemoryStore, publisher: Publisher) -> None:
    ref, tree = publisher.publish(LISTING)
    store.damage[ref.key] = 1

    assert SnapshotReader(store).open(ref).src == tree


def test_a_snapshot_damaged_in_the_store_is_an_error(store: MemoryStore, publisher: Publisher) -> None:
    ref, _ = publisher.publish(LISTING)
    store.damage[ref.key] = 2

    with pytest.raises(Corrupt):
        SnapshotReader(store).open(ref)


def test_a_snapshot_that_is_not_there_is_named(store: MemoryStore, publisher: Publisher) -> None:
    ref, _ = publisher.publish(LISTING)
    store.delete(ref.key)

    with pytest.raises(NotFound) as caught:
        SnapshotReader(store).open(ref)

    assert ref.key in caught.value.message


def test_another_snapshot_than_asked_for_is_refused(store: MemoryStore, publisher: Publisher) -> None:
    ref, _ = publisher.publish(LISTING)

    with pytest.raises(Corrupt) as caught:
        SnapshotReader(store).open(SnapshotRef(digest=EMPTY, key=ref.key))

    assert caught.value.reason == "bad_snapshot"


def test_a_reference_cannot_name_anything_but_an_object(store: MemoryStore) -> None:
    with pytest.raises(InvalidInput):
        SnapshotReader(store).open(SnapshotRef(digest=EMPTY, key="../../etc/passwd"))


def test_a_chunk_nobody_knows_is_named(store: MemoryStore, publisher: Publisher) -> None:
    ref, _ = publisher.publish(LISTING)

    with pytest.raises(Corrupt) as caught:
        opened(store, ref).chunk(digest_of(b"never stored"))

    assert caught.value.reason == "chunk_missing"
    assert digest_of(b"never stored").hex() in caught.value.message


def test_a_pack_that_is_gone_is_named(store: MemoryStore, publisher: Publisher) -> None:
    ref, tree = publisher.publish(LISTING, flush=True)
    reader = opened(store, ref)
    gone = publisher.rows[0].key
    store.delete(gone)

    with pytest.raises(NotFound) as caught:
        contents(reader, tree)

    assert gone in caught.value.message


def test_each_wanted_chunk_comes_once(store: MemoryStore, publisher: Publisher) -> None:
    publisher.pack_bytes = 20_000
    chunks = {b"%d" % at: random_bytes(5000, b"%d" % at) for at in range(40)}
    ref, _ = publisher.publish(chunks, flush=True)
    wanted = [digest_of(data) for data in chunks.values()]
    found = list(opened(store, ref).fetch(wanted + wanted + [EMPTY]))

    assert len(found) == 41
    assert dict(found) == {digest_of(data): data for data in [*chunks.values(), b""]}


def test_requests_run_only_a_little_ahead_of_what_is_used(store: MemoryStore, publisher: Publisher) -> None:
    publisher.pack_bytes = 5000
    chunks = {b"%d" % at: random_bytes(5000, b"%d" % at) for at in range(40)}
    ref, _ = publisher.publish(chunks, flush=True)
    reader = opened(store, ref)
    fetching = reader.fetch([digest_of(data) for data in chunks.values()])
    next(fetching)
    fetching.close()

    assert 1 <= len(store.gets) <= AHEAD + 1


def test_a_pack_is_read_as_soon_as_all_of_it_is_named(store: MemoryStore, publisher: Publisher) -> None:
    publisher.pack_bytes = 5000
    chunks = [random_bytes(5000, b"%d" % at) for at in range(3)]
    ref, _ = publisher.publish({b"%d" % at: data for at, data in enumerate(chunks)}, flush=True)
    reader = opened(store, ref)
    packs = [row.key for row in publisher.rows]

    def read(keys: list[str]) -> bool:
        return [key for key, _, _ in store.gets] == keys

    def named() -> Iterator[bytes]:
        for number, data in enumerate(chunks):
            wait_until(partial(read, packs[:number]), "those before are read")
            yield digest_of(data)

    assert dict(reader.fetch_along(named())) == {digest_of(data): data for data in chunks}


def test_two_snapshots_can_be_read_side_by_side(store: MemoryStore, publisher: Publisher) -> None:
    first, old = publisher.publish(LISTING)
    second, new = publisher.publish({**LISTING, b"small": b"other" * 100})
    reader = opened(store, first)
    reader.open(second)

    assert contents(reader, old)[b"small"] == b"text"
    assert contents(reader, new)[b"small"] == b"other" * 100


def test_a_file_of_many_chunks_is_read_through_its_lists(store: MemoryStore, publisher: Publisher) -> None:
    data = random_bytes(70 * 1024 * 1024)
    ref, tree = publisher.publish({b"huge": data}, flush=True)
    reader = opened(store, ref)
    (node,) = [node for _, node in reader.walk(tree)]
    assert isinstance(node, FileNode)

    assert len(node.chunk_lists) >= 1
    assert reader.contents(node) == content_of(data)
    assert sum(chunk.size for _, chunk in reader.chunks(node)) == len(data)


def test_very_deep_trees_can_be_walked(store: MemoryStore, publisher: Publisher) -> None:
    uploader = Uploader(store, on_stored=publisher.rows.append)
    digest = EMPTY
    for _ in range(1500):
        node = Directory(directories=[DirectoryNode(name=b"d", digest=digest, mode=0o755)])
        data = node.SerializeToString(deterministic=True)
        digest = digest_of(data)
        uploader.add(digest, data)
    ref = uploader.publish(Snapshot(version=1), [], [])
    uploader.close()
    walked = list(opened(store, ref).walk(Tree(digest=digest)))

    assert len(walked) == 1500
    assert walked[-1][0] == b"/".join([b"d"] * 1500)


def test_a_tree_without_digest_is_empty(store: MemoryStore) -> None:
    assert list(SnapshotReader(store).walk(Tree())) == []


def test_the_empty_tree_needs_no_chunk(store: MemoryStore) -> None:
    assert encode_directory({}, lambda digest, data: None) == EMPTY
    assert list(SnapshotReader(store).walk(Tree(digest=EMPTY))) == []


def test_the_chunk_of_no_bytes_is_there_without_its_pack(store: MemoryStore, publisher: Publisher) -> None:
    """Nobody keeps a pack for it."""
    ref, _ = publisher.publish({b"none": {}}, flush=True)
    reader = opened(store, ref)
    (row,) = publisher.rows
    store.delete(row.key)

    assert EMPTY in [entry.digest for entry in row.entries]
    assert b"" == reader.chunk(EMPTY)


def test_a_chunk_that_a_list_places_in_a_pack_that_is_gone_is_read_where_the_snapshot_has_it(
    store: MemoryStore,
) -> None:
    """Lists are never rewritten: they go on naming packs that were removed."""
    twice, once, other = (random_bytes(1000, name) for name in (b"twice", b"once", b"other"))
    rows: list[PackIndex] = []
    first, second = (Uploader(store, on_stored=rows.append) for _ in range(2))
    for uploader, chunks in ((first, [twice]), (first, [once]), (second, [twice, other])):
        for data in chunks:
            uploader.add(digest_of(data), data)
        uploader.flush()
    listed, again = rows[:2], rows[2:]
    ref = second.publish(Snapshot(version=1), again, [first.write_index(listed).result()])
    first.close()
    second.close()
    store.delete(listed[0].key)
    reader = opened(store, ref)
    found = [reader.chunk(digest_of(data)) for data in (twice, once, twice)]

    assert [twice, once, twice] == found
