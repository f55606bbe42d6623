"""Several results as one."""

from __future__ import annotations

from pathlib import Path

import pytest

from pollinator.chunks import join as join_module
from pollinator.chunks.capture import capture
from pollinator.chunks.folder import FolderStore
from pollinator.chunks.garbage.collect import Collector
from pollinator.chunks.join import Joined, join
from pollinator.chunks.keeping import write_lease
from pollinator.chunks.read import SnapshotReader
from pollinator.executors.conformance.trees import random_bytes
from pollinator.v1.keeping_pb2 import Lease
from pollinator.v1.tree_pb2 import SnapshotRef
from pollinator.wire.errors import Corrupt, NotFound
from support.storing import MemoryStore, listed
from support.syncing import nested, tree_listing


def made(folder: Path, files: dict[str, bytes]) -> Path:
    """A folder with these files; a name that ends in a slash is an empty folder."""
    folder.mkdir()
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if name.endswith("/"):
            path.mkdir()
        else:
            path.write_bytes(data)
    return folder


def joined(tmp_path: Path, store: MemoryStore, *parts: dict[str, bytes]) -> Joined:
    refs = [capture(made(tmp_path / f"part{at}", part), store).ref for at, part in enumerate(parts)]
    return join(store, refs)


def read(store: MemoryStore, done: Joined) -> dict[bytes, tuple[str, int, bytes]]:
    reader = SnapshotReader(store)
    snapshot = reader.open(done.ref)
    assert snapshot.result == done.tree
    found = tree_listing(reader, snapshot.result)
    files = [data for kind, _, data in found.values() if kind == "file"]
    assert (len(files), sum(map(len, files))) == (done.tree.files, done.tree.bytes)
    return found


def test_what_is_in_any_of_them_is_there(tmp_path: Path) -> None:
    store = MemoryStore()
    big = random_bytes(5_000_000)
    parts = [
        {"rank0": b"a", "both/0": b"x" * 300, "own/deep/f": b"y" * 1000, "same": b"s" * 500},
        {"rank1": big, "both/1": b"z", "same": b"s" * 500, "empty/": b""},
    ]
    done = joined(tmp_path, store, *parts)
    wanted = made(tmp_path / "wanted", {**parts[0], **parts[1]})

    assert listed(wanted) == read(store, done)
    assert () == done.replaced


def test_the_last_of_a_name_is_kept_and_that_is_said(tmp_path: Path) -> None:
    store = MemoryStore()
    parts = [
        {"log": b"of the first" * 30, "d/log": b"1", "was/folder": b"", "was-file": b"", "same": b"1"},
        {"log": b"of the second" * 30, "d/log": b"2", "was": b"", "was-file/in": b"", "same": b"1"},
        {"same": b"1"},
    ]
    done = joined(tmp_path, store, *parts)

    assert ("d/log", "log", "was", "was-file") == tuple(sorted(done.replaced))
    found = read(store, done)
    assert (b"2", b"of the second" * 30) == (found[b"d/log"][2], found[b"log"][2])
    assert {b"log", b"d", b"d/log", b"was", b"was-file", b"was-file/in", b"same"} == found.keys()


def test_parts_that_are_all_the_same_are_not_written_again(tmp_path: Path) -> None:
    store = MemoryStore()
    part = {"f": b"x" * 1000, "d/g": b"y"}
    done = joined(tmp_path, store, part, part, part)

    assert listed(tmp_path / "part0") == read(store, done)


def test_no_results_are_empty_results(tmp_path: Path) -> None:
    store = MemoryStore()

    assert {} == read(store, joined(tmp_path, store, {}, {}))


def test_folders_may_be_nested_deeper_than_calls(tmp_path: Path) -> None:
    store = MemoryStore()
    parts = [made(tmp_path / name, {}) for name in "ab"]
    refs: list[SnapshotRef] = []
    for depth, part in zip((1400, 1500), parts, strict=True):
        with nested(part, depth):
            refs.append(capture(part, store).ref)

    assert 1500 == len(read(store, join(store, refs)))


def test_long_lists_of_packs_go_into_an_index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(join_module, "LISTED_CHUNKS", 2)
    store = MemoryStore()
    parts = [{f"f{at}-{node}": random_bytes(1000, b"%d" % at) for at in range(5)} for node in range(2)]
    done = joined(tmp_path, store, *parts)

    assert 1 == sum(key.startswith("i/") for key in store.objects)
    assert 10 == len(read(store, done))


def test_modes_and_links_are_kept(tmp_path: Path) -> None:
    store = MemoryStore()
    first, second = made(tmp_path / "a", {"d/run": b"#!"}), made(tmp_path / "b", {"d/x": b""})
    (first / "d/run").chmod(0o755)
    (second / "d").chmod(0o700)
    (second / "d/link").symlink_to("x")
    done = join(store, [capture(each, store).ref for each in (first, second)])
    found = read(store, done)

    assert ("file", 0o755, b"#!") == found[b"d/run"]
    assert ("link", 0o777, b"x") == found[b"d/link"]
    assert 0o700 == found[b"d"][1]


def test_a_collection_keeps_all_that_the_whole_needs(tmp_path: Path) -> None:
    store = FolderStore(tmp_path / "store")
    parts = [made(tmp_path / "a", {"f": b"x" * 9000}), made(tmp_path / "b", {"g": b"y" * 9000})]
    done = join(store, [capture(each, store).ref for each in parts])
    write_lease(store, "run1", Lease(result=done.ref))
    for _ in range(3):
        Collector(store, "0" * 32, grace_s=-1).collect(lambda _doing, _done, _total: None)
    reader = SnapshotReader(store)

    assert {b"f", b"g"} == tree_listing(reader, reader.open(done.ref).result).keys()


def test_a_part_that_is_not_there_or_is_another_is_no_part(tmp_path: Path) -> None:
    store = MemoryStore()
    ref = capture(made(tmp_path / "a", {}), store).ref
    with pytest.raises(NotFound):
        join(store, [ref, SnapshotRef(key="s/00/" + "0" * 64, digest=ref.digest)])
    with pytest.raises(Corrupt):
        join(store, [ref, SnapshotRef(key=ref.key, digest=b"x" * 32)])
