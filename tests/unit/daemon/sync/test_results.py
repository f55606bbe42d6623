"""Results come home, and no file of the user's is lost."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from unittest.mock import patch

import pytest

from pollinator.chunks.layout import LaidOut, Layout
from pollinator.chunks.read import Node
from pollinator.daemon.database import connect
from pollinator.daemon.sync.ledger import Ledger
from pollinator.daemon.sync.results import Applied
from pollinator.executors.conformance.trees import File, Link, Listing, random_bytes
from pollinator.wire.errors import Exhausted, WrongState
from support.homes import Home, home
from support.people import ground, nobody
from support.storing import listed

__all__ = ["ground", "home"]


def test_files_folders_and_links_come_home_with_their_modes(home: Home) -> None:
    applied = home.bring(
        "r1", {b"f": b"one", b"d": {b"x": File(b"#!", 0o755), b"empty": {}}, b"l": Link(b"d/x")}
    )

    assert Applied(3, 0, ()) == applied
    assert {
        b"f": ("file", 0o644, b"one"),
        b"d": ("folder", 0o755, b""),
        b"d/x": ("file", 0o755, b"#!"),
        b"d/empty": ("folder", 0o755, b""),
        b"l": ("link", 0o777, b"d/x"),
    } == listed(home.folder)


def test_repeating_it_changes_nothing(home: Home) -> None:
    listing: Listing = {b"f": b"one", b"l": Link(b"f")}
    home.bring("r1", listing)

    assert Applied(0, 2, ()) == home.bring("r1", listing)


def test_the_results_of_the_next_run_replace_our_own(home: Home) -> None:
    home.bring("r1", {b"f": b"one", b"l": Link(b"f")})
    applied = home.bring("r2", {b"f": b"two", b"l": Link(b"g")})

    assert Applied(2, 0, ()) == applied
    assert {b"f": b"two", b"l": b"g"} == home.found


def test_an_edited_file_stays_and_the_runs_version_lies_beside_it(home: Home) -> None:
    home.bring("r1", {b"d": {b"f": b"one"}})
    (home.folder / "d/f").write_bytes(b"mine")
    applied = home.bring("r2", {b"d": {b"f": b"two"}})

    assert Applied(1, 0, ("d/f.r2",)) == applied
    assert {b"d/f": b"mine", b"d/f.r2": b"two"} == home.found


def test_a_file_that_was_there_before_stays(home: Home) -> None:
    (home.folder / "f").write_bytes(b"mine")
    home.bring("r1", {b"f": b"one"})

    assert {b"f": b"mine", b"f.r1": b"one"} == home.found


def test_an_edited_conflict_copy_stays_as_well(home: Home) -> None:
    (home.folder / "f").write_bytes(b"mine")
    home.bring("r1", {b"f": b"one"})
    (home.folder / "f.r1").write_bytes(b"mine, too")
    applied = home.bring("r1", {b"f": b"one"})

    assert ("f.r1.1",) == applied.conflicts
    assert {b"f": b"mine", b"f.r1": b"mine, too", b"f.r1.1": b"one"} == home.found


def test_a_conflict_copy_is_made_once(home: Home) -> None:
    (home.folder / "f").write_bytes(b"mine")
    home.bring("r1", {b"f": b"one"})

    assert Applied(0, 1, ("f.r1",)) == home.bring("r1", {b"f": b"one"})


def test_a_version_the_user_accepted_is_ours_again(home: Home) -> None:
    (home.folder / "f").write_bytes(b"mine")
    home.bring("r1", {b"f": b"one"})
    (home.folder / "f.r1").replace(home.folder / "f")
    home.bring("r2", {b"f": b"two"})

    assert {b"f": b"two"} == home.found


class Killed(BaseException):
    """What a crash looks like from inside."""


def die(*_arguments: object) -> None:
    """Crash."""
    raise Killed


def test_a_file_written_before_a_crash_is_ours(home: Home) -> None:
    """The ledger was not told any more that it was written."""
    home.bring("r1", {b"f": b"one"})

    with patch.object(Ledger, "settle", die), pytest.raises(Killed):
        home.bring("r2", {b"f": b"two"})
    applied = home.bring("r3", {b"f": b"three"})

    assert () == applied.conflicts
    assert {b"f": b"three"} == home.found


def test_a_file_not_yet_written_before_a_crash_is_ours(home: Home) -> None:
    """The ledger was told already that it would be."""
    home.bring("r1", {b"f": b"one"})

    with patch.object(Layout, "make", die), pytest.raises(Killed):
        home.bring("r2", {b"f": b"two"})
    home.bring("r3", {b"f": b"three"})

    assert {b"f": b"three"} == home.found


def test_files_in_the_making_that_a_killed_daemon_left_are_cleared_away(home: Home) -> None:
    home.bring("r1", {b"d": {b"a": b"1"}})
    for name in (".pollinator-0123456789abcdefa", "d/.pollinator-0123456789abcdefa"):
        (home.folder / name).write_text("half")
    (home.folder / ".pollinator-notes").write_text("of the user")

    home.bring("r1", {b"d": {b"a": b"1"}})

    assert {b"d/a": b"1", b".pollinator-notes": b"of the user"} == home.found


def test_an_edit_while_the_new_version_is_fetched_stays(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    home.bring("r1", {b"f": b"one"})

    make = Layout.make

    def slowly(layout: Layout, entries: Iterable[tuple[bytes, Node]]) -> LaidOut:
        laid = make(layout, entries)
        (home.folder / "f").write_bytes(b"mine")
        return laid

    monkeypatch.setattr(Layout, "make", slowly)
    home.bring("r2", {b"f": b"two"})

    assert {b"f": b"mine", b"f.r2": b"two"} == home.found


def test_a_folder_in_the_place_of_a_file_stays(home: Home) -> None:
    home.bring("r1", {b"f": b"one"})
    (home.folder / "f").unlink()
    (home.folder / "f").mkdir()
    (home.folder / "f/mine").touch()
    applied = home.bring("r2", {b"f": b"two"})

    assert ("f.r2",) == applied.conflicts
    assert {b"f/mine": b"", b"f.r2": b"two"} == home.found


def test_a_file_in_the_place_of_a_folder_stays_and_the_folder_steps_aside(home: Home) -> None:
    (home.folder / "d").write_bytes(b"mine")
    applied = home.bring("r1", {b"d": {b"e": {b"f": b"one"}, b"g": b"two"}})

    assert ("d.r1",) == applied.conflicts
    assert {b"d": b"mine", b"d.r1/e/f": b"one", b"d.r1/g": b"two"} == home.found


def test_a_file_of_ours_makes_way_for_a_folder(home: Home) -> None:
    home.bring("r1", {b"d": b"one"})
    applied = home.bring("r2", {b"d": {b"f": b"two"}})

    assert () == applied.conflicts
    assert {b"d/f": b"two"} == home.found


def test_a_link_leads_nothing_out_of_the_folder(home: Home, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (home.folder / "d").symlink_to(outside)
    (home.folder / "f").symlink_to(outside / "f")
    applied = home.bring("r1", {b"d": {b"g": b"one"}, b"f": b"two"})

    assert ("d.r1", "f.r1") == applied.conflicts
    assert [] == list(outside.iterdir())


def test_a_link_that_an_earlier_run_left_leads_nothing_out_either(home: Home, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    home.bring("r1", {b"d": Link(os.fsencode(outside))})
    home.bring("r2", {b"d": {b"g": b"one"}})

    assert {b"d/g": b"one"} == home.found
    assert [] == list(outside.iterdir())


def test_odd_and_long_names_come_home_and_conflict_like_others(home: Home) -> None:
    names = [b"\xff\n", b"-rf", b" ", b"n" * 255]
    for name in names:
        Path(os.fsdecode(os.path.join(os.fsencode(home.folder), name))).write_bytes(b"mine")
    applied = home.bring("r1", dict.fromkeys(names, b"one"))

    assert {" .r1", "-rf.r1", "n" * 252 + ".r1", "\\xff\n.r1"} == set(applied.conflicts)
    assert {b"mine", b"one"} == set(home.found.values())
    assert 8 == len(home.found)


def test_large_files_come_home(home: Home) -> None:
    data = random_bytes(5_000_000)
    home.bring("r1", {b"big": data})

    assert {b"big": data} == home.found
    assert Applied(0, 1, ()) == home.bring("r1", {b"big": data})


def test_what_cannot_be_written_is_named_and_keeps_nothing_else_back(ground: Path) -> None:
    with nobody():
        home = Home(ground)
        (home.folder / "closed").mkdir(mode=0o555)
        with pytest.raises(WrongState) as caught:
            home.bring("r1", {b"a": b"one", b"closed": {b"f": b"two"}, b"z": b"three"})

        assert "cannot_write" == caught.value.reason
        assert "closed/f" in caught.value.message
        assert {b"a": b"one", b"z": b"three"} == home.found
        (home.folder / "closed").chmod(0o755)
        home.bring("r1", {b"a": b"one", b"closed": {b"f": b"two"}, b"z": b"three"})
        assert {b"a": b"one", b"closed/f": b"two", b"z": b"three"} == home.found


def test_a_file_that_cannot_be_read_is_the_users_own(ground: Path) -> None:
    with nobody():
        home = Home(ground)
        (home.folder / "f").touch(mode=0)
        applied = home.bring("r1", {b"f": b"one"})

        assert ("f.r1",) == applied.conflicts


def test_a_full_disk_leaves_what_is_there_and_nothing_half_done(home: Home) -> None:
    home.bring("r1", {b"f": b"one"})
    with pytest.raises(Exhausted) as caught:
        home.bring("r2", {b"f": random_bytes(3_000_000)}, disk_bytes=2_000_000)

    assert "disk_full" == caught.value.reason
    assert {b"f": b"one"} == home.found


def test_a_damaged_ledger_is_begun_anew_and_all_is_the_users(home: Home) -> None:
    home.bring("r1", {b"f": b"one"})
    (ledger,) = home.ledgers.glob("*.db")
    ledger.write_bytes(b"no database" * 1000)
    home.bring("r2", {b"f": b"two"})

    assert {b"f": b"one", b"f.r2": b"two"} == home.found


def test_a_ledger_of_an_earlier_version_is_taken_over(home: Home) -> None:
    home.bring("r1", {b"f": b"one"})
    (path,) = home.ledgers.glob("*.db")
    database = connect(path)
    database.executescript(
        """
        CREATE TABLE laid (path BLOB PRIMARY KEY, version BLOB NOT NULL) WITHOUT ROWID;
        INSERT INTO laid SELECT path, version FROM ours;
        DROP TABLE ours;
        DROP TABLE seen;
        PRAGMA user_version = 1;
        """
    )
    database.close()
    home.bring("r2", {b"f": b"two"})

    assert {b"f": b"two"} == home.found


def test_a_ledger_on_a_full_disk_is_kept(home: Home) -> None:
    home.bring("r1", {b"f": b"one"})
    (path,) = home.ledgers.glob("*.db")
    with pytest.raises(Exhausted):
        home.bring("r2", {b"f": b"two"}, disk_bytes=100)

    assert path.exists()
    home.bring("r2", {b"f": b"two"})
    assert {b"f": b"two"} == home.found
