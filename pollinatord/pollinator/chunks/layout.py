"""Laying a tree out below a folder. No name in a manifest can make it write anywhere else.

Every folder is opened by one name in the one above it, never through a link, and links are made last. Chunks
are read pack by pack and written where they belong at once, so that memory is bounded and no pack is read for
every file. What to do about files that are there already is the business of others.
"""

from __future__ import annotations

import errno
import itertools
import os
import re
import secrets
import shutil
import stat
from collections import OrderedDict, deque
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from pollinator.chunks.links import chain_leaves, link_leaves, refuse_link
from pollinator.chunks.nodes import PERMISSIONS, check_name, shown
from pollinator.chunks.read import Data, Node, SnapshotReader, check_size
from pollinator.v1.tree_pb2 import Chunk, DirectoryNode, FileNode, SymlinkNode, Tree
from pollinator.wire.errors import Corrupt, Exhausted, WrongState

BATCH_CHUNKS = 32 * 1024
"""The places of so many chunks are gathered before their packs are read."""

GROUP_CHUNKS = 32
"""So many chunks of one replaced file are read at once."""

OPEN_FOLDERS = 64

TEMPORARY = b".pollinator-"
"""Names of files in the making begin so; the ignore rules know it."""

_IN_THE_MAKING = re.compile(re.escape(os.fsdecode(TEMPORARY)) + "[0-9a-f]{16}")

_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_KNOWN_FILE = os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class LaidOut:
    """What was laid out."""

    files: int
    bytes: int


def lay_out(
    reader: SnapshotReader,
    tree: Tree,
    directory: Path,
    *,
    external_links: bool = False,
    progress: Callable[[int], None] | None = None,
) -> LaidOut:
    """Write a tree into ``directory``, which exists and is empty.

    Args:
        reader: has the tree's snapshot open.
        tree: what to write.
        directory: where to.
        external_links: let links point outside of the tree.
        progress: told the number of bytes that are written, whenever there are more.

    Raises:
        InvalidInput: a link leaves the tree and ``external_links`` is not set.
        Exhausted: the disk is full.
        WrongState: something is in the way.
        Corrupt: a chunk is damaged.
    """
    with disk_errors(directory), Folders(directory) as folders:
        return Layout(reader, folders, external_links, progress).make(reader.walk(tree))


def temporary_name(name: bytes) -> bytes:
    """A name that nothing has, for what becomes ``name`` when it is whole."""
    return TEMPORARY + secrets.token_hex(8).encode() + check_name(name)[:160]


def clear_leftovers(path: bytes | Path, folder: int | None = None) -> None:
    """Remove what was in the making from a folder, as whoever is killed leaves it.

    Args:
        path: the folder.
        folder: an open one that ``path`` is a name in: then a link is not followed.
    """
    flags = _FOLDER if folder is not None else _FOLDER & ~os.O_NOFOLLOW
    descriptor = os.open(path, flags, dir_fd=folder)
    try:
        for name in os.listdir(descriptor):
            if _IN_THE_MAKING.match(name):
                if stat.S_ISDIR(os.stat(name, dir_fd=descriptor, follow_symlinks=False).st_mode):
                    shutil.rmtree(name, dir_fd=descriptor)
                else:
                    os.unlink(name, dir_fd=descriptor)
    finally:
        os.close(descriptor)


def make_file(reader: SnapshotReader, node: FileNode, folder: int, name: bytes) -> None:
    """Make a file in an open folder under a name that nothing has; nothing is left of it when that fails."""
    descriptor = os.open(name, _NEW_FILE, 0o600, dir_fd=folder)
    try:
        try:
            _fill(reader, descriptor, node)
        finally:
            os.close(descriptor)
    except BaseException:
        os.unlink(name, dir_fd=folder)
        raise


@contextmanager
def disk_errors(where: Path) -> Generator[None]:
    """Turn errors of the file system below ``where`` into ours."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise Exhausted(
                f"no space left for {where}: {error.strerror}",
                reason="disk_full",
                hint="free some space there, or raise the quota, and try again",
            ) from error
        name = shown(os.fsencode(error.filename)) if error.filename is not None else ""
        what = f"{name} in {where}" if name and not name.startswith("/") else name or str(where)
        raise WrongState(f"cannot write {what}: {error.strerror}", reason="cannot_write") from error


class Folders:
    """Open folders below a root, each reached by one name in the one above it and never through a link."""

    def __init__(self, root: Path) -> None:
        self._path = root
        self._root = -1
        self._open: OrderedDict[bytes, int] = OrderedDict()

    def __enter__(self) -> Self:
        self._root = os.open(self._path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for descriptor in (*self._open.values(), self._root):
            os.close(descriptor)

    def above(self, path: bytes) -> tuple[int, bytes]:
        """The open folder that holds ``path``, and the name in it. Good until the next call."""
        folder, _, name = path.rpartition(b"/")
        return self.at(folder), name

    def at(self, path: bytes) -> int:
        """The open folder at ``path``. Good until the next call."""
        if not path:
            return self._root
        if path not in self._open:
            self._open_down_to(path)
        self._open.move_to_end(path)
        return self._open[path]

    def _open_down_to(self, path: bytes) -> None:
        known, missing = path, deque[bytes]()
        while known and known not in self._open:
            known, _, name = known.rpartition(b"/")
            missing.appendleft(name)
        descriptor = self._open[known] if known else self._root
        for name in missing:
            known = known + b"/" + name if known else name
            descriptor = self._open[known] = os.open(name, _FOLDER, dir_fd=descriptor)
        self._close_some()

    def _close_some(self) -> None:
        while len(self._open) > OPEN_FOLDERS:
            _, descriptor = self._open.popitem(last=False)
            os.close(descriptor)


@dataclass(slots=True)
class _Pieces:
    """A file of several chunks, or with holes, on its way to disk."""

    holes: int
    """How many bytes are in no chunk."""
    missing: int = 0
    """Chunks that were asked for and not written yet."""
    asked: bool = False
    """All its chunks were asked for."""
    made: bool = False


_Wish = tuple[bytes, int, int, int, int, "_Pieces | None"]
"""Where a chunk goes: path, offset, size of the chunk; size and mode of the file, and its other pieces. No
object of a class: there is one for every file of a tree."""


class Layout:
    """One tree on its way to disk."""

    def __init__(
        self,
        reader: SnapshotReader,
        folders: Folders,
        external_links: bool,
        progress: Callable[[int], None] | None,
    ) -> None:
        self._reader = reader
        self._folders = folders
        self._external_links = external_links
        self._progress = progress
        self._wanted: dict[bytes, list[_Wish]] = {}
        """Where each chunk goes that was asked for and is not written yet."""
        self._modes: list[tuple[bytes, int]] = []
        self._given: dict[int, int] = {}
        """Which mode a file has that was opened with a mode: what umask and default ACLs leave of it."""
        self._links: dict[bytes, bytes] = {}
        self._files = 0
        self._bytes = 0

    def make(self, entries: Iterable[tuple[bytes, Node]]) -> LaidOut:
        """Make these entries of the tree, parents before what they hold."""
        asked = self._ask(entries)
        # Nothing of a batch is written before all of it was asked for, and all is before the next one begins.
        for first in asked:
            with closing(self._reader.fetch_along(self._batch(first, asked))) as fetched:
                for digest, data in fetched:
                    for wish in self._wanted.pop(digest):
                        if wish[-1] is not None:
                            wish[-1].missing -= 1
                        self._write(wish, data)
        return self._finish()

    def _batch(self, first: bytes, asked: Iterator[bytes]) -> Iterator[bytes]:
        """As many chunks as are gathered at once, without those that are on their way."""
        for digest in itertools.chain((first,), itertools.islice(asked, BATCH_CHUNKS - 1)):
            if len(self._wanted[digest]) == 1:
                yield digest

    def _ask(self, entries: Iterable[tuple[bytes, Node]]) -> Iterator[bytes]:
        """Make folders and note links; gives the chunk for each place that was noted for one."""
        for path, node in entries:
            match node:
                case FileNode():
                    chunks, size = node.chunks, node.size
                    if len(chunks) == 1 and chunks[0].size == size and not (node.inline or node.holes):
                        # Nearly all files are one chunk.
                        wish = (path, 0, size, size, node.mode & PERMISSIONS, None)
                        yield self._want(chunks[0].digest, wish)
                    else:
                        yield from self._ask_for_pieces(path, node)
                case DirectoryNode():
                    folder, name = self._folders.above(path)
                    # Writable until everything is in it.
                    os.mkdir(name, 0o700, dir_fd=folder)
                    self.end_with_mode(path, node.mode)
                case SymlinkNode():
                    if not self._external_links and link_leaves(path, node.target):
                        raise refuse_link(path, node.target)
                    self._links[path] = node.target

    def end_with_mode(self, path: bytes, mode: int) -> None:
        """Give a directory its mode once everything is in it."""
        self._modes.append((path, mode & PERMISSIONS))

    def _finish(self) -> LaidOut:
        """Make what can only be made when everything is in place."""
        for path, target in self._links.items():
            if not self._external_links and chain_leaves(path, target, self._links):
                raise refuse_link(path, target)
            folder, name = self._folders.above(path)
            os.symlink(target, name, dir_fd=folder)
        for path, mode in reversed(self._modes):
            os.fchmod(self._folders.at(path), mode)
        return LaidOut(self._files, self._bytes)

    def _ask_for_pieces(self, path: bytes, node: FileNode) -> Iterator[bytes]:
        size, mode = node.size, node.mode & PERMISSIONS
        pieces = _Pieces(sum(hole.length for hole in node.holes))
        for offset, chunk in self._reader.chunks(node):
            pieces.missing += 1
            yield self._want(chunk.digest, (path, offset, chunk.size, size, mode, pieces))
        pieces.asked = True
        if not pieces.missing:
            self._write((path, 0, len(node.inline), size, mode, pieces), node.inline)

    def _want(self, digest: bytes, wish: _Wish) -> bytes:
        self._wanted.setdefault(digest, []).append(wish)
        return digest

    def _write(self, wish: _Wish, data: Data) -> None:
        path, offset, chunk_size, size, mode, pieces = wish
        if len(data) != chunk_size:
            raise Corrupt(f"a chunk of {shown(path)} is not as long as the file says", reason="bad_file")
        folder, name = self._folders.above(path)
        last = pieces is None or (pieces.asked and not pieces.missing)
        made = pieces is not None and pieces.made
        # The folder is fresh: whatever is there already was put there by somebody else. A file that comes in
        # several pieces is opened again, which its own mode may forbid.
        opened = mode if last and not made else 0o600
        descriptor = os.open(name, _KNOWN_FILE if made else _NEW_FILE, opened, dir_fd=folder)
        try:
            _write_all(descriptor, data, offset)
            self._bytes += chunk_size
            if pieces is not None:
                pieces.made = True
            if last:
                self._files += 1
                if pieces is not None and pieces.holes:
                    # What was never written reads as zeros and takes no space.
                    os.ftruncate(descriptor, size)
                    self._bytes += pieces.holes
                if self._mode_of(descriptor, opened) != mode:
                    os.fchmod(descriptor, mode)
        finally:
            os.close(descriptor)
        if self._progress is not None:
            self._progress(self._bytes)

    def _mode_of(self, descriptor: int, opened: int) -> int:
        """The mode of a file that was just opened with this one; asked of the first only."""
        if opened not in self._given:
            self._given[opened] = os.fstat(descriptor).st_mode & PERMISSIONS
        return self._given[opened]


def _fill(reader: SnapshotReader, descriptor: int, node: FileNode) -> None:
    _write_all(descriptor, node.inline, 0)
    chunks = reader.chunks(node)
    while group := tuple(itertools.islice(chunks, GROUP_CHUNKS)):
        places: dict[bytes, list[tuple[int, Chunk]]] = {}
        for offset, chunk in group:
            places.setdefault(chunk.digest, []).append((offset, chunk))
        for digest, data in reader.fetch(places):
            for offset, chunk in places[digest]:
                _write_all(descriptor, check_size(chunk, data), offset)
    _complete(descriptor, node)


def _complete(descriptor: int, node: FileNode) -> None:
    if node.holes:
        os.ftruncate(descriptor, node.size)
    os.fchmod(descriptor, node.mode & PERMISSIONS)


def _write_all(descriptor: int, data: Data, position: int) -> None:
    written = os.pwrite(descriptor, data, position)
    while written < len(data):
        written += os.pwrite(descriptor, memoryview(data)[written:], position + written)
