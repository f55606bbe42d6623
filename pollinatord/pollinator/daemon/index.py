"""What is known of a project's files and of its store, kept across restarts.

Only a cache: it may be deleted at any time. A file's row says what was read and how stat looked then; a
pack's row says what the store holds, and is written only after the store acknowledged the pack.
"""

from __future__ import annotations

import contextlib
import errno
import logging
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from google.protobuf.message import DecodeError

from pollinator.chunks.cut import Content
from pollinator.chunks.nodes import node_content
from pollinator.daemon.database import Connection, DatabaseError, connect, is_damaged, is_full, migrate
from pollinator.daemon.known import File
from pollinator.daemon.scan import Stamp
from pollinator.v1.tree_pb2 import Chunk, FileNode, Hole, PackIndex, SnapshotRef
from pollinator.wire.errors import Exhausted, PollinatorError, Unavailable
from pollinator.wire.faults import crash_point

_SCHEMA = """
CREATE TABLE file (path BLOB PRIMARY KEY, stamp TEXT NOT NULL, content BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE pack (key TEXT PRIMARY KEY, body BLOB NOT NULL, listed TEXT) WITHOUT ROWID;
CREATE TABLE snapshot (digest BLOB PRIMARY KEY, key TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
"""
_COMPACT = """
DROP TABLE file;
CREATE TABLE file (
    path BLOB PRIMARY KEY, stamp BLOB NOT NULL, chunk BLOB, content BLOB, prints BLOB
) WITHOUT ROWID;
"""
"""Files are read again after this one; their chunks are still known, so nothing is sent."""

DAMAGED = "index_damaged"
"""Reason of the error after which the index has to be opened anew."""

_NO_STAMP = Stamp(-1, 0, 0, 0, 0, 0)
_Result = TypeVar("_Result")
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class TreeRecord:
    """What a tree was when it was sealed last."""

    files: int
    device: int
    """Of its folder; 0 when there was none."""


class Index:
    """The index of one project and store. Used from one thread at a time.

    Raises:
        Exhausted: the disk is full.
        Unavailable: the file cannot be used now. In the course of time every method may raise the same; with
            the reason ``index_damaged`` all that is known has to be forgotten and the index opened anew.
    """

    def __init__(self, path: Path, store: str) -> None:
        self._path = path
        self.rebuilt = False
        self.stored: set[bytes] = set()
        self.unlisted: dict[str, PackIndex] = {}
        self.index_keys: list[str] = []
        self.trees: dict[str, TreeRecord] = {}
        self.head: SnapshotRef | None = None
        self._files: dict[bytes, File] = {}
        try:
            self._database = self._open(store)
        except DatabaseError as error:
            if not is_damaged(error):
                raise self._failure(error) from error
            _log.warning("index %s is rebuilt: %s", path, error)
            self._database = self._rebuild(store)

    def files(self) -> dict[bytes, File]:
        """Every file there is a row for, once. One that is not stored as a whole has a stamp no file has.

        Once again after ``forget``.
        """
        files, self._files = self._files, {}
        return files

    def snapshot(self, digest: bytes) -> SnapshotRef | None:
        """Where a snapshot was published, if it was."""
        row = self._doing(
            lambda: self._database.execute("SELECT key FROM snapshot WHERE digest = ?", (digest,)).fetchone()
        )
        return SnapshotRef(digest=digest, key=row[0]) if row else None

    def save_files(self, changed: Mapping[bytes, File], gone: Iterable[bytes]) -> None:
        """Write what was read, and forget what is gone, in one transaction."""
        # Sorted, as the table is: its pages are filled one after the other, and not split.
        rows = [(path, *_columns(changed[path])) for path in sorted(changed)]
        with _Commit(self._database, self._failure):
            self._database.executemany("DELETE FROM file WHERE path = ?", [(path,) for path in gone])
            self._database.executemany("INSERT OR REPLACE INTO file VALUES (?, ?, ?, ?, ?)", rows)
        crash_point("after_index_commit")

    def save_pack(self, row: PackIndex) -> None:
        """Write that the store acknowledged a pack."""
        with _Commit(self._database, self._failure):
            self._database.execute(
                "INSERT OR REPLACE INTO pack VALUES (?, ?, NULL)", (row.key, row.SerializeToString())
            )
        self.stored.update(entry.digest for entry in row.entries)
        self.unlisted[row.key] = row

    def save_listing(self, index_key: str, rows: Iterable[PackIndex]) -> None:
        """Write that an index object lists these packs."""
        keys = [row.key for row in rows]
        with _Commit(self._database, self._failure):
            self._database.executemany(
                "UPDATE pack SET listed = ? WHERE key = ?", [(index_key, key) for key in keys]
            )
        for key in keys:
            self.unlisted.pop(key, None)
        self.index_keys.append(index_key)

    def save_snapshot(self, ref: SnapshotRef, trees: Mapping[str, TreeRecord]) -> None:
        """Write where a snapshot was published and what its trees were."""
        with _Commit(self._database, self._failure):
            self._database.execute("INSERT OR REPLACE INTO snapshot VALUES (?, ?)", (ref.digest, ref.key))
            self._database.executemany(
                "INSERT OR REPLACE INTO meta VALUES (?, ?)",
                [(f"tree {name}", f"{each.files} {each.device}") for name, each in trees.items()]
                + [("head", f"{ref.digest.hex()} {ref.key}")],
            )
        self.trees.update(trees)
        self.head = ref

    def keys(self, limit: int = -1) -> set[str]:
        """The objects that the store is known to hold and that a snapshot may need; at most ``limit``."""
        query = (
            "SELECT key FROM snapshot UNION SELECT key FROM pack UNION SELECT listed FROM pack "
            "WHERE listed NOTNULL ORDER BY 1 DESC LIMIT ?"
        )
        return {key for (key,) in self._doing(lambda: self._database.execute(query, (limit,)).fetchall())}

    def rows(self) -> list[PackIndex]:
        """What every pack holds that the store acknowledged."""
        found = self._doing(lambda: self._database.execute("SELECT body FROM pack").fetchall())
        return [PackIndex.FromString(body) for (body,) in found]

    def forget(self, lost: Collection[str]) -> None:
        """These objects are not in the store any more: nor is what can be found through them only."""
        keys = [(key,) for key in lost]
        with _Commit(self._database, self._failure):
            # An index object that lists a lost pack would lead readers there: the others are listed anew.
            self._database.executemany(
                "UPDATE pack SET listed = NULL WHERE listed IN (SELECT listed FROM pack WHERE key = ?)", keys
            )
            self._database.executemany("UPDATE pack SET listed = NULL WHERE listed = ?", keys)
            self._database.executemany("DELETE FROM pack WHERE key = ?", keys)
            # Which of the snapshots need a lost pack is not known: publishing one again costs one put.
            self._database.execute("DELETE FROM snapshot")
            if self.head is not None and self.head.key in lost:
                self._database.execute("DELETE FROM meta WHERE name = 'head'")
                self.head = None
            self._load_packs(self._database)
            self._load_files(self._database)

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    def _open(self, store: str) -> Connection:
        try:
            database = connect(self._path)
        except OSError as error:
            raise self._no_file(error) from error
        try:
            if migrate(database, (_SCHEMA, _COMPACT)) == 1:
                _log.warning("index %s is of an earlier version: all files are read again", self._path)
            row = database.execute("SELECT value FROM meta WHERE name = 'store'").fetchone()
            if row is None:
                if not self.rebuilt:
                    _log.info(
                        "index %s is new: all files are read, and sent where the store lacks them", self._path
                    )
                with database:
                    database.execute("INSERT INTO meta VALUES ('store', ?)", (store,))
            elif row[0] != store:
                raise DatabaseError(f"it belongs to another store, {row[0]}")
            self._load(database)
        except DatabaseError:
            database.close()
            raise
        return database

    def _rebuild(self, store: str) -> Connection:
        self.rebuilt = True
        try:
            self._remove()
            return self._open(store)
        except OSError as error:
            raise self._no_file(error) from error
        except DatabaseError as error:
            raise self._failure(error) from error

    def _remove(self) -> None:
        for suffix in ("", "-wal", "-shm"):
            self._path.with_name(self._path.name + suffix).unlink(missing_ok=True)

    def _load(self, database: Connection) -> None:
        try:
            self._load_packs(database)
            self._load_files(database)
            for name, value in database.execute("SELECT name, value FROM meta WHERE name LIKE 'tree %'"):
                files, device = map(int, value.split())
                self.trees[name.removeprefix("tree ")] = TreeRecord(files, device)
            for (value,) in database.execute("SELECT value FROM meta WHERE name = 'head'"):
                digest, key = value.split()
                self.head = SnapshotRef(digest=bytes.fromhex(digest), key=key)
            database.execute("SELECT count(*) FROM snapshot").fetchone()
        except (DecodeError, ValueError, TypeError, AttributeError) as error:
            raise DatabaseError(f"a row of it makes no sense: {error}") from error

    def _load_packs(self, database: Connection) -> None:
        self.stored, self.unlisted, listings = set(), {}, dict[str, None]()
        for key, body, listed in database.execute("SELECT key, body, listed FROM pack"):
            row = PackIndex.FromString(body)
            self.stored.update(entry.digest for entry in row.entries)
            if listed is None:
                self.unlisted[key] = row
            else:
                listings[listed] = None
        self.index_keys = list(listings)

    def _load_files(self, database: Connection) -> None:
        self._files = {}
        rows = database.execute("SELECT path, stamp, chunk, content, prints FROM file")
        for path, stamp, chunk, body, prints in rows:
            file = File(Stamp.stored(stamp), chunk or _content(body, prints))
            if not all(digest in self.stored for digest in file.chunks):
                file.stamp = _NO_STAMP
            self._files[path] = file

    def _doing(self, work: Callable[[], _Result]) -> _Result:
        try:
            return work()
        except DatabaseError as error:
            raise self._failure(error) from error

    def _failure(self, error: DatabaseError) -> PollinatorError:
        text = f"cannot use the index {self._path}: {error}"
        if is_damaged(error):
            with contextlib.suppress(OSError):
                self._remove()
            return Unavailable(text, reason=DAMAGED, hint="it is rebuilt")
        if is_full(error):
            return _full(text)
        return Unavailable(text, reason="index_unusable", hint=f"what else uses {self._path}?")

    def _no_file(self, error: OSError) -> PollinatorError:
        text = f"cannot make the index {self._path}: {error.strerror}"
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            return _full(text)
        hint = f"look at the permissions of {self._path.parent}"
        return Unavailable(text, reason="index_unusable", hint=hint)


class _Commit:
    """One transaction; a failure becomes an error that says what it is."""

    def __init__(self, database: Connection, failure: Callable[[DatabaseError], PollinatorError]) -> None:
        self._database = database
        self._failure = failure

    def __enter__(self) -> None:
        self._database.__enter__()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        try:
            self._database.__exit__(kind, error, None)
        except DatabaseError as failure:
            raise self._failure(failure) from failure
        if isinstance(error, DatabaseError):
            raise self._failure(error) from error


def _full(text: str) -> Exhausted:
    return Exhausted(text, reason="disk_full", hint="free some space; what was read is read again")


def _columns(file: File) -> tuple[Stamp, bytes | None, bytes | None, bytes | None]:
    """What the index holds of a file behind its path."""
    if file.only_chunk is not None:
        return file.stamp, file.only_chunk, None, None
    content = file.content
    node = FileNode(size=content.size, inline=content.inline)
    node.chunks.extend(Chunk(digest=digest, size=size) for digest, size in content.chunks)
    node.holes.extend(Hole(offset=offset, length=length) for offset, length in content.holes)
    return file.stamp, None, node.SerializeToString(), content.prints


def _content(body: bytes, prints: bytes) -> Content:
    content = node_content(FileNode.FromString(body))
    return replace(content, prints=prints) if prints else content
