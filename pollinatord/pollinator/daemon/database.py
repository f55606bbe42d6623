"""SQLite, set up the way every database here needs it. The only module that imports it."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from pathlib import Path
from sqlite3 import Connection, DatabaseError, OperationalError

__all__ = ["Connection", "DatabaseError", "OperationalError", "connect", "is_damaged", "is_full", "migrate"]

LOCK_S = 10.0
"""How long to wait for another process that uses the same file."""

_NOT_ITS_FAULT = frozenset(
    {
        sqlite3.SQLITE_PERM,
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_NOMEM,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_PROTOCOL,
        sqlite3.SQLITE_AUTH,
    }
)
"""Failures that say nothing about what is in the file."""


def connect(path: Path) -> Connection:
    """Open or create a database that only this user can read.

    WAL with ``synchronous=NORMAL``: a killed process loses nothing, and a power cut at most the newest
    transactions, which every user of this module can live with.

    Raises:
        DatabaseError: the file is no database, or damaged.
        OSError: it cannot be made.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.touch(mode=0o600)
    # Each connection is used by one thread at a time, but not always by the one that made it.
    connection = sqlite3.connect(path, timeout=LOCK_S, check_same_thread=False)
    try:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=NORMAL")
    except DatabaseError:
        connection.close()
        raise
    return connection


def migrate(connection: Connection, scripts: Sequence[str]) -> int:
    """Run those of the numbered scripts that this database has not seen, each in one transaction.

    Returns:
        How many it had seen.

    Raises:
        DatabaseError: it was made by a newer version, or by another program.
    """
    done: int = connection.execute("PRAGMA user_version").fetchone()[0]
    if done > len(scripts):
        raise DatabaseError(f"its schema has version {done}, this program knows {len(scripts)}")
    for number, script in enumerate(scripts[done:], done + 1):
        connection.executescript(f"BEGIN; {script} PRAGMA user_version = {number}; COMMIT;")
    return done


def is_damaged(error: DatabaseError) -> bool:
    """Whether the file itself is at fault, and not a full disk, a lock or missing permissions."""
    return _code(error) not in _NOT_ITS_FAULT


def is_full(error: DatabaseError) -> bool:
    """Whether there was no space to write. A limit on file sizes or a quota looks like a failing disk."""
    return _code(error) in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR)


def _code(error: DatabaseError) -> int:
    # The upper bits tell variants apart. Errors of our own and of the module have no code.
    return int(getattr(error, "sqlite_errorcode", 0)) & 0xFF
