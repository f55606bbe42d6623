"""Results into a folder of the user, without ever overwriting a local edit.

A ledger remembers which versions of each file are ours. A file that is one of them may be replaced; any other
is the user's, and the incoming version lands beside it as ``name.<run id>``.
"""

from __future__ import annotations

import errno
import itertools
import os
import re
import stat
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from pollinator.chunks.cut import Content, cut
from pollinator.chunks.layout import TEMPORARY, disk_errors, make_file, temporary_name
from pollinator.chunks.nodes import FileEntry, encode_directory, shown
from pollinator.chunks.read import SnapshotReader
from pollinator.daemon.scan import Stamp
from pollinator.daemon.sync.ledger import Ledger
from pollinator.v1.tree_pb2 import DirectoryNode, FileNode, SymlinkNode, Tree

GROUP = 256
"""So many files are noted in the ledger at once."""

NAME_BYTES = 255
"""Longest name of a file on the usual systems."""

_FOREIGN = b"?"
"""Version of what is no file or link, or cannot be read: nobody's."""
_IN_THE_MAKING = re.compile(re.escape(os.fsdecode(TEMPORARY)) + "[0-9a-f]{16}")
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@dataclass(frozen=True, slots=True)
class Applied:
    """What laying results out did."""

    written: int
    unchanged: int
    conflicts: tuple[str, ...]
    """Conflict copies, relative to the folder."""


def apply_results(
    reader: SnapshotReader,
    tree: Tree,
    directory: Path,
    ledger: Ledger,
    run_id: str,
    *,
    progress: Callable[[int], None] | None = None,
) -> Applied:
    """Lay the result tree of a run into ``directory``; repeating it is harmless.

    What cannot be written keeps nothing else from coming home. ``progress`` is told the bytes that are done,
    whenever there are more.

    Raises:
        Exhausted: the disk is full.
        PollinatorError: the results cannot be read, or some of them not be written.
    """
    with disk_errors(directory):
        job = _Application(reader, os.fsencode(directory), ledger, run_id.encode(), progress)
        _clear(directory)
        nodes = reader.walk(tree)
        while group := [*itertools.islice(nodes, GROUP)]:
            job.take(group)
        if job.failure is not None:
            raise job.failure
    return Applied(job.written, job.unchanged, tuple(job.conflicts))


class _Application:
    def __init__(
        self,
        reader: SnapshotReader,
        root: bytes,
        ledger: Ledger,
        run_id: bytes,
        progress: Callable[[int], None] | None,
    ) -> None:
        self._progress = progress
        self._bytes = 0
        self._reader = reader
        self._root = root
        self._ledger = ledger
        self._run_id = run_id
        self._moved: dict[bytes, bytes] = {}
        self.written = 0
        self.unchanged = 0
        self.conflicts: list[str] = []
        self.failure: OSError | None = None

    def take(self, group: Iterable[tuple[bytes, FileNode | DirectoryNode | SymlinkNode]]) -> None:
        """Lay out the next entries of the tree."""
        files: list[tuple[bytes, FileNode | SymlinkNode, bytes]] = []
        for path, node in group:
            if isinstance(node, DirectoryNode):
                with self._named(path):
                    self._directory(path, node.mode)
            else:
                files.append((self._target(path), node, self._version(node)))
        self._ledger.intend((target, version) for target, _, version in files)
        laid: list[tuple[bytes, bytes]] = []
        for target, node, version in files:
            with self._named(target):
                laid.append((self._lay(target, node, version), version))
            if isinstance(node, FileNode):
                self._bytes += node.size
                self._tell(self._bytes)
        self._ledger.settle(laid)

    def _target(self, path: bytes) -> bytes:
        """Where a path goes when a folder above it had to step aside."""
        above, slash, name = path.rpartition(b"/")
        return self._moved.get(above, above) + slash + name

    @contextmanager
    def _named(self, target: bytes) -> Generator[None]:
        """Go on with the rest when something cannot be written, unless nothing can."""
        try:
            yield
        except OSError as error:
            named = OSError(error.errno, error.strerror, target)
            if error.errno in _FULL:
                raise named from error
            self.failure = self.failure or named

    def _directory(self, path: bytes, mode: int) -> None:
        target = self._target(path)
        with self._folder(target) as (folder, name):
            place = name
            if not _may_be_folder(folder, name):
                if self._look(folder, name) in self._ledger.ours(target):
                    os.unlink(name, dir_fd=folder)
                else:
                    place = next(each for each in self._beside(name) if _may_be_folder(folder, each))
                    self.conflicts.append(shown(_sibling(target, place)))
            if _stamp(folder, place) is None:
                os.mkdir(place, mode | 0o700, dir_fd=folder)
            else:
                _clear(place, folder)
        self._moved[path] = _sibling(target, place)

    def _lay(self, target: bytes, node: FileNode | SymlinkNode, version: bytes) -> bytes:
        """Put one file or link where it belongs or beside it; returns where it is."""
        with self._folder(target) as (folder, name):
            place, present = self._place(folder, target, version)
            if present == version:
                self.unchanged += 1
            else:
                temporary = temporary_name(name)
                self._make(folder, temporary, node)
                try:
                    # Looked at once more: making it may have taken long, and the user is not asleep.
                    place, _ = self._place(folder, target, version)
                    self._ledger.intend([(_sibling(target, place), version)])
                    os.rename(temporary, place, src_dir_fd=folder, dst_dir_fd=folder)
                except BaseException:
                    os.unlink(temporary, dir_fd=folder)
                    raise
                self.written += 1
        if place != name:
            self.conflicts.append(shown(_sibling(target, place)))
        return _sibling(target, place)

    def _place(self, folder: int, target: bytes, version: bytes) -> tuple[bytes, bytes | None]:
        """The name itself if what is there is ours or nothing, else one beside it; and what is there."""
        name = target.rpartition(b"/")[2]
        for each in itertools.chain((name,), self._beside(name)):
            present = self._look(folder, each)
            if present in (None, version) or present in self._ledger.ours(_sibling(target, each)):
                return each, present
        raise AssertionError("there is always another name")

    def _beside(self, name: bytes) -> Iterable[bytes]:
        """Names for a version that must not replace what is there."""
        for number in itertools.count():
            suffix = b"." + self._run_id + (b".%d" % number if number else b"")
            yield name[: NAME_BYTES - len(suffix)] + suffix

    def _look(self, folder: int, name: bytes) -> bytes | None:
        """The version of what is there; None for nothing."""
        stamp = _stamp(folder, name)
        if stamp is None:
            return None
        version = _FOREIGN
        # Who may not read a file has not written it; nor has who sees it change.
        with suppress(OSError, EOFError):
            if stat.S_ISLNK(stamp.mode):
                version = b"link " + os.readlink(name, dir_fd=folder)
            elif stat.S_ISREG(stamp.mode):
                version = _read_version(folder, name, stamp.size)
        return version if _stamp(folder, name) == stamp else _FOREIGN

    def _make(self, folder: int, name: bytes, node: FileNode | SymlinkNode) -> None:
        if isinstance(node, FileNode):
            make_file(self._reader, node, folder, name, progress=lambda done: self._tell(self._bytes + done))
        else:
            os.symlink(node.target, name, dir_fd=folder)

    def _tell(self, done: int) -> None:
        if self._progress is not None:
            self._progress(done)

    def _version(self, node: FileNode | SymlinkNode) -> bytes:
        if isinstance(node, SymlinkNode):
            return b"link " + node.target
        return _version_of(self._reader.contents(node))

    @contextmanager
    def _folder(self, target: bytes) -> Generator[tuple[int, bytes]]:
        """The folder of a path, opened name by name so that no link is followed; and the name in it."""
        above, _, name = target.rpartition(b"/")
        descriptor = os.open(self._root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            for step in above.split(b"/") if above else ():
                flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
                deeper = os.open(step, flags, dir_fd=descriptor)
                os.close(descriptor)
                descriptor = deeper
            yield descriptor, name
        finally:
            os.close(descriptor)


def _clear(path: bytes | Path, folder: int | None = None) -> None:
    """Remove files in the making from a folder, as a daemon leaves them that was killed."""
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(path, flags if folder is not None else flags & ~os.O_NOFOLLOW, dir_fd=folder)
    try:
        for name in os.listdir(descriptor):
            if _IN_THE_MAKING.match(name):
                os.unlink(name, dir_fd=descriptor)
    finally:
        os.close(descriptor)


def _stamp(folder: int, name: bytes) -> Stamp | None:
    try:
        return Stamp.of(os.stat(name, dir_fd=folder, follow_symlinks=False))
    except FileNotFoundError:
        return None


def _may_be_folder(folder: int, name: bytes) -> bool:
    stamp = _stamp(folder, name)
    return stamp is None or stat.S_ISDIR(stamp.mode)


def _read_version(folder: int, name: bytes, size: int) -> bytes:
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    descriptor = os.open(name, flags, dir_fd=folder)
    try:
        return _version_of(cut(descriptor, size, _drop))
    finally:
        os.close(descriptor)


def _version_of(content: Content) -> bytes:
    """What names the content of a file; the mode is not part of it."""
    return encode_directory({b"f": FileEntry(0, content)}, _drop)


def _sibling(path: bytes, name: bytes) -> bytes:
    """The path of another name in the same folder."""
    above, slash, _ = path.rpartition(b"/")
    return above + slash + name


def _drop(digest: bytes, data: bytes | memoryview) -> None:
    """Only the digest is of interest."""
