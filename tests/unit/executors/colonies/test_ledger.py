"""What is known of a colony's files, across restarts."""

from __future__ import annotations

import sqlite3
import stat
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from pollinator.executors.colonies.ledger import STEPS, Begun, Entry, Ledger
from pollinator.executors.colonies.messages import File
from pollinator.executors.colonies.naming import Spot
from pollinator.wire.errors import Unavailable

ROOT = "/p/src"
SPOT = Spot(ROOT, "main.py")
OTHER = Spot(f"{ROOT}/a", "x.py")
Opener = Callable[[], Ledger]


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Opener]:
    """Opens the ledger, as each life of the process does."""
    lives: list[Ledger] = []

    def open_it() -> Ledger:
        lives.append(Ledger(tmp_path / "ledger.db"))
        return lives[-1]

    yield open_it
    for each in lives:
        each.close()


def file(file_id: str, spot: Spot = SPOT, name: str = "o1") -> File:
    return File(file_id, *spot, 3, "ab" * 32, name, 7)


def test_all_is_known_in_the_next_life(opened: Opener) -> None:
    first = opened()
    colony = first.colony("dev")
    first.note_sums([(b"key", "cd" * 32)])
    first.learn(colony, [file("f1")])
    first.put(colony, ROOT, [(SPOT, Entry(b"key", "f1"))])
    first.begin(colony, ROOT, [Begun("o2", OTHER, b"k", "u")])
    first.hold(colony, ROOT, "s1", "run 1")
    first.keep(colony, ROOT, "s1")
    first.add_beside(colony, ROOT, f"{ROOT}.2")
    first.add_beside(colony, ROOT, f"{ROOT}.1")
    for label in ("/p/result/2", "/p/result/1", "/p/result/2", "/p/result/3"):
        first.note_results(colony, "/p/result", label)
    first.drop_results(colony, "/p/result/3")
    first.close()

    second = opened()

    assert colony == second.colony("dev")
    assert {b"key": "cd" * 32} == second.sums([b"key", b"unknown"])
    assert {"f1": file("f1")} == second.revisions(colony, ["f1", "f2"])
    assert {SPOT: Entry(b"key", "f1")} == second.there(colony, ROOT)
    assert {SPOT: "o1"} == second.objects(colony, ROOT)
    assert [Begun("o2", OTHER, b"k", "u")] == second.begun(colony, ROOT)
    assert second.is_held(colony, ROOT)
    assert "s1" == second.kept(colony, ROOT)
    assert [f"{ROOT}.2", f"{ROOT}.1"] == second.beside(colony, ROOT)
    assert ["/p/result/2", "/p/result/1"] == second.results(colony, "/p/result")


def test_colonies_and_labels_do_not_mix(opened: Opener) -> None:
    ledger = opened()
    colony, other = ledger.colony("dev"), ledger.colony("prod")
    ledger.put(colony, ROOT, [(SPOT, Entry(b"key", "f1"))])
    ledger.learn(colony, [file("f1")])

    assert colony != other
    assert {} == ledger.there(other, ROOT)
    assert {} == ledger.there(colony, "/p/data")
    assert {} == ledger.objects(colony, "/p/data")
    assert {} == ledger.revisions(other, ["f1"])


def test_what_was_sent_is_there_and_not_on_its_way(opened: Opener) -> None:
    ledger = opened()
    colony = ledger.colony("dev")
    ledger.begin(colony, ROOT, [Begun("o1", SPOT, b"key"), Begun("o2", OTHER, b"k2")])

    ledger.sent(colony, ROOT, file("f1"), b"key")

    assert {SPOT: Entry(b"key", "f1")} == ledger.there(colony, ROOT)
    assert [Begun("o2", OTHER, b"k2")] == ledger.begun(colony, ROOT)


def test_the_objects_of_a_removed_file_are_those_that_nothing_else_has(opened: Opener) -> None:
    ledger = opened()
    colony = ledger.colony("dev")
    beside = Spot(f"{ROOT}.1", "main.py")
    ledger.learn(colony, [file("f1"), file("f2", name="o2"), file("f3", beside, "o2")])
    ledger.put(colony, ROOT, [(SPOT, Entry(b"key", "f2"))])

    assert ["o1"] == ledger.forget(colony, ROOT, SPOT)
    assert {} == ledger.there(colony, ROOT)
    assert {"f3"} == ledger.revisions(colony, ["f1", "f2", "f3"]).keys()


def test_a_snapshot_is_held_until_its_holder_lets_go(opened: Opener) -> None:
    ledger = opened()
    colony = ledger.colony("dev")
    ledger.hold(colony, ROOT, "s1", "run 1")
    ledger.hold(colony, "/p/data", "s2", "run 1")
    ledger.hold(colony, ROOT, "s3", "run 2")
    ledger.let_go("run 1")
    ledger.let_go("run 1")

    assert ["s1", "s2"] == sorted(ledger.needless(colony))
    assert (True, False) == (ledger.is_held(colony, ROOT), ledger.is_held(colony, "/p/data"))
    ledger.removed(colony, "s1")
    assert ["s2"] == ledger.needless(colony)


def test_a_snapshot_is_needed_as_long_as_anybody_needs_it(opened: Opener) -> None:
    ledger = opened()
    colony = ledger.colony("dev")
    ledger.hold(colony, ROOT, "s1", "run 1")
    ledger.hold(colony, ROOT, "s1", "run 2")

    ledger.let_go("run 1")
    assert ([], True) == (ledger.needless(colony), ledger.is_held(colony, ROOT))
    ledger.let_go("run 2")
    assert (["s1"], False) == (ledger.needless(colony), ledger.is_held(colony, ROOT))


def test_the_last_snapshot_is_kept_for_the_next_run_and_holds_nothing_up(opened: Opener) -> None:
    ledger = opened()
    colony = ledger.colony("dev")
    ledger.hold(colony, ROOT, "s1", "run 1")
    ledger.keep(colony, ROOT, "s1")
    ledger.let_go("run 1")

    assert "s1" == ledger.kept(colony, ROOT)
    assert "" == ledger.kept(colony, "/p/data")
    assert not ledger.is_held(colony, ROOT)
    assert [] == ledger.needless(colony)

    ledger.keep(colony, ROOT, "s2")

    assert "s2" == ledger.kept(colony, ROOT)
    assert ["s1"] == ledger.needless(colony)
    ledger.keep_none(colony, ROOT)
    assert "" == ledger.kept(colony, ROOT)
    assert ["s1", "s2"] == sorted(ledger.needless(colony))


def test_who_changes_a_label_has_a_turn_of_his_own(opened: Opener) -> None:
    ledger = opened()

    turn = ledger.turn(1, ROOT)

    assert turn is ledger.turn(1, ROOT)
    assert turn is not ledger.turn(1, "/p/data")
    assert turn is not ledger.turn(2, ROOT)


@pytest.mark.parametrize(
    "content", [b"no database at all, and long enough to be one" * 100, b"SQLite format 3\0"]
)
def test_a_damaged_ledger_is_begun_anew(opened: Opener, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "ledger.db").write_bytes(content)

    ledger = opened()

    assert {} == ledger.there(ledger.colony("dev"), ROOT)


def test_one_of_the_first_version_is_used(opened: Opener, tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "ledger.db")) as database:
        database.executescript(STEPS[0])
        database.execute("INSERT INTO snapshots VALUES (1, 's1', ?, 'run 1')", (ROOT,))
        database.commit()

    now = opened()
    now.note_results(1, "/p/result", "/p/result/1")

    assert now.is_held(1, ROOT)
    now.let_go("run 1")
    assert ["s1"] == now.needless(1)
    assert ["/p/result/1"] == now.results(1, "/p/result")


def test_a_ledger_that_cannot_be_opened_is_an_error_and_stays(opened: Opener, tmp_path: Path) -> None:
    (tmp_path / "ledger.db").mkdir()

    with pytest.raises(Unavailable, match="cannot be used"):
        opened()


def test_only_its_owner_reads_a_ledger(opened: Opener, tmp_path: Path) -> None:
    opened()

    assert 0o600 == stat.S_IMODE((tmp_path / "ledger.db").stat().st_mode)
