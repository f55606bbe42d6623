"""A lost, damaged or full index of the sync engine: it is a cache, and is made again."""

from __future__ import annotations

import os

import pytest

from pollinator.daemon.database import connect
from pollinator.daemon.sync import outbox
from pollinator.executors.conformance.trees import random_bytes
from pollinator.wire.errors import Unavailable
from support.projects import Project, project
from support.syncing import read_back

__all__ = ["project"]


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits for quiet, or for a store to recover."""
    monkeypatch.setattr(outbox, "QUIET_S", 0.0)
    monkeypatch.setattr(outbox, "BACK_OFF_S", 0.0)


class TestIndex:
    """It is a cache: whatever happens to it, it is made again."""

    def test_a_lost_index_costs_reading_only(self, project: Project) -> None:
        project.write("src/f", random_bytes(1000))
        first = project.seal().ref
        project.restart()
        for file in project.index.parent.glob("index.db*"):
            file.unlink()
        sealed = project.seal()

        assert first.digest == sealed.ref.digest
        assert project.disk == read_back(project.store, sealed.ref)

    @pytest.mark.parametrize("damage", ["text", "cut", "torn", "zeros"])
    def test_a_damaged_index_is_made_again(self, project: Project, damage: str) -> None:
        for number in range(200):
            project.write(f"src/f{number}", random_bytes(300, b"%d" % number))
        project.seal()
        project.restart()
        body = project.index.read_bytes()
        half = len(body) // 2
        match damage:
            case "text":
                project.index.write_text("no database at all")
            case "cut":
                project.index.write_bytes(body[:half])
            case "torn":
                project.index.write_bytes(body[:half] + os.urandom(4096) + body[half + 4096 :])
            case _:
                project.index.write_bytes(bytes(len(body)))

        assert project.disk == project.sealed()
        project.restart()

        assert project.disk == project.sealed()

    def test_an_index_damaged_while_it_is_open_is_made_again(self, project: Project) -> None:
        for number in range(200):
            project.write(f"src/f{number}", random_bytes(300, b"%d" % number))
        project.seal()
        for file in project.index.parent.glob("index.db*"):
            with file.open("r+b") as opened:
                opened.write(os.urandom(file.stat().st_size))
        for number in range(200):
            project.write(f"data/f{number}", random_bytes(300, b"%d" % number))

        assert project.disk == project.sealed()
        project.restart()

        assert project.disk == project.sealed()

    @pytest.mark.parametrize(
        "change",
        [
            "PRAGMA user_version = 7",
            "DROP TABLE pack",
            "DROP TABLE snapshot",
            "ALTER TABLE file DROP COLUMN stamp",
            "UPDATE file SET stamp = 'nonsense'",
            "UPDATE file SET chunk = NULL",
            "UPDATE file SET chunk = NULL, content = x'ffff'",
            "UPDATE pack SET body = x'ffff'",
            "UPDATE meta SET value = 'nonsense'",
        ],
    )
    def test_an_index_of_another_making_is_made_again(self, project: Project, change: str) -> None:
        project.write("src/f", random_bytes(1000))
        project.seal()
        project.restart()
        database = connect(project.index)
        database.execute(change)
        database.commit()
        database.close()

        assert project.disk == project.sealed()

    def test_an_index_of_the_first_version_costs_reading_only_and_says_so(
        self, project: Project, caplog: pytest.LogCaptureFixture
    ) -> None:
        project.write("src/f", random_bytes(1000))
        first = project.seal().ref
        project.restart()
        database = connect(project.index)
        database.executescript("""
            DROP TABLE file;
            CREATE TABLE file (path BLOB PRIMARY KEY, stamp TEXT NOT NULL, content BLOB NOT NULL);
            INSERT INTO file VALUES ('src/f', '1000 1 1 1 1 33188', x'10e807');
            PRAGMA user_version = 1;
        """)
        database.close()
        sealed = project.seal()

        assert (first, 0) == (sealed.ref, sealed.report.chunks)
        assert "is of an earlier version: all files are read again" in caplog.text
        assert project.disk == read_back(project.store, sealed.ref)

    def test_an_index_somebody_else_uses_is_not_thrown_away(
        self, project: Project, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        project.write("src/f", random_bytes(1000))
        first = project.seal().ref
        project.restart()
        other = connect(project.index)
        other.execute("PRAGMA locking_mode = EXCLUSIVE")
        other.execute("BEGIN EXCLUSIVE")
        monkeypatch.setattr("pollinator.daemon.database.LOCK_S", 0.05)
        with pytest.raises(Unavailable) as caught:
            project.seal()
        other.close()

        assert "index_unusable" == caught.value.reason
        assert (first, 0) == (project.seal().ref, project.seal().report.requests)

    def test_after_a_restart_nothing_is_read_again(
        self, project: Project, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        project.write("src/f", random_bytes(1000))
        project.write("data/g", "small")
        rest(project)
        first = project.seal().ref
        project.restart()

        def refuse(path: bytes, *_arguments: object) -> None:
            raise AssertionError(f"{path!r} is read again")

        monkeypatch.setattr("pollinator.daemon.sync.dirty.read_file", refuse)

        assert first == project.seal().ref

    def test_rows_of_files_that_vanished_meanwhile_are_dropped(self, project: Project) -> None:
        for name in "fg":
            project.write(f"src/{name}", random_bytes(1000))
        rest(project)
        project.restart()
        (project.src / "f").unlink()
        project.seal()
        project.restart()

        assert [b"src/g"] == rows(project)


def rows(project: Project) -> list[bytes]:
    """Files that the index knows."""
    database = connect(project.index)
    found = [path for (path,) in database.execute("SELECT path FROM file ORDER BY path")]
    database.close()
    return found


def rest(project: Project) -> None:
    """Wait until every file has been read some time after its last change."""
    while project.settle().files != len(rows(project)):
        project.engine.wait(0.01)
