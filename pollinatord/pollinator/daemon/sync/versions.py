"""Which version of a file or link is at a name. Versions name contents; modes are not part of them."""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from typing import NamedTuple

from pollinator.chunks.cut import Content, cut
from pollinator.chunks.nodes import FileEntry, encode_directory
from pollinator.chunks.read import SnapshotReader
from pollinator.daemon.scan import Stamp
from pollinator.v1.tree_pb2 import FileNode, SymlinkNode

FOREIGN = b"?"
"""Version of what is no file or link, or cannot be read: nobody's."""


class Seen(NamedTuple):
    """What is at a name."""

    version: bytes
    stamp: Stamp


def version_of(reader: SnapshotReader, node: FileNode | SymlinkNode) -> bytes:
    """The version that an entry of a tree is."""
    if isinstance(node, SymlinkNode):
        return _link(node.target)
    return _content(reader.contents(node))


def look(folder: int, name: bytes) -> Seen | None:
    """What is there; None for nothing."""
    stamp = stamp_of(folder, name)
    if stamp is None:
        return None
    version = FOREIGN
    # Who may not read a file has not written it; nor has who sees it change.
    with suppress(OSError, EOFError):
        if stat.S_ISLNK(stamp.mode):
            version = _link(os.readlink(name, dir_fd=folder))
        elif stat.S_ISREG(stamp.mode):
            version = read_version(folder, name, stamp.size)
    return Seen(version if stamp_of(folder, name) == stamp else FOREIGN, stamp)


def stamp_of(folder: int, name: bytes) -> Stamp | None:
    """What stat says; None when nothing is there."""
    try:
        return Stamp.of(os.stat(name, dir_fd=folder, follow_symlinks=False))
    except FileNotFoundError:
        return None


def packed(stamp: Stamp) -> bytes:
    """A stamp as the ledger keeps it."""
    return repr((stamp.size, stamp.mtime_ns, stamp.ctime_ns, stamp.ino, stamp.dev, stamp.mode)).encode()


def read_version(folder: int, name: bytes, size: int) -> bytes:
    """The version of a file, by reading it."""
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    descriptor = os.open(name, flags, dir_fd=folder)
    try:
        return _content(cut(descriptor, size, _drop))
    finally:
        os.close(descriptor)


def _link(target: bytes) -> bytes:
    return b"link " + target


def _content(content: Content) -> bytes:
    return encode_directory({b"f": FileEntry(0, content)}, _drop)


def _drop(digest: bytes, data: bytes | memoryview) -> None:
    """Only the digest is of interest."""
