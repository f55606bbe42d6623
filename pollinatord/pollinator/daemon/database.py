"""SQLite, set up the way every database here needs it. The only module that imports it."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from pathlib import Path
from sqlite3 import Connection, DatabaseError, OperationalError

__all__ = ["Connection", "DatabaseError", "OperationalError", "connect", "migrate"]


def connect(path: Path) -> Connection:
    """Open or create a database that only this user can read.

    WAL with ``synchronous=NORMAL``: a killed process loses nothing, and a power cut at most the newest
    transactions, which every user of this module can live with.

    Raises:
        DatabaseError: the file is no database, or damaged.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.touch(mode=0o600)
    # Each connection is used by one thread at a time, but not always by the one that made it.
    connection = sqlite3.connect(path, timeout=10.0, check_same_thread=False)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=NORMAL")
    return connection


def migrate(connection: Connection, scripts: Sequence[str]) -> None:
    """Run those of the numbered scripts that this database has not seen, each in one transaction."""
    (done,) = connection.execute("PRAGMA user_version").fetchone()
    for number, script in enumerate(scripts[done:], done + 1):
        connection.executescript(f"BEGIN; {script} PRAGMA user_version = {number}; COMMIT;")
