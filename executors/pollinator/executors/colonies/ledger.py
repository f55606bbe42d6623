"""What is known of the files of colonies, kept across restarts: checksums, revisions, and what we put where.

A file on this machine, and the only module here that imports sqlite3. All in it can be learned again by
asking and reading, so one that is damaged is begun anew. Belongs to one event loop.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple
from weakref import WeakValueDictionary

from pollinator.executors.colonies.messages import File
from pollinator.executors.colonies.naming import Spot
from pollinator.wire.errors import Unavailable

_FIRST = """
BEGIN;
CREATE TABLE sums (key BLOB PRIMARY KEY, sum BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE colonies (number INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
CREATE TABLE revisions (
    colony INTEGER, id TEXT, label TEXT NOT NULL, name TEXT NOT NULL, size INTEGER NOT NULL,
    sum TEXT NOT NULL, object TEXT NOT NULL, sequence INTEGER NOT NULL, PRIMARY KEY (colony, id)
) WITHOUT ROWID;
CREATE INDEX revisions_at ON revisions (colony, label, name);
CREATE INDEX revisions_of ON revisions (colony, object);
CREATE TABLE there (
    colony INTEGER, root TEXT, label TEXT, name TEXT, key BLOB NOT NULL, id TEXT NOT NULL,
    PRIMARY KEY (colony, root, label, name)
) WITHOUT ROWID;
CREATE TABLE begun (
    colony INTEGER, object TEXT, root TEXT NOT NULL, label TEXT NOT NULL, name TEXT NOT NULL,
    key BLOB NOT NULL, upload TEXT NOT NULL, PRIMARY KEY (colony, object)
) WITHOUT ROWID;
CREATE TABLE snapshots (
    colony INTEGER, id TEXT, root TEXT NOT NULL, holder TEXT NOT NULL, PRIMARY KEY (colony, id)
) WITHOUT ROWID;
CREATE TABLE beside (colony INTEGER, root TEXT, label TEXT, UNIQUE (colony, root, label));
PRAGMA user_version = 1;
COMMIT;
"""
_SECOND = """
BEGIN;
CREATE TABLE results (colony INTEGER, parent TEXT, label TEXT, UNIQUE (colony, parent, label));
PRAGMA user_version = 2;
COMMIT;
"""
_THIRD = """
BEGIN;
CREATE TABLE holders (colony INTEGER, id TEXT, holder TEXT, PRIMARY KEY (colony, id, holder)) WITHOUT ROWID;
INSERT INTO holders SELECT colony, id, holder FROM snapshots WHERE holder != '';
ALTER TABLE snapshots RENAME TO snapshots_with_holders;
CREATE TABLE snapshots (
    colony INTEGER, id TEXT, root TEXT NOT NULL, PRIMARY KEY (colony, id)
) WITHOUT ROWID;
INSERT INTO snapshots SELECT colony, id, root FROM snapshots_with_holders;
DROP TABLE snapshots_with_holders;
PRAGMA user_version = 3;
COMMIT;
"""
STEPS = (_FIRST, _SECOND, _THIRD)
"""From each version to the next."""
OTHERS = b""
"""Key of a file that somebody else has put there, and that is none of ours."""

_log = logging.getLogger(__name__)


class Entry(NamedTuple):
    """A file in a label, as far as we know."""

    key: bytes
    """Of its content; ``OTHERS`` where it is not ours."""
    id: str
    """Of its revision, or empty where that was never told."""


@dataclass(frozen=True, slots=True)
class Begun:
    """An object on its way, of which nobody may know."""

    object: str
    spot: Spot
    key: bytes
    """Of its content."""
    upload: str = ""
    """Name of its transfer in parts, or empty."""


class Ledger:
    """The file of one executor.

    Raises:
        Unavailable: it cannot be used now.
    """

    def __init__(self, path: Path) -> None:
        self._turns: WeakValueDictionary[tuple[int, str], asyncio.Lock] = WeakValueDictionary()
        with _failing():
            try:
                self._database = _open(path)
            except sqlite3.OperationalError:
                raise
            except sqlite3.DatabaseError as error:
                _log.warning("%s is begun anew: %s", path, error)
                for suffix in ("", "-wal", "-shm"):
                    path.with_name(path.name + suffix).unlink(missing_ok=True)
                self._database = _open(path)

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    def colony(self, name: str) -> int:
        """Number of a colony and its bucket, whatever their names."""
        with self._changing() as database:
            database.execute("INSERT OR IGNORE INTO colonies (name) VALUES (?)", (name,))
            found = database.execute("SELECT number FROM colonies WHERE name = ?", (name,)).fetchone()
        return int(found[0])

    def turn(self, colony: int, root: str) -> asyncio.Lock:
        """Who changes what is in a label waits for others here to be done."""
        return self._turns.setdefault((colony, root), asyncio.Lock())

    # Checksums

    def sums(self, keys: Iterable[bytes]) -> dict[bytes, str]:
        """SHA-256 of those contents that were read before."""
        found: dict[bytes, str] = {}
        with _failing():
            for key in keys:
                for (data,) in self._database.execute("SELECT sum FROM sums WHERE key = ?", (key,)):
                    found[key] = data.hex()
        return found

    def note_sums(self, sums: Iterable[tuple[bytes, str]]) -> None:
        """These contents have these checksums."""
        with self._changing() as database:
            rows = ((key, bytes.fromhex(text)) for key, text in sums)
            database.executemany("INSERT OR IGNORE INTO sums VALUES (?, ?)", rows)

    # Revisions, which never change

    def revisions(self, colony: int, ids: Iterable[str]) -> dict[str, File]:
        """Those of some revisions that are known."""
        query = """
            SELECT id, label, name, size, sum, object, sequence FROM revisions WHERE colony = ? AND id = ?
        """
        found: dict[str, File] = {}
        with _failing():
            for file_id in ids:
                for row in self._database.execute(query, (colony, file_id)):
                    found[file_id] = File(*row)
        return found

    def learn(self, colony: int, files: Iterable[File]) -> None:
        """These are revisions of the colony."""
        with self._changing() as database:
            rows = ((colony, *_row(file)) for file in files)
            database.executemany("INSERT OR REPLACE INTO revisions VALUES (?, ?, ?, ?, ?, ?, ?, ?)", rows)

    def forget(self, colony: int, root: str, spot: Spot) -> list[str]:
        """A file was removed with all its revisions; returns the objects that nothing else here has."""
        with self._changing() as database:
            at = (colony, spot.label, spot.name)
            query = "SELECT object FROM revisions WHERE colony = ? AND label = ? AND name = ?"
            objects = {row[0] for row in database.execute(query, at)}
            database.execute("DELETE FROM revisions WHERE colony = ? AND label = ? AND name = ?", at)
            self._drop(database, colony, root, spot)
            left = "SELECT 1 FROM revisions WHERE colony = ? AND object = ?"
            return [each for each in objects if not database.execute(left, (colony, each)).fetchone()]

    # What is in a label

    def there(self, colony: int, root: str) -> dict[Spot, Entry]:
        """What is at and below a label, as far as we know."""
        query = "SELECT label, name, key, id FROM there WHERE colony = ? AND root = ?"
        with _failing():
            rows = self._database.execute(query, (colony, root))
            return {Spot(label, name): Entry(key, file_id) for label, name, key, file_id in rows}

    def objects(self, colony: int, root: str) -> dict[Spot, str]:
        """Where the bytes are of what is at and below a label, of those revisions that are known."""
        query = """
            SELECT there.label, there.name, object FROM there JOIN revisions USING (colony, id)
            WHERE there.colony = ? AND root = ?
        """
        with _failing():
            rows = self._database.execute(query, (colony, root))
            return {Spot(label, name): found for label, name, found in rows}

    def put(self, colony: int, root: str, entries: Iterable[tuple[Spot, Entry]]) -> None:
        """These are there now."""
        with self._changing() as database:
            self._put(database, colony, root, entries)

    def replace(self, colony: int, root: str, entries: Iterable[tuple[Spot, Entry]]) -> None:
        """These are there now, and nothing else."""
        with self._changing() as database:
            database.execute("DELETE FROM there WHERE colony = ? AND root = ?", (colony, root))
            self._put(database, colony, root, entries)

    def drop(self, colony: int, root: str, spot: Spot) -> None:
        """This is not there any more."""
        with self._changing() as database:
            self._drop(database, colony, root, spot)

    # Objects on their way

    def begin(self, colony: int, root: str, begun: Iterable[Begun]) -> None:
        """These objects are sent from now on."""
        with self._changing() as database:
            rows = ((colony, each.object, root, *each.spot, each.key, each.upload) for each in begun)
            database.executemany("INSERT OR REPLACE INTO begun VALUES (?, ?, ?, ?, ?, ?, ?)", rows)

    def begun(self, colony: int, root: str) -> list[Begun]:
        """Objects that were sent, and of which it is not known that anybody refers to them."""
        query = "SELECT object, label, name, key, upload FROM begun WHERE colony = ? AND root = ?"
        with _failing():
            rows = self._database.execute(query, (colony, root))
            return [Begun(each, Spot(label, name), key, upload) for each, label, name, key, upload in rows]

    def abandon(self, colony: int, name: str) -> None:
        """An object is not there any more."""
        with self._changing() as database:
            database.execute("DELETE FROM begun WHERE colony = ? AND object = ?", (colony, name))

    def sent(self, colony: int, root: str, file: File, key: bytes) -> None:
        """A file was added, with an object that was begun or known."""
        with self._changing() as database:
            query = "INSERT OR REPLACE INTO revisions VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
            database.execute(query, (colony, *_row(file)))
            self._put(database, colony, root, [(Spot(file.label, file.name), Entry(key, file.id))])
            database.execute("DELETE FROM begun WHERE colony = ? AND object = ?", (colony, file.object))

    # Snapshots, and labels beside a label

    def hold(self, colony: int, root: str, snapshot_id: str, holder: str) -> None:
        """Somebody needs a snapshot of a label; others may need it as well."""
        with self._changing() as database:
            self._hold(database, colony, root, snapshot_id, holder)

    def let_go(self, holder: str) -> None:
        """Somebody needs no snapshot any more, of any colony."""
        with self._changing() as database:
            database.execute("DELETE FROM holders WHERE holder = ?", (holder,))

    def keep(self, colony: int, root: str, snapshot_id: str) -> None:
        """This snapshot of a label may serve again, instead of the one before: the label itself needs it."""
        with self._changing() as database:
            database.execute("DELETE FROM holders WHERE colony = ? AND holder = ?", (colony, root))
            self._hold(database, colony, root, snapshot_id, root)

    def keep_none(self, colony: int, root: str) -> None:
        """No snapshot of a label is to serve again."""
        with self._changing() as database:
            database.execute("DELETE FROM holders WHERE colony = ? AND holder = ?", (colony, root))

    def kept(self, colony: int, root: str) -> str:
        """The snapshot of a label that may serve again, or empty."""
        query = "SELECT id FROM holders WHERE colony = ? AND holder = ?"
        with _failing():
            return next((each for (each,) in self._database.execute(query, (colony, root))), "")

    def is_held(self, colony: int, root: str) -> bool:
        """Somebody needs a snapshot of a label as it is."""
        query = """
            SELECT 1 FROM snapshots JOIN holders USING (colony, id)
            WHERE colony = ? AND root = ? AND holder != root
        """
        with _failing():
            return self._database.execute(query, (colony, root)).fetchone() is not None

    def needless(self, colony: int) -> list[str]:
        """Snapshots that nobody needs."""
        query = """
            SELECT id FROM snapshots LEFT JOIN holders USING (colony, id)
            WHERE colony = ? AND holder IS NULL
        """
        with _failing():
            return [row[0] for row in self._database.execute(query, (colony,))]

    def removed(self, colony: int, snapshot_id: str) -> None:
        """It is gone."""
        with self._changing() as database:
            database.execute("DELETE FROM snapshots WHERE colony = ? AND id = ?", (colony, snapshot_id))
            database.execute("DELETE FROM holders WHERE colony = ? AND id = ?", (colony, snapshot_id))

    def beside(self, colony: int, root: str) -> list[str]:
        """Labels made beside a label, for runs that must not see all that is in it; the oldest first."""
        query = "SELECT label FROM beside WHERE colony = ? AND root = ? ORDER BY rowid"
        with _failing():
            return [row[0] for row in self._database.execute(query, (colony, root))]

    def add_beside(self, colony: int, root: str, label: str) -> None:
        """One more."""
        with self._changing() as database:
            database.execute("INSERT OR IGNORE INTO beside VALUES (?, ?, ?)", (colony, root, label))

    # Results that are here

    def note_results(self, colony: int, parent: str, label: str) -> None:
        """The files of a label below another are here."""
        with self._changing() as database:
            database.execute("INSERT OR IGNORE INTO results VALUES (?, ?, ?)", (colony, parent, label))

    def results(self, colony: int, parent: str) -> list[str]:
        """The labels below one whose files are here; the oldest first."""
        query = "SELECT label FROM results WHERE colony = ? AND parent = ? ORDER BY rowid"
        with _failing():
            return [row[0] for row in self._database.execute(query, (colony, parent))]

    def drop_results(self, colony: int, label: str) -> None:
        """A label is gone."""
        with self._changing() as database:
            database.execute("DELETE FROM results WHERE colony = ? AND label = ?", (colony, label))

    @staticmethod
    def _hold(database: sqlite3.Connection, colony: int, root: str, snapshot_id: str, holder: str) -> None:
        database.execute("INSERT OR REPLACE INTO snapshots VALUES (?, ?, ?)", (colony, snapshot_id, root))
        database.execute("INSERT OR REPLACE INTO holders VALUES (?, ?, ?)", (colony, snapshot_id, holder))

    @staticmethod
    def _put(
        database: sqlite3.Connection, colony: int, root: str, entries: Iterable[tuple[Spot, Entry]]
    ) -> None:
        rows = ((colony, root, *spot, entry.key, entry.id) for spot, entry in entries)
        database.executemany("INSERT OR REPLACE INTO there VALUES (?, ?, ?, ?, ?, ?)", rows)

    @staticmethod
    def _drop(database: sqlite3.Connection, colony: int, root: str, spot: Spot) -> None:
        query = "DELETE FROM there WHERE colony = ? AND root = ? AND label = ? AND name = ?"
        database.execute(query, (colony, root, *spot))

    @contextmanager
    def _changing(self) -> Generator[sqlite3.Connection]:
        with _failing(), self._database:
            yield self._database


def _row(file: File) -> tuple[str, str, str, int, str, str, int]:
    return file.id, file.label, file.name, file.size, file.checksum, file.object, file.sequence


def _open(path: Path) -> sqlite3.Connection:
    path.touch(mode=0o600)
    database = sqlite3.connect(path)
    try:
        # A killed process loses nothing, and a power cut what can be asked for again.
        database.execute("PRAGMA journal_mode=WAL")
        database.execute("PRAGMA synchronous=NORMAL")
        version = database.execute("PRAGMA user_version").fetchone()[0]
        if version > len(STEPS):
            raise sqlite3.DatabaseError(f"its schema has version {version}, this program knows {len(STEPS)}")
        for step in STEPS[version:]:
            database.executescript(step)
    except sqlite3.DatabaseError:
        database.close()
        raise
    return database


@contextmanager
def _failing() -> Generator[None]:
    try:
        yield
    except (sqlite3.DatabaseError, OSError) as error:
        raise Unavailable(
            f"what is known of the colony's files cannot be used: {error}", reason="ledger_unusable"
        ) from error
