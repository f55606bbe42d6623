"""Changing a folder from one tree into another."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from pollinator.chunks.layout import LaidOut, lay_out
from pollinator.chunks.read import SnapshotReader
from pollinator.chunks.update import differences, stamps_of, update
from pollinator.executors.conformance.trees import File, Folder, Link, Listing, random_bytes
from pollinator.v1.tree_pb2 import Tree
from pollinator.wire.errors import InvalidInput, WrongState
from support.storing import MemoryStore, Publisher, listed

LARGE = random_bytes(3_000_000)
OLD: Listing = {
    b"same": b"s" * 300,
    b"large": LARGE,
    b"edited": b"old" * 100,
    b"mode": File(b"m" * 300, 0o644),
    b"gone": b"g",
    b"kept": {b"f": b"k" * 300, b"deep": {b"f": b"d" * 300}},
    b"changed": {b"a": b"a" * 300, b"b": b"b" * 300, b"in": {b"x": b"x"}},
    b"dropped": {b"f": b"f", b"in": {b"g": b"g" * 300}},
    b"file-to-folder": b"1" * 300,
    b"folder-to-file": {b"f": b"2" * 300},
    b"file-to-link": b"3" * 300,
    b"link-to-file": Link(b"same"),
    b"link": Link(b"same"),
    b"closed": Folder({b"f": b"c"}, 0o755),
}
NEW: Listing = {
    b"same": b"s" * 300,
    b"large": LARGE,
    b"edited": b"new" * 100,
    b"mode": File(b"m" * 300, 0o755),
    b"added": b"+" * 300,
    b"kept": {b"f": b"k" * 300, b"deep": {b"f": b"d" * 300}},
    b"changed": {b"a": b"a" * 300, b"b": b"B" * 300, b"in": {b"x": b"X"}, b"new": {b"n": b"n" * 300}},
    b"file-to-folder": {b"f": b"1" * 300, b"in": {}},
    b"folder-to-file": b"2" * 300,
    b"file-to-link": Link(b"same"),
    b"link-to-file": b"same",
    b"link": Link(b"large"),
    b"closed": Folder({b"f": b"c"}, 0o555),
}


class Changing:
    """A folder that holds one tree after the other."""

    def __init__(self, root: Path) -> None:
        self.store = MemoryStore()
        self.publisher = Publisher(self.store)
        self.reader = SnapshotReader(self.store)
        self.root = root / "tree"
        self.root.mkdir()
        self.fresh = root / "fresh"

    def publish(self, listing: Listing) -> Tree:
        ref, tree = self.publisher.publish(listing, flush=True)
        self.reader.open(ref)
        return tree

    def begin(self, listing: Listing) -> Tree:
        tree = self.publish(listing)
        lay_out(self.reader, tree, self.root, external_links=True)
        return tree

    def laid_out_afresh(self, tree: Tree) -> dict[bytes, tuple[str, int, bytes]]:
        self.fresh.mkdir()
        lay_out(self.reader, tree, self.fresh, external_links=True)
        return listed(self.fresh)


@pytest.fixture
def changing(tmp_path: Path) -> Changing:
    return Changing(tmp_path)


@pytest.mark.parametrize(("old", "new"), [(OLD, NEW), (NEW, OLD), ({}, NEW), (OLD, {}), (OLD, OLD)])
def test_a_folder_that_was_changed_is_as_one_laid_out_afresh(
    changing: Changing, old: Listing, new: Listing
) -> None:
    before, after = changing.begin(old), changing.publish(new)
    update(changing.reader, before, after, changing.root)

    assert changing.laid_out_afresh(after) == listed(changing.root)


def test_only_what_differs_is_fetched_and_written(changing: Changing) -> None:
    before, after = changing.begin(OLD), changing.publish(NEW)
    inodes = {name: os.stat(changing.root / name).st_ino for name in ("same", "large", "kept/deep/f")}
    told: list[int] = []
    laid = update(changing.reader, before, after, changing.root, progress=told.append)

    assert inodes == {name: os.stat(changing.root / name).st_ino for name in inodes}
    assert LaidOut(9, 300 * 7 + 5) == laid
    assert 300 * 7 + 5 == told[-1]


def test_equal_trees_cost_no_request(changing: Changing) -> None:
    tree = changing.begin(OLD)
    changing.store.gets.clear()

    assert LaidOut(0, 0) == update(changing.reader, tree, tree, changing.root)
    assert [] == changing.store.gets


def test_directories_with_the_same_node_are_not_looked_into(changing: Changing) -> None:
    before, after = changing.publish(OLD), changing.publish(NEW)
    paths = {path for path, _, _ in differences(changing.reader, before, after)}

    assert not {path for path in paths if path.startswith((b"kept", b"dropped/", b"same"))}
    assert {b"changed/b", b"changed/in/x", b"changed/new", b"changed/new/n", b"dropped"} <= paths


def test_a_directory_of_many_entries_is_compared_by_its_parts(changing: Changing) -> None:
    many: dict[bytes, bytes] = {b"%05d" % at: b"%d" % at for at in range(3000)}
    before, after = changing.begin({b"d": many}), changing.publish({b"d": {**many, b"01234": b"other"}})
    found = [*differences(changing.reader, before, after)]
    update(changing.reader, before, after, changing.root)

    assert [b"d/01234"] == [path for path, _, _ in found]
    assert changing.laid_out_afresh(after) == listed(changing.root)


@pytest.mark.parametrize("target", [b"/etc", b"../x", b"in/up/../.."])
def test_a_link_that_leaves_the_tree_is_refused_before_anything_changes(
    changing: Changing, target: bytes
) -> None:
    old: Listing = {b"f": b"x", b"in": {b"up": Link(b"..")}}
    before, after = changing.begin(old), changing.publish({**old, b"a": b"a", b"evil": Link(target)})
    was = listed(changing.root)
    with pytest.raises(InvalidInput) as caught:
        update(changing.reader, before, after, changing.root)

    assert "external_link" == caught.value.reason
    assert was == listed(changing.root)


def test_a_link_may_leave_the_tree_where_that_is_allowed(changing: Changing) -> None:
    before, after = changing.begin({}), changing.publish({b"out": Link(b"/etc")})
    update(changing.reader, before, after, changing.root, external_links=True)

    assert "/etc" == os.readlink(changing.root / "out")


def test_what_is_not_as_the_old_tree_says_is_an_error_and_not_overwritten(changing: Changing) -> None:
    before, after = changing.begin({b"f": b"x"}), changing.publish({b"f": b"x", b"new": b"n" * 200})
    (changing.root / "new").write_text("mine")
    with pytest.raises(WrongState):
        update(changing.reader, before, after, changing.root)

    assert "mine" == (changing.root / "new").read_text()


def touched(root: Path) -> None:
    """The same bytes, written again."""
    (root / "same").write_bytes((root / "same").read_bytes())


def rewritten(root: Path) -> None:
    """Other bytes, with the times of those before."""
    info = (root / "same").stat()
    (root / "same").write_bytes(b"S" * 300)
    os.utime(root / "same", ns=(info.st_atime_ns, info.st_mtime_ns))


def replaced(root: Path) -> None:
    (root / "other").write_bytes(b"s" * 300)
    (root / "other").replace(root / "same")


def with_more(root: Path) -> None:
    (root / "kept/deep/more").touch()


def with_less(root: Path) -> None:
    (root / "kept/f").unlink()


def closed(root: Path) -> None:
    (root / "changed/in").chmod(0o700)


def renamed(root: Path) -> None:
    (root / "changed/a").rename(root / "changed/z")


@pytest.mark.parametrize("change", [touched, rewritten, replaced, with_more, with_less, closed, renamed])
def test_stamps_tell_that_something_was_touched(changing: Changing, change: Callable[[Path], None]) -> None:
    changing.begin(OLD)
    before = stamps_of(changing.root)

    assert before == stamps_of(changing.root)
    change(changing.root)
    assert before != stamps_of(changing.root)


def test_stamps_stay_when_the_folder_moves(changing: Changing) -> None:
    changing.begin(OLD)
    before = stamps_of(changing.root)
    changing.root.parent.rename(changing.root.parent.with_name("moved"))

    assert before == stamps_of(changing.root.parent.with_name("moved") / "tree")
