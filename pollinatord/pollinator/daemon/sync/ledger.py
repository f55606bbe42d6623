"""Which versions of each file below a folder were laid out by us, kept across crashes and restarts.

A version is noted before it is written and the older ones are forgotten after that, so that whatever is there
when we are killed in between is known as ours. Without a ledger everything is taken for the user's own, which
is safe, so a damaged one is begun anew.
"""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Generator, Iterable, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

from pollinator.chunks.layout import disk_errors
from pollinator.daemon.database import Connection, DatabaseError, connect, is_damaged, is_full, migrate
from pollinator.wire.errors import Exhausted, Unavailable

_MIGRATIONS = (
    "CREATE TABLE laid (path BLOB PRIMARY KEY, version BLOB NOT NULL) WITHOUT ROWID;",
    """
    CREATE TABLE ours (path BLOB, version BLOB, PRIMARY KEY (path, version)) WITHOUT ROWID;
    INSERT INTO ours SELECT path, version FROM laid;
    DROP TABLE laid;
    """,
    "CREATE TABLE seen (path BLOB PRIMARY KEY, version BLOB NOT NULL, stamp BLOB NOT NULL) WITHOUT ROWID;",
)

_log = logging.getLogger(__name__)


class Ledger:
    """The versions of one folder; a file of its own in ``ledgers``.

    Raises:
        Exhausted: the disk is full.
        Unavailable: the file cannot be used now.
    """

    def __init__(self, ledgers: Path, folder: Path) -> None:
        name = hashlib.blake2b(os.fsencode(folder.resolve()), digest_size=8).hexdigest()
        self._path = ledgers / f"{name}.db"
        with disk_errors(ledgers):
            try:
                self._database = self._open()
            except DatabaseError as error:
                if not is_damaged(error):
                    raise self._failure(error) from error
                _log.warning("ledger %s is begun anew: %s", self._path, error)
                for suffix in ("", "-wal", "-shm"):
                    self._path.with_name(self._path.name + suffix).unlink(missing_ok=True)
                self._database = self._open()

    def ours(self, path: bytes) -> frozenset[bytes]:
        """Versions that may be at ``path`` and are ours."""
        with self._doing():
            rows = self._database.execute("SELECT version FROM ours WHERE path = ?", (path,))
            return frozenset(version for (version,) in rows)

    def seen(self, paths: Iterable[bytes]) -> dict[bytes, tuple[bytes, bytes]]:
        """For those of ``paths`` of which it is known: which version has which stamp."""
        found: dict[bytes, tuple[bytes, bytes]] = {}
        with self._doing():
            for path in paths:
                row = self._database.execute("SELECT version, stamp FROM seen WHERE path = ?", (path,))
                for version, stamp in row:
                    found[path] = version, stamp
        return found

    def intend(self, versions: Iterable[tuple[bytes, bytes]]) -> None:
        """Each of these (path, version) may be written from now on."""
        with self._doing(), self._database:
            self._database.executemany("INSERT OR IGNORE INTO ours VALUES (?, ?)", versions)

    def settle(self, versions: Sequence[tuple[bytes, bytes]]) -> None:
        """Each of these is there now, and no other version of ours."""
        with self._doing(), self._database:
            self._database.executemany("DELETE FROM ours WHERE path = ? AND version != ?", versions)
            self._database.executemany("INSERT OR IGNORE INTO ours VALUES (?, ?)", versions)

    def see(self, stamps: Iterable[tuple[bytes, bytes, bytes]]) -> None:
        """Each of these (path, version, stamp) need not be read again as long as it has that stamp."""
        with self._doing(), self._database:
            self._database.executemany("INSERT OR REPLACE INTO seen VALUES (?, ?, ?)", stamps)

    def __enter__(self) -> Self:
        """For use in a with statement."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the file."""
        self._database.close()

    def _open(self) -> Connection:
        database = connect(self._path)
        try:
            migrate(database, _MIGRATIONS)
            database.execute("SELECT path, version FROM ours LIMIT 1").fetchall()
        except DatabaseError:
            database.close()
            raise
        return database

    @contextmanager
    def _doing(self) -> Generator[None]:
        try:
            yield
        except DatabaseError as error:
            raise self._failure(error) from error

    def _failure(self, error: DatabaseError) -> Exhausted | Unavailable:
        text = f"cannot use the ledger {self._path}: {error}"
        if is_full(error):
            hint = "free some space; what is laid out already stays"
            return Exhausted(text, reason="disk_full", hint=hint)
        return Unavailable(text, reason="ledger_unusable")
