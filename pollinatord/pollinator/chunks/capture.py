"""Sealing plain folders once, as an executor does with the results of a run."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from pollinator.chunks.cut import cut
from pollinator.chunks.nodes import DirEntry, Entry, FileEntry, LinkEntry, encode_directory, shown
from pollinator.chunks.store import Store
from pollinator.chunks.upload import Uploader
from pollinator.v1.spec_pb2 import RunSpec
from pollinator.v1.tree_pb2 import PackIndex, Snapshot, SnapshotRef, Tree

LISTED_CHUNKS = 4096
"""Beyond so many chunks their places go into an index object instead of the snapshot pack."""

NODES_BYTES = 16 * 1024 * 1024
"""So many bytes of directory nodes are held back and stored side by side: a reader asks for them first, and
among the files each would be a request of its own."""


@dataclass(frozen=True, slots=True)
class Captured:
    """A folder that was sealed."""

    ref: SnapshotRef
    tree: Tree
    skipped: tuple[str, ...]
    """What could not be taken, each with the reason."""


def capture(
    directory: Path,
    store: Store,
    *,
    data: Path | None = None,
    progress: Callable[[int], None] | None = None,
) -> Captured:
    """Publish a folder as the ``result`` tree of a snapshot.

    Sockets, devices and what cannot be read are left out and named. Nobody else should write meanwhile.
    ``progress`` is told the bytes that are read, whenever there are more; ``data`` is a folder to publish
    beside it as the ``data`` tree.

    Raises:
        PollinatorError: the store fails.
    """
    sealing = _Capture(store, progress)
    with sealing:
        tree = sealing.seal(directory)
        skipped = tuple(sealing.skipped)
        beside = sealing.seal(data) if data is not None else None
        ref = sealing.publish(Snapshot(version=1, data=beside, result=tree))
    return Captured(ref, tree, skipped)


def capture_project(
    src: Path, data: Path, spec: RunSpec, store: Store, *, progress: Callable[[int], None] | None = None
) -> SnapshotRef:
    """Publish two folders as the snapshot of a project that came some other way. Nobody else should write.

    Raises:
        PollinatorError: the store fails.
    """
    sealing = _Capture(store, progress)
    with sealing:
        return sealing.publish(Snapshot(version=1, src=sealing.seal(src), data=sealing.seal(data), spec=spec))


@dataclass(slots=True)
class _Folder:
    """A folder that is being taken."""

    path: bytes
    mode: int
    entries: dict[bytes, Entry]
    below: list[tuple[bytes, int]]
    """Folders in it that are still to be taken."""


class _Capture:
    def __init__(self, store: Store, progress: Callable[[int], None] | None) -> None:
        self._progress = progress
        self._read = 0
        self._stored: set[bytes] = set()
        self._rows: list[PackIndex] = []
        self.skipped: list[str] = []
        """What could not be taken, each with the reason."""
        self._uploader = Uploader(store, on_stored=self._acknowledged)
        self._nodes: dict[bytes, bytes] = {}
        self._nodes_bytes = 0
        self._files = 0
        self._bytes = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._uploader.close()

    def seal(self, directory: Path) -> Tree:
        """Have all of a folder on its way to the store."""
        files, size = self._files, self._bytes
        digest = self._tree(os.fsencode(directory))
        return Tree(digest=digest, files=self._files - files, bytes=self._bytes - size)

    def publish(self, snapshot: Snapshot) -> SnapshotRef:
        """Store the snapshot of what was sealed."""
        self._send_nodes()
        self._uploader.settle()
        rows, indexes = self._rows, list[str]()
        if sum(len(row.entries) for row in rows) > LISTED_CHUNKS:
            rows, indexes = [], [self._uploader.write_index(rows).result()]
        return self._uploader.publish(snapshot, rows, indexes)

    def _acknowledged(self, row: PackIndex) -> None:
        self._stored.update(entry.digest for entry in row.entries)
        self._rows.append(row)

    def _sink(self, digest: bytes, data: bytes | memoryview) -> None:
        self._read += len(data)
        if self._progress is not None:
            self._progress(self._read)
        if digest not in self._stored:
            self._uploader.add(digest, data)

    def _node(self, digest: bytes, data: bytes) -> None:
        if self._nodes.setdefault(digest, data) is data:
            self._nodes_bytes += len(data)
        if self._nodes_bytes > NODES_BYTES:
            self._send_nodes()

    def _send_nodes(self) -> None:
        for digest, data in self._nodes.items():
            self._sink(digest, data)
        self._nodes, self._nodes_bytes = {}, 0

    def _tree(self, root: bytes) -> bytes:
        """Digest of the folder. A loop, as folders may be nested deeper than calls."""
        opened = [_Folder(b"", 0, *self._list(root, b""))]
        while True:
            folder = opened[-1]
            if folder.below:
                name, mode = folder.below.pop()
                path = os.path.join(folder.path, name)
                try:
                    opened.append(_Folder(path, mode, *self._list(root, path)))
                except OSError as error:
                    self._skip(path, str(error))
                continue
            digest = encode_directory(folder.entries, self._node)
            opened.pop()
            if not opened:
                return digest
            opened[-1].entries[os.path.basename(folder.path)] = DirEntry(folder.mode, digest)

    def _list(self, root: bytes, path: bytes) -> tuple[dict[bytes, Entry], list[tuple[bytes, int]]]:
        """Files and links of one folder, and the names and modes of those in it."""
        entries: dict[bytes, Entry] = {}
        below: list[tuple[bytes, int]] = []
        with os.scandir(os.path.join(root, path)) as listing:
            found = sorted(listing, key=lambda entry: entry.name)
        for each in found:
            at = os.path.join(path, each.name)
            try:
                info = each.stat(follow_symlinks=False)
                if stat.S_ISDIR(info.st_mode):
                    below.append((each.name, info.st_mode & 0o777))
                else:
                    entries[each.name] = self._entry(os.path.join(root, at), info)
            except (OSError, EOFError) as error:
                self._skip(at, str(error))
        return entries, below[::-1]

    def _skip(self, path: bytes, why: str) -> None:
        self.skipped.append(f"{shown(path)}: {why}")

    def _entry(self, full: bytes, info: os.stat_result) -> Entry:
        if stat.S_ISLNK(info.st_mode):
            return LinkEntry(os.readlink(full))
        if not stat.S_ISREG(info.st_mode):
            raise OSError("no file, folder or link")
        descriptor = os.open(full, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            size = os.fstat(descriptor).st_size
            content = cut(descriptor, size, self._sink)
        finally:
            os.close(descriptor)
        self._files += 1
        self._bytes += size
        return FileEntry(info.st_mode & 0o777, content)
