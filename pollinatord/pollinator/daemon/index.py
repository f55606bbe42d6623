"""What is known of a project's files and of its store, kept across restarts.

Only a cache: it may be deleted at any time. A file's row says what was read and how stat looked then; a
pack's row says what the store holds, and is written only after the store acknowledged the pack.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from pollinator.chunks.cut import Content
from pollinator.chunks.nodes import node_content
from pollinator.daemon.database import Connection, DatabaseError, OperationalError, connect, migrate
from pollinator.daemon.scan import Stamp
from pollinator.v1.tree_pb2 import Chunk, FileNode, Hole, PackIndex, SnapshotRef
from pollinator.wire.errors import Exhausted
from pollinator.wire.faults import crash_point

_SCHEMA = """
CREATE TABLE file (path BLOB PRIMARY KEY, stamp TEXT NOT NULL, content BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE pack (key TEXT PRIMARY KEY, body BLOB NOT NULL, listed TEXT) WITHOUT ROWID;
CREATE TABLE snapshot (digest BLOB PRIMARY KEY, key TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
"""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Known:
    """A file as it was read."""

    stamp: Stamp
    content: Content


class Index:
    """The index of one project and store. Used from one thread at a time."""

    def __init__(self, path: Path, store: str) -> None:
        self._path = path
        self.rebuilt = False
        try:
            self._database = self._open(store)
        except DatabaseError as error:
            _log.warning("index %s is rebuilt: %s", path, error)
            self._remove()
            self.rebuilt = True
            self._database = self._open(store)
        self.stored: set[bytes] = set()
        self.unlisted: dict[str, PackIndex] = {}
        self.index_keys: list[str] = []
        self._load_packs()

    def files(self) -> dict[bytes, Known]:
        """Every file whose content is in the store as a whole."""
        known: dict[bytes, Known] = {}
        for path, stamp, body in self._database.execute("SELECT path, stamp, content FROM file"):
            content = node_content(FileNode.FromString(body))
            if all(digest in self.stored for digest, _ in content.chunks):
                known[path] = Known(Stamp(*map(int, stamp.split())), content)
        return known

    def snapshot(self, digest: bytes) -> SnapshotRef | None:
        """Where a snapshot was published, if it was."""
        row = self._database.execute("SELECT key FROM snapshot WHERE digest = ?", (digest,)).fetchone()
        return SnapshotRef(digest=digest, key=row[0]) if row else None

    def counts(self) -> dict[str, int]:
        """How many files each tree had when it was sealed last."""
        rows = self._database.execute("SELECT name, value FROM meta WHERE name LIKE 'files %'")
        return {name.removeprefix("files "): int(value) for name, value in rows}

    def save_files(self, changed: Mapping[bytes, Known], gone: Iterable[bytes]) -> None:
        """Write what was read, and forget what is gone, in one transaction."""
        rows = [(path, _stamp(each.stamp), _content(each.content)) for path, each in changed.items()]
        with _Commit(self._database, self._path):
            self._database.executemany("DELETE FROM file WHERE path = ?", [(path,) for path in gone])
            self._database.executemany("INSERT OR REPLACE INTO file VALUES (?, ?, ?)", rows)
        crash_point("after_index_commit")

    def save_pack(self, row: PackIndex) -> None:
        """Write that the store acknowledged a pack."""
        with _Commit(self._database, self._path):
            self._database.execute(
                "INSERT OR REPLACE INTO pack VALUES (?, ?, NULL)", (row.key, row.SerializeToString())
            )
        self.stored.update(entry.digest for entry in row.entries)
        self.unlisted[row.key] = row

    def save_listing(self, index_key: str, rows: Iterable[PackIndex]) -> None:
        """Write that an index object lists these packs."""
        keys = [row.key for row in rows]
        with _Commit(self._database, self._path):
            self._database.executemany(
                "UPDATE pack SET listed = ? WHERE key = ?", [(index_key, key) for key in keys]
            )
        for key in keys:
            self.unlisted.pop(key, None)
        self.index_keys.append(index_key)

    def save_snapshot(self, ref: SnapshotRef, counts: Mapping[str, int]) -> None:
        """Write where a snapshot was published and how many files its trees have."""
        with _Commit(self._database, self._path):
            self._database.execute("INSERT OR REPLACE INTO snapshot VALUES (?, ?)", (ref.digest, ref.key))
            self._database.executemany(
                "INSERT OR REPLACE INTO meta VALUES (?, ?)",
                [(f"files {name}", str(count)) for name, count in counts.items()],
            )

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    def _open(self, store: str) -> Connection:
        database = connect(self._path)
        try:
            migrate(database, (_SCHEMA,))
            row = database.execute("SELECT value FROM meta WHERE name = 'store'").fetchone()
            if row is None:
                with database:
                    database.execute("INSERT INTO meta VALUES ('store', ?)", (store,))
            elif row[0] != store:
                raise DatabaseError(f"it belongs to another store, {row[0]}")
        except DatabaseError:
            database.close()
            raise
        return database

    def _remove(self) -> None:
        for suffix in ("", "-wal", "-shm"):
            self._path.with_name(self._path.name + suffix).unlink(missing_ok=True)

    def _load_packs(self) -> None:
        listings: dict[str, None] = {}
        for key, body, listed in self._database.execute("SELECT key, body, listed FROM pack"):
            row = PackIndex.FromString(body)
            self.stored.update(entry.digest for entry in row.entries)
            if listed is None:
                self.unlisted[key] = row
            else:
                listings[listed] = None
        self.index_keys = list(listings)


class _Commit:
    """One transaction; a full disk becomes an error that says so."""

    def __init__(self, database: Connection, path: Path) -> None:
        self._database = database
        self._path = path

    def __enter__(self) -> None:
        self._database.__enter__()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        try:
            self._database.__exit__(kind, error, None)
        except OperationalError as failure:
            raise self._full(failure) from failure
        if isinstance(error, OperationalError):
            raise self._full(error) from error

    def _full(self, error: OperationalError) -> Exhausted:
        return Exhausted(
            f"cannot write the index {self._path}: {error}",
            reason="disk_full",
            hint="free some space; what was read is read again",
        )


def _stamp(stamp: Stamp) -> str:
    return f"{stamp.size} {stamp.mtime_ns} {stamp.ctime_ns} {stamp.ino} {stamp.dev} {stamp.mode}"


def _content(content: Content) -> bytes:
    node = FileNode(size=content.size, inline=content.inline)
    node.chunks.extend(Chunk(digest=digest, size=size) for digest, size in content.chunks)
    node.holes.extend(Hole(offset=offset, length=length) for offset, length in content.holes)
    return node.SerializeToString()
