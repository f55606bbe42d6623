"""The files of a tree as a colony is to have them."""

from __future__ import annotations

import pytest

from pollinator.chunks.cut import Content
from pollinator.chunks.read import SnapshotReader
from pollinator.executors.colonies import contents as under_test
from pollinator.executors.colonies.contents import TreeContents
from pollinator.executors.conformance.trees import File, Link, Listing, random_bytes
from support.storing import MemoryStore, Publisher

MIB = 1024 * 1024


def contents_of(listing: Listing, store: MemoryStore | None = None) -> TreeContents:
    """The contents of a tree written down as names and bytes."""
    store = store or MemoryStore()
    ref, tree = Publisher(store).publish(listing)
    reader = SnapshotReader(store)
    reader.open(ref)
    store.gets.clear()
    return TreeContents(reader, tree)


def read(contents: TreeContents, *paths: str) -> dict[str, bytes]:
    """What these files hold, or all of them."""
    return {path: b"".join(blocks) for path, blocks in contents.read(paths or contents.sources)}


def test_every_file_is_read_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(under_test, "GROUP_BYTES", MIB)
    large = random_bytes(5 * MIB)
    listing: Listing = {
        b"empty": b"",
        b"few": b"few",
        b"one": random_bytes(300_000, b"1"),
        b"same": random_bytes(300_000, b"1"),
        b"large": large,
        b"below": {b"a": {b"b": random_bytes(900_000, b"2")}, b"c": random_bytes(500_000, b"3")},
        "ü €\n".encode(): b"x" * 1000,
    }

    found = read(contents_of(listing))

    assert found == {
        "empty": b"",
        "few": b"few",
        "one": random_bytes(300_000, b"1"),
        "same": random_bytes(300_000, b"1"),
        "large": large,
        "below/a/b": random_bytes(900_000, b"2"),
        "below/c": random_bytes(500_000, b"3"),
        "ü €\n": b"x" * 1000,
    }


def test_holes_are_zeros() -> None:
    hole = Content(b"", (), ((0, 3 * MIB),), 3 * MIB)

    assert read(contents_of({b"hole": hole})) == {"hole": bytes(3 * MIB)}


def test_small_files_are_read_together() -> None:
    store = MemoryStore()
    contents = contents_of({b"%d" % at: random_bytes(500, b"%d" % at) for at in range(50)}, store)
    store.gets.clear()

    assert 50 == len(read(contents))
    assert len(store.gets) <= 2


def test_a_key_tells_contents_apart_and_neither_names_nor_modes() -> None:
    large = random_bytes(5 * MIB)
    listing: Listing = {
        b"small": b"x",
        b"small2": File(b"x", 0o755),
        b"one": random_bytes(1000),
        b"one2": File(random_bytes(1000), 0o755),
        b"large": large,
        b"large2": File(large, 0o600),
        b"other": large[:-1],
        b"empty": b"",
        b"zero": b"\0",
    }

    keys = {path: source.key for path, source in contents_of(listing).sources.items()}

    assert keys["small"] == keys["small2"]
    assert keys["one"] == keys["one2"]
    assert keys["large"] == keys["large2"]
    assert 6 == len(set(keys.values()))


def test_links_to_files_of_the_tree_are_followed() -> None:
    listing: Listing = {
        b"main.py": b"main",
        b"lib": {b"x.py": b"x", b"up": Link(b"../main.py")},
        b"to": Link(b"lib/x.py"),
        b"twice": Link(b"./to"),
        b"through": Link(b"folder/x.py"),
        b"folder": Link(b"lib"),
    }

    contents = contents_of(listing)

    assert {
        "main.py": b"main",
        "lib/x.py": b"x",
        "lib/up": b"main",
        "to": b"x",
        "twice": b"x",
        "through": b"x",
    } == read(contents)
    assert ("folder: a link to a folder (lib)",) == contents.left_out


@pytest.mark.parametrize(
    "target", [b"/etc/passwd", b"../x", b"lib/../../x", b"nothing", b"self", b"a/b", b"main.py/x"]
)
def test_other_links_are_left_out_and_named(target: bytes) -> None:
    contents = contents_of({b"main.py": b"main", b"self": Link(target), b"lib": {}})

    assert {"main.py"} == contents.sources.keys()
    assert (f"self: a link to no file of this tree ({target.decode()})",) == contents.left_out


def test_a_name_that_is_no_text_is_left_out_and_named() -> None:
    contents = contents_of({b"ok": b"", b"\xff": b"x"})

    assert {"ok"} == contents.sources.keys()
    assert ("\\xff: its name is no text",) == contents.left_out


def test_what_the_original_leaves_in_folders_is_not_sent() -> None:
    contents = contents_of({b"ok": b"", b".cfs": b"{}", b"a": {b".cfs": b"{}"}})

    assert {"ok"} == contents.sources.keys()
    assert () == contents.left_out


def test_it_has_one_name_wherever_the_same_bytes_are_at_the_same_paths() -> None:
    tree: Listing = {b"a": b"1", b"b": {b"c": b"2"}}
    same: Listing = {b"a": File(b"1", 0o755), b"b": {b"c": b"2"}, b"empty": {}}
    others: list[Listing] = [{b"a": b"1"}, {b"a": b"2", b"b": {b"c": b"1"}}, {b"a": b"1", b"c": b"2"}]

    assert contents_of(tree).name() == contents_of(same).name()
    assert contents_of(tree).name() not in {contents_of(each).name() for each in others}
