"""Directory nodes: the canonical listing of one level of a tree.

Long lists (entries of a big directory, chunks of a huge file) are split where the content says so, so that
one change in a directory of 100,000 files rewrites a piece of it and not all. Reading nodes is the business
of ``read``.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from operator import lt
from typing import NamedTuple, TypeVar

from pollinator.chunks.cut import Content
from pollinator.chunks.digest import digest_of
from pollinator.v1.tree_pb2 import (
    Chunk,
    ChunkList,
    Directory,
    DirectoryPart,
    FileNode,
)
from pollinator.wire.errors import Corrupt

MAX_ENTRIES = 1024
"""Directories up to this length are not split, and no piece of a list is longer."""

MAX_CHUNKS = 64
"""Chunk lists up to this length are kept in the file node: longer ones would make directory nodes huge."""

SPLIT_MASK = 0xFF
"""An entry ends a piece when the last byte of its digest is 0: 256 entries on average."""

PERMISSIONS = 0o777
"""All of a mode that is kept: a manifest must not be able to make a file setuid."""

_Item = TypeVar("_Item")
NodeSink = Callable[[bytes, bytes], None]


@dataclass(frozen=True, slots=True)
class FileEntry:
    """A regular file."""

    mode: int
    content: Content


class OneChunkEntry(NamedTuple):
    """A regular file that is one chunk, as nearly all are."""

    mode: int
    digest: bytes
    size: int


@dataclass(frozen=True, slots=True)
class LinkEntry:
    """A symbolic link."""

    target: bytes


class DirEntry(NamedTuple):
    """A directory, by the digest of its node."""

    mode: int
    digest: bytes


Entry = FileEntry | OneChunkEntry | LinkEntry | DirEntry


def encode_directory(entries: Mapping[bytes, Entry], sink: NodeSink) -> bytes:
    """Digest of the directory with these entries; every node it needs goes to ``sink(digest, bytes)``."""
    names = sorted(entries)
    if len(names) <= MAX_ENTRIES:
        return _emit(_directory(names, entries, sink), sink)
    node = Directory()
    for piece in _split(names, digest_of):
        node.parts.append(DirectoryPart(digest=_emit(_directory(piece, entries, sink), sink)))
    return _emit(node, sink)


def node_content(node: FileNode) -> Content:
    """The content a FileNode describes, when its chunks are not in lists."""
    return Content(
        node.inline,
        tuple((chunk.digest, chunk.size) for chunk in node.chunks),
        tuple((hole.offset, hole.length) for hole in node.holes),
        node.size,
    )


def place_chunks(node: FileNode, chunks: Iterable[Chunk]) -> Iterator[tuple[int, Chunk]]:
    """The offset of each chunk: they fill, in order, all of the file that is no hole.

    Raises:
        Corrupt: chunks and holes do not make up a file of this size.
    """
    holes = deque((hole.offset, hole.length) for hole in node.holes)
    position = len(node.inline)
    for chunk in chunks:
        position = _behind_holes(position, holes)
        if not chunk.size or node.inline or (holes and position + chunk.size > holes[0][0]):
            raise _bad_file(node)
        yield position, chunk
        position += chunk.size
    if _behind_holes(position, holes) != node.size or holes:
        raise _bad_file(node)


def _behind_holes(position: int, holes: deque[tuple[int, int]]) -> int:
    while holes and holes[0][0] == position:
        position += holes.popleft()[1]
    return position


def _bad_file(node: FileNode) -> Corrupt:
    return Corrupt(
        f"the chunks and holes of {shown(node.name)} do not make up its {node.size} bytes", reason="bad_file"
    )


def shown(name: bytes) -> str:
    """A name or path for people: bytes that are no text are written as escapes."""
    return name.decode("utf-8", "backslashreplace")


def check_name(name: bytes) -> bytes:
    """``name`` if it can be a name inside a directory; a manifest must not be able to leave its root.

    Raises:
        Corrupt: it is not one.
    """
    if name in (b"", b".", b"..") or b"/" in name or b"\0" in name:
        raise Corrupt(f"a tree holds the name {name!r}, which is not one", reason="bad_name")
    return name


def check_names(names: Sequence[bytes]) -> bool:
    """These are names, sorted and none twice; for the many directories where that is so, in a glance."""
    joined = b"/".join(names)
    return (
        joined.count(b"/") == max(0, len(names) - 1)
        and b"\0" not in joined
        and not {b"", b".", b".."}.intersection(names)
        and all(map(lt, names, names[1:]))
    )


def _directory(names: Sequence[bytes], entries: Mapping[bytes, Entry], sink: NodeSink) -> Directory:
    # One changed file costs as much as there are files beside it: each message is made where it belongs.
    node = Directory()
    add_file, add_directory = node.files.add, node.directories.add
    for name in names:
        entry = entries[name]
        match entry:
            case OneChunkEntry():
                file = add_file(name=name, size=entry.size, mode=entry.mode & PERMISSIONS)
                file.chunks.add(digest=entry.digest, size=entry.size)
            case FileEntry(mode, content):
                file = add_file(name=name, size=content.size, mode=mode & PERMISSIONS, inline=content.inline)
                _fill(file, content, sink)
            case DirEntry():
                add_directory(name=name, digest=entry.digest, mode=entry.mode & PERMISSIONS)
            case LinkEntry(target):
                node.symlinks.add(name=name, target=target)
    return node


def _fill(node: FileNode, content: Content, sink: NodeSink) -> None:
    for offset, length in content.holes:
        node.holes.add(offset=offset, length=length)
    if len(content.chunks) <= MAX_CHUNKS:
        for digest, size in content.chunks:
            node.chunks.add(digest=digest, size=size)
        return
    chunks = [Chunk(digest=digest, size=size) for digest, size in content.chunks]
    for piece in _split(chunks, lambda chunk: chunk.digest):
        node.chunk_lists.append(_emit(ChunkList(chunks=piece), sink))


def _split(items: Sequence[_Item], name_of: Callable[[_Item], bytes]) -> Iterator[Sequence[_Item]]:
    start = 0
    for at, item in enumerate(items, 1):
        if name_of(item)[-1] & SPLIT_MASK == 0 or at - start == MAX_ENTRIES:
            yield items[start:at]
            start = at
    if start < len(items):
        yield items[start:]


def _emit(node: Directory | ChunkList, sink: NodeSink) -> bytes:
    data = node.SerializeToString(deterministic=True)
    digest = digest_of(data)
    sink(digest, data)
    return digest
