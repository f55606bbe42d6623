"""Laying a tree out below a folder. No name in a manifest can make it write anywhere else."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pollinator.chunks.cut import Content
from pollinator.chunks.nodes import check_name
from pollinator.chunks.read import SnapshotReader
from pollinator.v1.tree_pb2 import DirectoryNode, FileNode, SymlinkNode, Tree
from pollinator.wire.errors import Exhausted, InvalidInput, WrongState

BATCH_BYTES = 32 * 1024 * 1024
"""About how much file content is in memory at a time."""

TEMPORARY = b".pollinator-"
"""Names of files in the making begin so; the ignore rules know it."""


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
        progress: told the number of bytes after each file.

    Raises:
        InvalidInput: a link leaves the tree and ``external_links`` is not set.
        Exhausted: the disk is full.
        Corrupt: a chunk is damaged.
    """
    with _open_dir(directory) as root, disk_errors(directory):
        job = _Layout(reader, root, external_links, progress)
        for path, node in reader.walk(tree):
            job.add(path, node)
        return job.finish()


def link_leaves(path: bytes, target: bytes) -> bool:
    """A link at ``path`` (relative to the root of its tree) to ``target`` points outside of the tree."""
    if target.startswith(b"/"):
        return True
    depth = path.count(b"/")
    for part in target.split(b"/"):
        depth += {b"..": -1, b".": 0, b"": 0}.get(part, 1)
        if depth < 0:
            return True
    return False


def refuse_link(path: bytes, target: bytes) -> InvalidInput:
    """The error for a link that leaves its tree."""
    return InvalidInput(
        f"the link {os.fsdecode(path)} -> {os.fsdecode(target)} leads out of the tree",
        reason="external_link",
        hint="copy what it points at into the tree, ignore it in .pollinatorignore, "
        "or set sync.allowExternalLinks: true in project.yaml",
    )


def write_file(reader: SnapshotReader, node: FileNode, folder: int, name: bytes) -> None:
    """Put a file into an open folder, replacing what is there, by a temporary name and a rename."""
    temporary = TEMPORARY + check_name(name)[:200]
    content = reader.contents(node)
    descriptor = os.open(
        temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=folder
    )
    try:
        _fill(reader, descriptor, content, {})
        os.fchmod(descriptor, node.mode)
    finally:
        os.close(descriptor)
    os.rename(temporary, name, src_dir_fd=folder, dst_dir_fd=folder)


@contextmanager
def disk_errors(where: Path) -> Iterator[None]:
    """Turn errors of the file system below ``where`` into ours."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise Exhausted(
                f"no space left for {where}", reason="disk_full", hint="free some space and try again"
            ) from error
        name = error.filename if error.filename is not None else where
        raise WrongState(
            f"cannot write {os.fsdecode(name)}: {error.strerror}", reason="cannot_write"
        ) from error


class _Layout:
    """One tree on its way to disk: files are gathered so that their chunks are read together."""

    def __init__(
        self,
        reader: SnapshotReader,
        root: int,
        external_links: bool,
        progress: Callable[[int], None] | None,
    ) -> None:
        self._reader = reader
        self._root = root
        self._external_links = external_links
        self._progress = progress
        self._batch: list[tuple[bytes, FileNode, Content]] = []
        self._batch_bytes = 0
        self._modes: list[tuple[bytes, int]] = []
        self._files = 0
        self._bytes = 0

    def add(self, path: bytes, node: FileNode | DirectoryNode | SymlinkNode) -> None:
        match node:
            case DirectoryNode():
                # Writable until everything is in it.
                os.mkdir(path, 0o700, dir_fd=self._root)
                self._modes.append((path, node.mode))
            case SymlinkNode():
                if not self._external_links and link_leaves(path, node.target):
                    raise refuse_link(path, node.target)
                os.symlink(node.target, path, dir_fd=self._root)
            case FileNode():
                self._batch.append((path, node, self._reader.contents(node)))
                self._batch_bytes += node.size
                if self._batch_bytes >= BATCH_BYTES:
                    self._write_batch()

    def finish(self) -> LaidOut:
        self._write_batch()
        for path, mode in reversed(self._modes):
            os.chmod(path, mode, dir_fd=self._root)
        return LaidOut(self._files, self._bytes)

    def _write_batch(self) -> None:
        small = [each for each in self._batch if each[2].size <= BATCH_BYTES]
        found = dict(self._reader.fetch(digest for _, _, content in small for digest, _ in content.chunks))
        for path, node, content in self._batch:
            self._write(path, node, content, found)
        self._batch, self._batch_bytes = [], 0

    def _write(self, path: bytes, node: FileNode, content: Content, found: dict[bytes, bytes]) -> None:
        # O_EXCL: the folder is fresh, so whatever is there already was put there by somebody else.
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(path, flags, 0o600, dir_fd=self._root)
        try:
            _fill(self._reader, descriptor, content, found)
            os.fchmod(descriptor, node.mode)
        finally:
            os.close(descriptor)
        self._files += 1
        self._bytes += content.size
        if self._progress is not None:
            self._progress(self._bytes)


def _fill(reader: SnapshotReader, descriptor: int, content: Content, found: dict[bytes, bytes]) -> None:
    """Write the bytes of a file, leaving its holes holes."""
    if content.inline:
        os.write(descriptor, content.inline)
        return
    holes = iter([*content.holes, (content.size, 0)])
    position, (hole, length) = 0, next(holes)
    for group in _groups(content.chunks):
        missing = [digest for digest, _ in group if digest not in found]
        have = dict(reader.fetch(missing)) if missing else found
        have = {**found, **have} if missing and len(missing) < len(group) else have
        for digest, _ in group:
            while position == hole and length:
                position, (hole, length) = hole + length, next(holes)
            position = _write_all(descriptor, have[digest], position)
    if content.holes:
        os.ftruncate(descriptor, content.size)


def _groups(chunks: tuple[tuple[bytes, int], ...]) -> Iterator[tuple[tuple[bytes, int], ...]]:
    for start in range(0, len(chunks), 32):
        yield chunks[start : start + 32]


def _write_all(descriptor: int, data: bytes, position: int) -> int:
    rest = memoryview(data)
    while rest:
        written = os.pwrite(descriptor, rest, position)
        position += written
        rest = rest[written:]
    return position


@contextmanager
def _open_dir(path: Path) -> Iterator[int]:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise WrongState(f"cannot open {path}: {error.strerror}", reason="bad_directory") from error
    try:
        yield descriptor
    finally:
        os.close(descriptor)
