"""Changing a folder from one tree into another, at the cost of what differs between them.

The folder holds exactly the old tree and is nobody else's. Who is not sure of that compares ``stamps_of``
with what it was, and lays the new tree out afresh when it is not the same, as does who was killed meanwhile.
"""

from __future__ import annotations

import os
import shutil
import stat
import struct
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from blake3 import blake3

from pollinator.chunks.layout import Folders, LaidOut, Layout, disk_errors
from pollinator.chunks.links import chain_leaves, refuse_link
from pollinator.chunks.read import Node, SnapshotReader
from pollinator.v1.tree_pb2 import DirectoryNode, SymlinkNode, Tree

_STAMP = struct.Struct("<IQqqQ")

Change = tuple[bytes, Node | None, Node | None]
"""A path, what was there and what shall be; nothing stands for no entry."""


def update(
    reader: SnapshotReader,
    old: Tree,
    new: Tree,
    directory: Path,
    *,
    external_links: bool = False,
    progress: Callable[[int], None] | None = None,
) -> LaidOut:
    """Make ``directory``, which holds ``old``, hold ``new``. When this fails it holds neither.

    Args:
        reader: has the snapshots of both trees open.
        old: what is there.
        new: what shall be there.
        directory: where.
        external_links: let links point outside of the tree.
        progress: told the number of bytes that are written, whenever there are more.

    Returns:
        What was written.

    Raises:
        InvalidInput: a link leaves the tree and ``external_links`` is not set.
        Exhausted: the disk is full.
        WrongState: something is not as the old tree says.
        Corrupt: a chunk is damaged.
    """
    changes = list(differences(reader, old, new))
    if not external_links and any(isinstance(node, SymlinkNode) for _, *both in changes for node in both):
        _check_links(reader, new)
    with disk_errors(directory), Folders(directory) as folders:
        job = Layout(reader, folders, True, progress)
        return job.make(_removed_first(changes, folders, job))


def _removed_first(changes: Iterable[Change], folders: Folders, job: Layout) -> Iterator[tuple[bytes, Node]]:
    """What is to be made, after what stands in its way, and what shall not be there, was removed."""
    for path, before, after in changes:
        if isinstance(before, DirectoryNode) and isinstance(after, DirectoryNode):
            job.end_with_mode(path, after.mode)
            continue
        if before is not None:
            folder, name = folders.above(path)
            if isinstance(before, DirectoryNode):
                shutil.rmtree(name, dir_fd=folder)
            else:
                os.unlink(name, dir_fd=folder)
        if after is not None:
            yield path, after


def differences(reader: SnapshotReader, old: Tree, new: Tree) -> Iterator[Change]:
    """Where two trees differ, parents first; what is below a directory that goes is not named.

    Directories with the same node are not looked into: their digests name all that is below.
    """
    level = [(b"", old.digest, new.digest)] if old.digest != new.digest else []
    while level:
        listed = reader.listings(digest for _, *both in level for digest in both if digest)
        below: list[tuple[bytes, bytes, bytes]] = []
        for above, *both in level:
            before, after = ({node.name: node for node in listed[each]} if each else {} for each in both)
            for name in sorted(before.keys() | after.keys()):
                was, will = before.get(name), after.get(name)
                if was == will:
                    continue
                path = above + name
                same = isinstance(was, DirectoryNode) and isinstance(will, DirectoryNode)
                if not same or _mode(was) != _mode(will):
                    yield path, was, will
                if isinstance(will, DirectoryNode) and will.digest != _digest(was):
                    below.append((path + b"/", _digest(was), will.digest))
        level = below


def stamps_of(directory: Path) -> bytes:
    """A digest of what stat says of everything below a folder.

    A change that leaves size, times and inode as they were can be made by nobody but the system's owner.
    """
    digest = blake3()
    top = os.fsencode(directory)
    waiting = [b""]
    while waiting:
        above = waiting.pop()
        with os.scandir(os.path.join(top, above)) as listing:
            found = sorted(listing, key=lambda entry: entry.name)
        parts = [above, b"\0"]
        for entry in found:
            info = entry.stat(follow_symlinks=False)
            stamp = info.st_mode, info.st_size, info.st_mtime_ns, info.st_ctime_ns, info.st_ino
            parts += (_STAMP.pack(*stamp), entry.name, b"\0")
            if stat.S_ISDIR(info.st_mode):
                waiting.append(above + entry.name + b"/")
        digest.update(b"".join(parts))
    return digest.digest()


def _digest(node: Node | None) -> bytes:
    return node.digest if isinstance(node, DirectoryNode) else b""


def _mode(node: Node | None) -> int:
    return node.mode if isinstance(node, DirectoryNode) else 0


def _check_links(reader: SnapshotReader, tree: Tree) -> None:
    """Links can leave a tree together, so all of them are looked at, also those that stay."""
    links = {path: node.target for path, node in reader.walk(tree) if isinstance(node, SymlinkNode)}
    for path, target in links.items():
        if chain_leaves(path, target, links):
            raise refuse_link(path, target)
