"""Databases that hold what must not be lost: no failure is taken for another, and nothing is thrown away."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from pollinator.daemon.database import DatabaseError, connect
from pollinator.daemon.records import Records
from pollinator.wire.errors import Corrupt, Exhausted, Unavailable, WrongState
from support.disk import full_disk

FIRST = "CREATE TABLE thing (name TEXT PRIMARY KEY) WITHOUT ROWID;"
SECOND = "ALTER TABLE thing ADD COLUMN size INTEGER NOT NULL DEFAULT 7;"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "records.db"


def fill(path: Path) -> None:
    with Records(path, (FIRST,)) as records, records.change() as database:
        database.executemany("INSERT INTO thing VALUES (?)", [(f"{number}" * 50,) for number in range(500)])


def test_what_was_written_is_read_again_and_later_scripts_are_added(path: Path) -> None:
    with Records(path, (FIRST,)) as records, records.change() as database:
        database.execute("INSERT INTO thing VALUES (?)", ("a",))

    with Records(path, (FIRST, SECOND)) as records:
        assert [("a", 7)] == records.read("SELECT * FROM thing WHERE name = ?", ("a",))


def test_a_change_is_written_as_a_whole_or_not_at_all(path: Path) -> None:
    fill(path)
    with Records(path, (FIRST,)) as records:
        with pytest.raises(Exception, match="UNIQUE"), records.change() as database:
            database.executemany("INSERT INTO thing VALUES (?)", [("a",), ("a",)])

        assert [(500,)] == records.read("SELECT count(*) FROM thing")


@pytest.mark.parametrize("query", ["SELECT * FROM nowhere", "SELECT", "INSERT INTO thing VALUES (NULL)"])
def test_a_defect_of_the_program_is_no_trouble_of_the_file(path: Path, query: str) -> None:
    with Records(path, (FIRST,)) as records, pytest.raises(DatabaseError):
        records.read(query)


def test_a_full_disk_says_so_and_leaves_what_is_there(path: Path) -> None:
    fill(path)
    with Records(path, (FIRST,)) as records:
        with full_disk(0), pytest.raises(Exhausted) as caught, records.change() as database:
            database.execute("INSERT INTO thing VALUES (?)", ("a",))

        assert "disk_full" == caught.value.reason
        assert [(500,)] == records.read("SELECT count(*) FROM thing")


def test_a_full_disk_at_the_start_says_so_too(path: Path) -> None:
    with full_disk(0), pytest.raises(Exhausted):
        Records(path, (FIRST,))


def _tear(path: Path) -> None:
    whole = path.read_bytes()
    path.write_bytes(whole[:4096] + b"\xff" * (len(whole) - 4096))


DAMAGES: dict[str, Callable[[Path], object]] = {
    "other bytes": lambda path: path.write_bytes(b"this is no database at all " * 400),
    "torn pages": _tear,
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_is_named_with_what_to_do_and_is_left_as_it_is(path: Path, damage: str) -> None:
    fill(path)
    DAMAGES[damage](path)
    before = path.read_bytes()

    with pytest.raises(Corrupt) as caught, Records(path, (FIRST,)) as records:
        records.read("SELECT * FROM thing")

    assert "records_damaged" == caught.value.reason
    assert f"mv {path} {path}.damaged" in caught.value.hint
    assert before == path.read_bytes()


def test_what_a_newer_version_wrote_is_refused(path: Path) -> None:
    Records(path, (FIRST, SECOND)).close()

    with pytest.raises(WrongState) as caught:
        Records(path, (FIRST,))

    assert "records_newer" == caught.value.reason


def test_a_file_that_another_writes_for_long_is_unavailable_and_not_damaged(path: Path) -> None:
    fill(path)
    other = connect(path)
    other.execute("BEGIN IMMEDIATE")
    with Records(path, (FIRST,)) as records:
        records.read("PRAGMA busy_timeout = 1")

        with pytest.raises(Unavailable) as caught, records.change() as database:
            database.execute("INSERT INTO thing VALUES (?)", ("a",))

    other.close()
    assert "records_unusable" == caught.value.reason
    assert caught.value.retryable


def test_the_file_is_for_this_user_only(path: Path) -> None:
    fill(path)

    assert 0o600 == path.stat().st_mode & 0o777
