"""Results into a folder of the user, without ever overwriting a local edit.

A ledger remembers which versions of each file are ours. A file that is one of them may be replaced; any other
is the user's, and the incoming version lands beside it as ``name.<run id>``.
"""

from __future__ import annotations

import errno
import itertools
import os
import shutil
import stat
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from pollinator.chunks.layout import (
    Folders,
    Layout,
    clear_leftovers,
    disk_errors,
    make_file,
    temporary_name,
)
from pollinator.chunks.nodes import shown
from pollinator.chunks.read import Node, SnapshotReader
from pollinator.daemon.scan import LOCAL_WINDOW_NS, Stamp, is_racy
from pollinator.daemon.sync.ledger import Ledger
from pollinator.daemon.sync.versions import Seen, look, packed, stamp_of, version_of
from pollinator.daemon.watch.filesystem import is_network_fs
from pollinator.v1.tree_pb2 import DirectoryNode, FileNode, SymlinkNode, Tree
from pollinator.wire.errors import Corrupt, NotFound, PollinatorError

GROUP = 4096
"""So many files are fetched at once, and noted in the ledger at once."""

GROUP_BYTES = 1024**3
"""No further file is fetched with those that have so many bytes together."""

NAME_BYTES = 255
"""Longest name of a file on the usual systems."""

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@dataclass(frozen=True, slots=True)
class Applied:
    """What laying results out did."""

    written: int
    unchanged: int
    conflicts: tuple[str, ...]
    """Conflict copies, relative to the folder."""


_Wanted = tuple[bytes, FileNode | SymlinkNode, bytes]
"""Where a file or link goes, what it is, and its version."""


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

    What cannot be had or written keeps nothing else from coming home. ``progress`` is told the bytes of what
    is done.

    Raises:
        Exhausted: the disk is full.
        PollinatorError: the results cannot be read, or some of them not be written.
    """
    with disk_errors(directory):
        clear_leftovers(directory)
        job = _Application(reader, directory, ledger, run_id.encode(), progress)
        for group in _groups(reader.walk(tree)):
            with Folders(directory) as folders:
                job.take(group, folders)
        if job.failure is not None:
            raise job.failure
    return Applied(job.written, job.unchanged, tuple(job.conflicts))


class _Application:
    def __init__(
        self,
        reader: SnapshotReader,
        directory: Path,
        ledger: Ledger,
        run_id: bytes,
        progress: Callable[[int], None] | None,
    ) -> None:
        self._reader = reader
        self._root = os.fsencode(directory)
        self._ledger = ledger
        self._run_id = run_id
        self._progress = progress
        self._done = 0
        self._moved: dict[bytes, bytes] = {}
        # Stamps say nothing where they come and go with the mount.
        self._window_ns = None if is_network_fs(directory) else LOCAL_WINDOW_NS
        self.written = 0
        self.unchanged = 0
        self.conflicts: list[str] = []
        self.failure: OSError | PollinatorError | None = None

    def take(self, group: Iterable[tuple[bytes, Node]], folders: Folders) -> None:
        """Lay out the next entries of the tree."""
        files: list[_Wanted] = []
        for path, node in group:
            if isinstance(node, DirectoryNode):
                with self._named(path):
                    self._directory(folders, path, node.mode)
            else:
                with self._named(path):
                    files.append((self._target(path), node, version_of(self._reader, node)))
        self._ledger.intend((target, version) for target, _, version in files)
        laid: list[tuple[bytes, bytes]] = []
        seen: list[tuple[bytes, bytes, bytes]] = []
        wanted = self._missing(folders, files, laid, seen)
        with self._staged([node for _, node, _ in wanted]) as staged:
            for number, (target, node, version) in enumerate(wanted):
                with self._named(target):
                    at, stamp = self._lay(folders, staged, number, target, node, version)
                    laid.append((at, version))
                    if stamp is not None:
                        seen.append((at, version, stamp))
        self._ledger.settle(laid)
        self._ledger.see(seen)

    def _missing(
        self,
        folders: Folders,
        files: Sequence[_Wanted],
        laid: list[tuple[bytes, bytes]],
        seen: list[tuple[bytes, bytes, bytes]],
    ) -> list[_Wanted]:
        """Those that are not there yet; notes the others."""
        known = self._ledger.seen(target for target, _, _ in files)
        missing: list[_Wanted] = []
        for target, node, version in files:
            with self._named(target):
                folder, name = folders.above(target)
                stamp = stamp_of(folder, name)
                if stamp is not None and known.get(target) == (version, packed(stamp)):
                    self._keep(node, target, target)
                    continue
                started_ns = time.time_ns()
                place, present = self._place(folder, target, version)
                if present is None or present.version != version:
                    missing.append((target, node, version))
                    continue
                at = _sibling(target, place)
                self._keep(node, target, at)
                laid.append((at, version))
                if self._window_ns is not None and not is_racy(present.stamp, started_ns, time.time_ns()):
                    seen.append((at, version, packed(present.stamp)))
        return missing

    def _keep(self, node: FileNode | SymlinkNode, target: bytes, at: bytes) -> None:
        """It is there already."""
        self.unchanged += 1
        if at != target:
            self.conflicts.append(shown(at))
        if isinstance(node, FileNode):
            self._tell(self._done + node.size)

    def _tell(self, done: int) -> None:
        self._done = done
        if self._progress is not None:
            self._progress(done)

    def _target(self, path: bytes) -> bytes:
        """Where a path goes when a folder above it had to step aside."""
        above, slash, name = path.rpartition(b"/")
        return self._moved.get(above, above) + slash + name

    @contextmanager
    def _named(self, target: bytes) -> Generator[None]:
        """Go on with the rest when something cannot be had or written, unless nothing can."""
        try:
            yield
        except (Corrupt, NotFound) as error:
            self.failure = self.failure or error
        except OSError as error:
            named = OSError(error.errno, error.strerror, target)
            if error.errno in _FULL:
                raise named from error
            self.failure = self.failure or named

    def _directory(self, folders: Folders, path: bytes, mode: int) -> None:
        target = self._target(path)
        folder, name = folders.above(target)
        place = name
        if not _may_be_folder(folder, name):
            present = look(folder, name)
            if present is not None and present.version in self._ledger.ours(target):
                os.unlink(name, dir_fd=folder)
            else:
                place = next(each for each in self._beside(name) if _may_be_folder(folder, each))
                self.conflicts.append(shown(_sibling(target, place)))
        if stamp_of(folder, place) is None:
            os.mkdir(place, mode | 0o700, dir_fd=folder)
        else:
            clear_leftovers(place, folder)
        self._moved[path] = _sibling(target, place)

    @contextmanager
    def _staged(self, nodes: Sequence[FileNode | SymlinkNode]) -> Generator[int | None]:
        """A folder that holds each of these under its number, made with as few requests as can be.

        None when that fails: then each is made by itself, and what is wrong with it keeps no other back.
        """
        if not nodes:
            yield None
            return
        folder = os.path.join(self._root, temporary_name(b"results"))
        staged: int | None = None
        try:
            with suppress(PermissionError, Corrupt, NotFound):
                os.mkdir(folder, 0o700)
                self._stage(nodes, Path(os.fsdecode(folder)))
                staged = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
            yield staged
        finally:
            if staged is not None:
                os.close(staged)
            shutil.rmtree(folder, ignore_errors=True)

    def _stage(self, nodes: Sequence[FileNode | SymlinkNode], folder: Path) -> None:
        before = self._done

        def tell(done: int) -> None:
            self._tell(before + done)

        with Folders(folder) as folders:
            named = ((b"%d" % number, node) for number, node in enumerate(nodes))
            Layout(self._reader, folders, True, tell).make(named)

    def _lay(
        self,
        folders: Folders,
        staged: int | None,
        number: int,
        target: bytes,
        node: FileNode | SymlinkNode,
        version: bytes,
    ) -> tuple[bytes, bytes | None]:
        """Put one file or link where it belongs or beside it; where it is, and its stamp if that tells."""
        folder, name = folders.above(target)
        source, made = staged if staged is not None else folder, b"%d" % number
        if staged is None or os.stat(staged).st_dev != os.stat(folder).st_dev:
            source, made = folder, temporary_name(name)
            self._make(folder, made, node)
        try:
            before = Stamp.of(os.stat(made, dir_fd=source, follow_symlinks=False))
            # Looked at once more: making it may have taken long, and the user is not asleep.
            place, _ = self._place(folder, target, version)
            at = _sibling(target, place)
            if place != name:
                self._ledger.intend([(at, version)])
            os.rename(made, place, src_dir_fd=source, dst_dir_fd=folder)
        except BaseException:
            if source == folder:
                os.unlink(made, dir_fd=folder)
            raise
        self.written += 1
        if place != name:
            self.conflicts.append(shown(at))
        return at, self._stamp_of_ours(folder, place, before)

    def _stamp_of_ours(self, folder: int, place: bytes, before: Stamp) -> bytes | None:
        """The stamp of what was just put there; None when an edit meanwhile might not show in it."""
        now_ns = time.time_ns()
        after = stamp_of(folder, place)
        if after is None or self._window_ns is None or before.mtime_ns >= now_ns - self._window_ns:
            return None
        same = (after.size, after.mtime_ns, after.ino) == (before.size, before.mtime_ns, before.ino)
        return packed(after) if same else None

    def _place(self, folder: int, target: bytes, version: bytes) -> tuple[bytes, Seen | None]:
        """The name itself if what is there is ours or nothing, else one beside it; and what is there."""
        name = target.rpartition(b"/")[2]
        for each in itertools.chain((name,), self._beside(name)):
            present = look(folder, each)
            if (
                present is None
                or present.version == version
                or present.version in self._ledger.ours(_sibling(target, each))
            ):
                return each, present
        raise AssertionError("there is always another name")

    def _beside(self, name: bytes) -> Iterable[bytes]:
        """Names for a version that must not replace what is there."""
        for number in itertools.count():
            suffix = b"." + self._run_id + (b".%d" % number if number else b"")
            yield name[: NAME_BYTES - len(suffix)] + suffix

    def _make(self, folder: int, name: bytes, node: FileNode | SymlinkNode) -> None:
        if isinstance(node, FileNode):
            make_file(self._reader, node, folder, name)
        else:
            os.symlink(node.target, name, dir_fd=folder)


def _groups(nodes: Iterator[tuple[bytes, Node]]) -> Iterator[list[tuple[bytes, Node]]]:
    """Entries of a tree, some at a time: what is fetched together is on disk twice for a while."""
    group: list[tuple[bytes, Node]] = []
    size = 0
    for path, node in nodes:
        group.append((path, node))
        size += node.size if isinstance(node, FileNode) else 0
        if len(group) >= GROUP or size >= GROUP_BYTES:
            yield group
            group, size = [], 0
    if group:
        yield group


def _may_be_folder(folder: int, name: bytes) -> bool:
    stamp = stamp_of(folder, name)
    return stamp is None or stat.S_ISDIR(stamp.mode)


def _sibling(path: bytes, name: bytes) -> bytes:
    """The path of another name in the same folder."""
    above, slash, _ = path.rpartition(b"/")
    return above + slash + name
