"""The values a watcher answers with."""

from __future__ import annotations

from pollinator.daemon.watch.base import Changes, lineage, topmost


def test_no_changes_are_false() -> None:
    assert not Changes()
    assert not Changes(writing=frozenset((b"f",)))
    assert Changes(root_gone=True)
    assert Changes(subtrees=frozenset((b"",)))


def test_a_path_is_covered_by_itself_and_by_subtrees_above_it() -> None:
    changes = Changes(paths=frozenset((b"a/f",)), subtrees=frozenset((b"b/c",)))

    assert changes.covers(b"a/f")
    assert changes.covers(b"b/c")
    assert changes.covers(b"b/c/d/e")
    assert not changes.covers(b"a")
    assert not changes.covers(b"a/f/x")
    assert not changes.covers(b"b/cc")


def test_the_root_covers_everything() -> None:
    assert Changes(subtrees=frozenset((b"",))).covers(b"any/thing")


def test_the_lineage_of_a_path_ends_with_the_root() -> None:
    assert [b"a/b", b"a", b""] == list(lineage(b"a/b"))


def test_subtrees_below_others_are_left_out() -> None:
    assert {b"a", b"b/c", b"ab"} == topmost([b"a", b"a/b", b"a/b/c", b"b/c", b"ab"])
    assert {b""} == topmost([b"a", b"", b"b/c"])
