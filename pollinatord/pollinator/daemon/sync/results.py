"""Results into a folder of the user, without ever overwriting a local edit.

A ledger remembers which version of each file was laid out last. A file that is still that version may be
replaced; any other is the user's, and the incoming version lands beside it as ``name.<run id>``.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from pollinator.chunks.cut import cut
from pollinator.chunks.layout import disk_errors, write_file
from pollinator.chunks.nodes import FileEntry, encode_directory
from pollinator.chunks.read import SnapshotReader
from pollinator.daemon.database import connect, migrate
from pollinator.v1.tree_pb2 import DirectoryNode, FileNode, SymlinkNode, Tree

_SCHEMA = "CREATE TABLE laid (path BLOB PRIMARY KEY, version BLOB NOT NULL) WITHOUT ROWID;"


@dataclass(frozen=True, slots=True)
class Applied:
    """What laying results out did."""

    written: int
    unchanged: int
    conflicts: tuple[str, ...]
    """Conflict copies, relative to the folder."""


class Ledger:
    """Which version of each file below one folder was laid out last; a file of its own in ``folder``."""

    def __init__(self, folder: Path, directory: Path) -> None:
        name = hashlib.blake2b(os.fsencode(directory.resolve()), digest_size=8).hexdigest()
        self._database = connect(folder / f"{name}.db")
        migrate(self._database, (_SCHEMA,))

    def version(self, path: bytes) -> bytes | None:
        """The version laid out last, if any was."""
        row = self._database.execute("SELECT version FROM laid WHERE path = ?", (path,)).fetchone()
        return row[0] if row else None

    def note(self, path: bytes, version: bytes) -> None:
        """This version is there now."""
        with self._database:
            self._database.execute("INSERT OR REPLACE INTO laid VALUES (?, ?)", (path, version))

    def __enter__(self) -> Self:
        """For use in a with statement."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the file."""
        self._database.close()


def apply_results(
    reader: SnapshotReader, tree: Tree, directory: Path, ledger: Ledger, run_id: str
) -> Applied:
    """Lay the result tree of a run into ``directory``; repeating it is harmless.

    Raises:
        Exhausted: the disk is full.
        PollinatorError: the results cannot be read or written.
    """
    with disk_errors(directory):
        job = _Application(reader, os.fsencode(directory), ledger, run_id.encode())
        for path, node in reader.walk(tree):
            job.take(path, node)
    return Applied(job.written, job.unchanged, tuple(job.conflicts))


class _Application:
    def __init__(self, reader: SnapshotReader, root: bytes, ledger: Ledger, run_id: bytes) -> None:
        self._reader = reader
        self._root = root
        self._ledger = ledger
        self._run_id = run_id
        self._moved: dict[bytes, bytes] = {}
        self.written = 0
        self.unchanged = 0
        self.conflicts: list[str] = []

    def take(self, path: bytes, node: FileNode | DirectoryNode | SymlinkNode) -> None:
        target = self._target(path)
        if isinstance(node, DirectoryNode):
            self._directory(path, target, node)
            return
        incoming = _version_of(self._reader, node)
        present = self._present(target)
        if present == incoming:
            self.unchanged += 1
        else:
            if present is not None and present != self._ledger.version(target):
                # The user's own: leave it, and put what comes in beside it.
                target = target + b"." + self._run_id
                self.conflicts.append(os.fsdecode(target))
            self._write(target, node)
            self.written += 1
        self._ledger.note(target, incoming)

    def _target(self, path: bytes) -> bytes:
        """Where a path goes when a folder above it had to step aside."""
        above, slash, name = path.rpartition(b"/")
        return self._moved.get(above, above) + slash + name

    def _directory(self, path: bytes, target: bytes, node: DirectoryNode) -> None:
        full = os.path.join(self._root, target)
        if os.path.lexists(full) and not stat.S_ISDIR(os.lstat(full).st_mode):
            target = target + b"." + self._run_id
            self.conflicts.append(os.fsdecode(target))
            full = os.path.join(self._root, target)
        self._moved[path] = target
        with self._folder(target.rpartition(b"/")[0]) as above:
            if not os.path.lexists(full):
                os.mkdir(target.rpartition(b"/")[2], node.mode | 0o700, dir_fd=above)

    def _present(self, target: bytes) -> bytes | None:
        """The version of what is there; something that is no file or link is nobody's version."""
        full = os.path.join(self._root, target)
        try:
            info = os.lstat(full)
        except FileNotFoundError:
            return None
        if stat.S_ISLNK(info.st_mode):
            return b"link " + os.readlink(full)
        if not stat.S_ISREG(info.st_mode):
            return b"other"
        descriptor = os.open(full, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            content = cut(descriptor, info.st_size, _drop)
        finally:
            os.close(descriptor)
        return encode_directory({b"f": FileEntry(0, content)}, _drop)

    def _write(self, target: bytes, node: FileNode | SymlinkNode) -> None:
        above, _, name = target.rpartition(b"/")
        with self._folder(above) as folder:
            if isinstance(node, FileNode):
                write_file(self._reader, node, folder, name)
                return
            temporary = b".pollinator-link"
            if os.path.lexists(os.path.join(self._root, above, temporary)):
                os.unlink(temporary, dir_fd=folder)
            os.symlink(node.target, temporary, dir_fd=folder)
            os.rename(temporary, name, src_dir_fd=folder, dst_dir_fd=folder)

    @contextmanager
    def _folder(self, path: bytes) -> Generator[int]:
        """A folder below the root, opened name by name so that no link is followed."""
        descriptor = os.open(self._root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            for name in path.split(b"/") if path else ():
                flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
                deeper = os.open(name, flags, dir_fd=descriptor)
                os.close(descriptor)
                descriptor = deeper
            yield descriptor
        finally:
            os.close(descriptor)


def _version_of(reader: SnapshotReader, node: FileNode | SymlinkNode) -> bytes:
    """What names the content of a file or link; the mode is not part of it."""
    if isinstance(node, SymlinkNode):
        return b"link " + node.target
    return encode_directory({b"f": FileEntry(0, reader.contents(node))}, _drop)


def _drop(digest: bytes, data: bytes | memoryview) -> None:
    """Only the digest is of interest."""
