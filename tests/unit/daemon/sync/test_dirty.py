"""From what a watcher names to files that were read, whatever order the names come in."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from pollinator.daemon.known import File
from pollinator.daemon.scan import listings
from pollinator.daemon.sync import biggest, dirty
from pollinator.daemon.sync.dirty import DirtySet
from pollinator.daemon.sync.state import Dir, Gap, Link, State, nodes_below
from pollinator.daemon.watch.base import Changes
from pollinator.executors.conformance.trees import random_bytes


def nothing(_path: bytes, _is_dir: bool) -> bool:
    """Ignores nothing."""
    return False


def drop(_digest: bytes, _data: bytes | memoryview) -> None:
    """Takes chunks."""


class Bench:
    """A folder, and what is known of it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.state = State()
        self.dirty = DirtySet(os.fsencode(root), self.state, nothing, time.time_ns)
        self.read: list[int] = []

    def look(self, *paths: bytes, subtrees: tuple[bytes, ...] = ()) -> dict[bytes, str]:
        """Look at these and read; returns what is known then."""
        self.dirty.add(Changes(paths=frozenset(paths), subtrees=frozenset(subtrees)))
        self.dirty.process(lambda _digest, data: self.read.append(len(data)))
        return self.known

    @property
    def known(self) -> dict[bytes, str]:
        """Kinds of all that is known."""
        kinds = {File: "file", Link: "link", Dir: "folder", Gap: "gap"}
        return {path: kinds[type(node)] for path, node in nodes_below(self.state.root) if path}


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


@pytest.mark.parametrize("first", [b"d", b"d/f"])
def test_what_lies_behind_a_link_is_not_in_the_tree(bench: Bench, first: bytes) -> None:
    """Its own event may come before or after those of what was there when it was a folder."""
    (bench.root / "e").mkdir()
    (bench.root / "e/f").write_text("x")
    (bench.root / "d").mkdir()
    (bench.root / "d/f").write_text("x")
    bench.look(subtrees=(b"",))
    (bench.root / "d/f").unlink()
    (bench.root / "d").rmdir()
    (bench.root / "d").symlink_to("e")
    bench.look(first)
    bench.look(*{b"d", b"d/f"} - {first})

    assert {b"d": "link", b"e": "folder", b"e/f": "file"} == bench.known


def test_a_file_in_a_folder_nobody_spoke_of_brings_the_folder_with_all_it_holds(bench: Bench) -> None:
    (bench.root / "a/b").mkdir(parents=True)
    (bench.root / "a/b/f").write_text("x")
    (bench.root / "a/g").write_text("x")
    (bench.root / "a/b").chmod(0o711)

    assert {b"a": "folder", b"a/b": "folder", b"a/b/f": "file", b"a/g": "file"} == bench.look(b"a/b/f")
    folder = bench.state.get(b"a/b")
    assert isinstance(folder, Dir)
    assert 0o711 == folder.mode & 0o777


def test_what_is_gone_before_it_was_read_leaves_nothing(bench: Bench) -> None:
    (bench.root / "f").write_text("x")
    bench.dirty.add(Changes(paths=frozenset((b"f",))))
    bench.dirty.survey()
    assert {b"f": "gap"} == bench.known
    (bench.root / "f").unlink()

    assert {} == bench.look(subtrees=(b"",))
    assert (0, 0) == bench.dirty.backlog()
    assert ({}, {b"f"}) == bench.dirty.take_results()


def test_a_look_that_fails_is_made_again(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    (bench.root / "d").mkdir()
    (bench.root / "d/f").write_text("x")
    calls = 0

    def failing(*arguments: object) -> object:
        nonlocal calls
        calls += 1
        if calls == 1:
            raise MemoryError
        return listings(*arguments)  # type: ignore[arg-type] # passed on

    monkeypatch.setattr(dirty, "listings", failing)
    with pytest.raises(MemoryError):
        bench.look(subtrees=(b"",))

    assert bench.dirty
    assert {b"d": "folder", b"d/f": "file"} == bench.look()


def test_a_read_that_fails_is_made_again(bench: Bench) -> None:
    (bench.root / "f").write_bytes(random_bytes(1000))

    def fail(_digest: bytes, _data: bytes | memoryview) -> None:
        raise MemoryError

    bench.dirty.add(Changes(paths=frozenset((b"f",))))
    with pytest.raises(MemoryError):
        bench.dirty.process(fail)

    assert {b"f": "file"} == bench.look()
    assert [1000] == bench.read


def test_a_file_that_is_the_same_is_not_read_again(bench: Bench) -> None:
    (bench.root / "f").write_bytes(random_bytes(1000))
    bench.look(b"f")
    bench.look(b"f", subtrees=(b"",))

    assert [1000] == bench.read


def test_reading_stops_when_it_is_enough(bench: Bench) -> None:
    for number in range(5):
        (bench.root / f"f{number}").write_bytes(random_bytes(1000))
    bench.dirty.suspect(b"")
    bench.dirty.process(drop, enough=lambda: True)

    assert (4, 4000) == bench.dirty.backlog()


def test_the_backlog_shrinks_while_a_large_file_is_read(bench: Bench) -> None:
    (bench.root / "f").write_bytes(random_bytes(5 << 20))
    bench.dirty.suspect(b"")
    told: list[tuple[int, int]] = []
    bench.dirty.process(lambda _digest, _data: told.append(bench.dirty.backlog()))
    left = [size for _, size in told]

    assert len(left) > 2
    assert sorted(left, reverse=True) == left
    assert {(1, 0)} == {each for each in told if not each[1]}
    assert (0, 0) == bench.dirty.backlog()


def test_the_backlog_forgets_what_is_gone_before_it_was_read(bench: Bench) -> None:
    (bench.root / "d").mkdir()
    for name in ("d/f", "d/g", "h"):
        (bench.root / name).write_bytes(random_bytes(1000))
    bench.dirty.suspect(b"")
    bench.dirty.survey()

    assert (3, 3000) == bench.dirty.backlog()
    (bench.root / "d/f").unlink()
    (bench.root / "d/g").unlink()
    (bench.root / "d").rmdir()
    (bench.root / "h").write_bytes(random_bytes(500))
    bench.dirty.suspect(b"")
    bench.dirty.survey()

    assert (1, 500) == bench.dirty.backlog()


def test_the_biggest_of_a_large_backlog_are_named_until_all_is_stored(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(biggest, "MANY_BYTES", 5000)
    (bench.root / "data").mkdir()
    (bench.root / "data/big").write_bytes(random_bytes(4000))
    (bench.root / "data/small").write_bytes(random_bytes(1000))
    named: list[list[bytes]] = []
    bench.dirty.suspect(b"")
    bench.dirty.process(
        lambda _digest, _data: named.append([each.path for each in bench.dirty.biggest]), enough=lambda: True
    )

    assert [[b"data/big", b"data/small"]] == named
    bench.dirty.process(drop)

    assert [b"data/big", b"data/small"] == [each.path for each in bench.dirty.biggest]
    bench.dirty.forget_biggest()

    assert () == bench.dirty.biggest


def test_a_small_backlog_is_not_worth_a_word(bench: Bench) -> None:
    (bench.root / "f").write_bytes(random_bytes(1000))
    bench.dirty.suspect(b"")
    bench.dirty.process(drop, enough=lambda: True)

    assert () == bench.dirty.biggest


def test_writers_are_not_forgotten_when_more_becomes_suspect(bench: Bench) -> None:
    (bench.root / "f").write_text("x")
    bench.dirty.add(Changes(paths=frozenset((b"f",)), writing=frozenset((b"f",))))
    bench.dirty.suspect(b"")
    bench.dirty.process(drop, hold_writers=True)

    assert {b"f": "gap"} == bench.known
    assert not bench.dirty.ready
    bench.dirty.process(drop)

    assert {b"f": "file"} == bench.known
