"""Laying trees out."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pollinator.chunks import layout as under_test
from pollinator.chunks.ahead import AHEAD
from pollinator.chunks.cut import Content, cut
from pollinator.chunks.digest import EMPTY, digest_of
from pollinator.chunks.layout import LaidOut, clear_leftovers, lay_out, make_file, temporary_name
from pollinator.chunks.links import chain_leaves, link_leaves
from pollinator.chunks.read import SnapshotReader
from pollinator.chunks.upload import Uploader
from pollinator.executors.conformance.trees import File, Link, Listing, random_bytes
from pollinator.v1.tree_pb2 import Chunk, Directory, FileNode, Snapshot, Tree
from pollinator.wire.errors import Corrupt, Exhausted, InvalidInput, WrongState
from support.disk import full_disk
from support.storing import MemoryStore, Publisher, listed

MEBI = 1024 * 1024


class Place:
    """A folder to lay out into, and a store to lay out from."""

    def __init__(self, root: Path) -> None:
        self.outside = root / "outside"
        self.outside.mkdir()
        self.root = root / "tree"
        self.root.mkdir()
        self.store = MemoryStore()
        self.publisher = Publisher(self.store)

    def publish(self, listing: Listing, *, flush: bool = False) -> tuple[SnapshotReader, Tree]:
        ref, tree = self.publisher.publish(listing, flush=flush)
        reader = SnapshotReader(self.store)
        reader.open(ref)
        self.store.gets.clear()
        return reader, tree

    def lay_out(self, listing: Listing, *, external_links: bool = False) -> LaidOut:
        return lay_out(*self.publish(listing), self.root, external_links=external_links)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def test_a_tree_is_laid_out_as_it_was(place: Place) -> None:
    laid = place.lay_out(
        {
            b"main.py": b"print(1)\n" * 100,
            b"run.sh": File(b"#!/bin/sh\n", 0o755),
            b"secret": File(b"x" * 300, 0o400),
            b"none": b"",
            b"empty": {},
            b"a": {b"b": {b"c": random_bytes(3 * MEBI), b"up": Link(b"../../main.py")}},
            b"odd \xff\n\xc3\xa9": b"y" * 200,
        }
    )

    assert listed(place.root) == {
        b"main.py": ("file", 0o644, b"print(1)\n" * 100),
        b"run.sh": ("file", 0o755, b"#!/bin/sh\n"),
        b"secret": ("file", 0o400, b"x" * 300),
        b"none": ("file", 0o644, b""),
        b"empty": ("folder", 0o755, b""),
        b"a": ("folder", 0o755, b""),
        b"a/b": ("folder", 0o755, b""),
        b"a/b/c": ("file", 0o644, random_bytes(3 * MEBI)),
        b"a/b/up": ("link", 0o777, b"../../main.py"),
        b"odd \xff\n\xc3\xa9": ("file", 0o644, b"y" * 200),
    }
    assert laid == LaidOut(files=6, bytes=900 + 10 + 300 + 3 * MEBI + 200)


def test_modes_do_not_depend_on_the_umask(place: Place) -> None:
    before = os.umask(0o077)
    try:
        place.lay_out({b"open": File(b"x" * 200, 0o666), b"d": {b"f": b"x"}})
    finally:
        os.umask(before)

    assert [mode for _, mode, _ in listed(place.root).values()] == [0o755, 0o666, 0o644]


def test_holes_stay_holes(place: Place, tmp_path: Path) -> None:
    sparse = tmp_path / "sparse"
    with sparse.open("wb") as file:
        os.pwrite(file.fileno(), random_bytes(MEBI), 4 * MEBI)
        os.pwrite(file.fileno(), b"end", 9 * MEBI)
        file.truncate(64 * MEBI)
    uploader = Uploader(place.store, on_stored=place.publisher.rows.append)
    with sparse.open("rb") as file:
        content = cut(file.fileno(), 64 * MEBI, uploader.add)
    uploader.flush()
    uploader.close()
    place.lay_out({b"sparse": content, b"hole": Content(b"", (), ((0, 8 * MEBI),), 8 * MEBI)})
    laid = place.root / "sparse"

    assert laid.read_bytes() == sparse.read_bytes()
    assert laid.stat().st_blocks * 512 < 2 * MEBI
    assert (place.root / "hole").stat().st_size == 8 * MEBI
    assert (place.root / "hole").stat().st_blocks == 0


def test_equal_files_are_fetched_once(place: Place) -> None:
    data = random_bytes(5000)
    reader, tree = place.publish({b"%d" % at: data for at in range(50)}, flush=True)
    lay_out(reader, tree, place.root)

    assert {(kind, content) for kind, _, content in listed(place.root).values()} == {("file", data)}
    assert len(place.store.gets) <= 2


def test_equal_folders_of_more_packs_than_are_read_ahead_are_fetched_once(place: Place) -> None:
    files = {b"%02d" % at: random_bytes(5000, b"%d" % at) for at in range(2 * AHEAD)}
    place.publisher.pack_bytes = 5000
    reader, tree = place.publish({b"a": files, b"b": files}, flush=True)
    laid = lay_out(reader, tree, place.root)

    assert 4 * AHEAD == laid.files
    assert len(files) <= len(place.store.gets) <= len(files) + 2


def test_many_small_files_cost_a_request_for_each_pack(place: Place) -> None:
    files = {b"%05d" % at: random_bytes(1000, b"%d" % at) for at in range(1000)}
    place.publisher.pack_bytes = 250_000
    reader, tree = place.publish(files, flush=True)
    lay_out(reader, tree, place.root)

    assert len(place.publisher.rows) == 5
    assert len(place.store.gets) <= 6
    assert {path: content for path, (_, _, content) in listed(place.root).items()} == files


def test_what_is_planned_at_once_is_bounded(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also when a batch ends in the middle of a file."""
    monkeypatch.setattr(under_test, "BATCH_CHUNKS", 3)
    large = random_bytes(6 * MEBI)
    files = {b"a": large, b"b": b"x" * 500, b"c": large[: 3 * MEBI], b"d": b"y" * 600}
    place.lay_out(files)

    assert {path: content for path, (_, _, content) in listed(place.root).items()} == files


def test_more_folders_than_may_be_open_are_laid_out(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(under_test, "OPEN_FOLDERS", 2)
    inner: Listing = {b"f": b"x" * 200}
    for _ in range(6):
        inner = {b"a": inner, b"b": inner, b"f": b"y" * 200}
    before = len(os.listdir("/dev/fd"))
    place.lay_out(inner)

    assert sum(kind == "file" for kind, _, _ in listed(place.root).values()) == 2**7 - 1
    assert len(os.listdir("/dev/fd")) == before


def test_progress_tells_bytes_of_finished_files(place: Place) -> None:
    reader, tree = place.publish({b"a": b"x" * 1000, b"b": b"y" * 500, b"c": b"z"})
    told: list[int] = []
    lay_out(reader, tree, place.root, progress=told.append)

    assert len(told) == 3
    assert told == sorted(told)
    assert told[-1] == 1501


@pytest.mark.parametrize(
    "target", [b"/etc/passwd", b"..", b"../x", b"d/../../x", b"./../x", b"//", b"d/./../..//x"]
)
def test_a_link_that_leaves_the_tree_is_refused_and_named(place: Place, target: bytes) -> None:
    with pytest.raises(InvalidInput) as caught:
        place.lay_out({b"d": {}, b"evil": Link(target)})

    assert caught.value.reason == "external_link"
    assert "evil" in caught.value.message
    assert not (place.root / "evil").is_symlink()


@pytest.mark.parametrize("target", [b"x", b"./x", b"d/..", b"d/../x", b"d//f/", b"gone", b"evil"])
def test_a_link_inside_of_the_tree_is_laid_out(place: Place, target: bytes) -> None:
    place.lay_out({b"d": {b"f": b"x"}, b"evil": Link(target)})

    assert os.fsdecode(target) == os.readlink(place.root / "evil")


def test_a_link_may_leave_the_tree_where_the_project_allows_it(place: Place) -> None:
    place.lay_out({b"etc": Link(b"/etc"), b"up": Link(b"../../x")}, external_links=True)

    assert os.readlink(place.root / "etc") == "/etc"


def test_links_that_leave_the_tree_only_together_are_refused(place: Place) -> None:
    """``a/up`` stays inside and so does ``out`` by its text, but ``a/up/..`` is above the root."""
    with pytest.raises(InvalidInput) as caught:
        place.lay_out({b"a": {b"b": {b"up": Link(b"../..")}}, b"out": Link(b"a/b/up/../x")})

    assert caught.value.reason == "external_link"
    assert "out" in caught.value.message


def test_links_in_a_circle_are_laid_out(place: Place) -> None:
    place.lay_out({b"a": Link(b"b"), b"b": Link(b"a"), b"c": Link(b"c/c")})

    assert os.readlink(place.root / "a") == "b"


def test_a_link_is_judged_from_the_folder_it_is_in() -> None:
    assert not link_leaves(b"a/b/c", b"../../x")
    assert link_leaves(b"a/b/c", b"../../../x")
    assert chain_leaves(b"a", b"b/x", {b"b": b"/tmp"})
    assert not chain_leaves(b"a", b"b/x", {b"b": b"c", b"c": b"d"})


def test_nothing_is_written_through_a_link_that_was_there_before(place: Place) -> None:
    (place.root / "d").symlink_to(place.outside)
    with pytest.raises(WrongState) as caught:
        place.lay_out({b"d": {b"f": b"x" * 200}})

    assert caught.value.reason == "cannot_write"
    assert list(place.outside.iterdir()) == []


def test_nothing_is_written_through_a_link_that_takes_the_place_of_a_folder_meanwhile(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(under_test, "OPEN_FOLDERS", 1)
    monkeypatch.setattr(under_test, "BATCH_CHUNKS", 1)
    reader, tree = place.publish({b"a": b"x" * 200, b"d": {b"e": {b"f": b"y" * 200}, b"g": b"z" * 200}})

    def swap(written: int) -> None:
        if (place.root / "d").is_dir() and not (place.root / "d").is_symlink():
            (place.root / "d").rename(place.root / "moved")
            (place.root / "d").symlink_to(place.outside)

    with pytest.raises(WrongState):
        lay_out(reader, tree, place.root, progress=swap)

    assert list(place.outside.iterdir()) == []


def test_a_file_that_is_in_the_way_is_not_overwritten(place: Place) -> None:
    (place.root / "f").write_text("mine")
    with pytest.raises(WrongState) as caught:
        place.lay_out({b"f": b"x" * 200})

    assert "f" in caught.value.message
    assert (place.root / "f").read_text() == "mine"


def test_a_missing_folder_is_an_error(place: Place) -> None:
    place.root.rmdir()

    with pytest.raises(WrongState):
        place.lay_out({})


def hostile(place: Place, file: FileNode, data: bytes) -> tuple[SnapshotReader, Tree]:
    node = Directory(files=[file]).SerializeToString(deterministic=True)
    uploader = Uploader(place.store, on_stored=place.publisher.rows.append)
    uploader.add(digest_of(data), data)
    uploader.add(digest_of(node), node)
    ref = uploader.publish(Snapshot(version=1), [], [])
    uploader.close()
    reader = SnapshotReader(place.store)
    reader.open(ref)
    return reader, Tree(digest=digest_of(node))


def test_a_manifest_cannot_make_a_file_setuid(place: Place) -> None:
    lay_out(*hostile(place, FileNode(name=b"f", size=1, inline=b"x", mode=0o4755), b""), place.root)

    assert (place.root / "f").stat().st_mode & 0o7777 == 0o755


def test_a_chunk_of_another_length_than_its_file_says_is_refused(place: Place) -> None:
    chunk = Chunk(digest=digest_of(b"x" * 200), size=300)
    reader, tree = hostile(place, FileNode(name=b"f", size=300, chunks=[chunk]), b"x" * 200)

    with pytest.raises(Corrupt) as caught:
        lay_out(reader, tree, place.root)

    assert caught.value.reason == "bad_file"


def test_a_full_disk_says_so(place: Place) -> None:
    uploader = Uploader(place.store, on_stored=place.publisher.rows.append)
    data = random_bytes(2 * MEBI)
    uploader.add(digest_of(data), data)
    content = Content(b"", ((digest_of(data), len(data)),), (), len(data))
    uploader.flush()
    uploader.close()
    with full_disk(MEBI), pytest.raises(Exhausted) as caught:
        place.lay_out({b"f": content})

    assert caught.value.reason == "disk_full"
    assert caught.value.hint


def made(place: Place, listing: Listing, name: bytes, *, damage: int = 0) -> None:
    """One file, made by itself."""
    reader, tree = place.publish(listing, flush=True)
    ((_, node),) = reader.walk(tree)
    assert isinstance(node, FileNode)
    for row in place.publisher.rows:
        place.store.damage[row.key] = damage
    folder = os.open(place.root, os.O_RDONLY)
    try:
        make_file(reader, node, folder, name)
    finally:
        os.close(folder)


def test_a_file_can_be_made_by_itself(place: Place) -> None:
    data = random_bytes(5 * MEBI)
    made(place, {b"f": File(data, 0o750)}, b"g")

    assert listed(place.root) == {b"g": ("file", 0o750, data)}


def test_a_file_is_not_made_over_another_nor_through_a_link(place: Place) -> None:
    (place.outside / "victim").write_text("mine")
    (place.root / "f").symlink_to(place.outside / "victim")
    with pytest.raises(FileExistsError):
        made(place, {b"f": b"new" * 100}, b"f")

    assert (place.outside / "victim").read_text() == "mine"


def test_nothing_is_left_of_a_file_that_cannot_be_made(place: Place) -> None:
    with pytest.raises(Corrupt):
        made(place, {b"f": random_bytes(5000)}, b"f", damage=10)

    assert listed(place.root) == {}


def test_what_others_left_in_the_making_is_cleared_away(place: Place) -> None:
    name = os.fsdecode(temporary_name(b"n" * 255))
    (place.root / name).touch()
    (place.root / os.fsdecode(temporary_name(b"x"))).mkdir()
    (place.root / os.fsdecode(temporary_name(b"y"))).symlink_to(place.outside)
    (place.root / ".pollinator-notes").touch()
    (place.outside / name).touch()
    clear_leftovers(place.root)

    assert len(name) <= 255
    assert [".pollinator-notes"] == os.listdir(place.root)
    assert [name] == os.listdir(place.outside)


def test_files_in_the_making_have_names_the_ignore_rules_know(place: Place) -> None:
    from pollinator.daemon.ignore import OWN_PREFIX

    assert under_test.TEMPORARY.startswith(OWN_PREFIX)


def test_the_empty_tree_lays_out_nothing(place: Place) -> None:
    reader, _ = place.publish({})

    assert lay_out(reader, Tree(digest=EMPTY), place.root) == LaidOut(0, 0)
    assert lay_out(reader, Tree(), place.root) == LaidOut(0, 0)
