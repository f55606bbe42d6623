"""What is to be in a label: the files of a tree, and their bytes, many read at a time.

A colony keeps names and bytes. Links to files of the same tree are followed, as the original program does;
what it has no way to keep is left out and named.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

from pollinator.chunks.digest import digest_of
from pollinator.chunks.links import LINK_HOPS
from pollinator.chunks.nodes import shown
from pollinator.chunks.read import Data, SnapshotReader, check_size
from pollinator.executors.colonies.naming import MARKER
from pollinator.v1.tree_pb2 import Chunk, DirectoryNode, FileNode, SymlinkNode, Tree

GROUP_BYTES = 8 * 1024 * 1024
"""Files up to this size are read together, so many bytes at once; of larger ones as many chunks."""
GROUP_CHUNKS = 4
ZEROS = bytes(1024 * 1024)


@dataclass(frozen=True, slots=True)
class Source:
    """One file that is to be in a colony."""

    key: bytes
    """Two files with one key hold the same bytes."""
    size: int


class Contents(Protocol):
    """Files that are to be in a label."""

    @property
    def sources(self) -> Mapping[str, Source]:
        """The files by their paths."""
        ...

    def read(self, paths: Iterable[str]) -> Iterator[tuple[str, Iterator[Data]]]:
        """Each of some files once, in any order, with its bytes in pieces. Blocking, on one thread at a time.

        What is left of one file is lost when the next is asked for.

        Raises:
            PollinatorError: it cannot be read.
        """
        ...


class TreeContents:
    """The files of one tree of a snapshot. Blocking."""

    def __init__(self, reader: SnapshotReader, tree: Tree) -> None:
        self._reader = reader
        self._nodes: dict[str, FileNode] = {}
        self.sources: dict[str, Source] = {}
        left_out: list[str] = []
        for path, node in _files(reader, tree, left_out):
            try:
                text = path.decode()
            except UnicodeDecodeError:
                left_out.append(f"{shown(path)}: its name is no text")
                continue
            if text.rpartition("/")[2] == MARKER:
                continue
            self._nodes[text] = node
            self.sources[text] = Source(content_key(node), node.size)
        self.left_out = tuple(left_out)
        """What a colony cannot keep, each with the reason."""

    def name(self) -> str:
        """Names all of it: the same where the same bytes are at the same paths."""
        rows = (f"{path}\0{source.key.hex()}\n" for path, source in sorted(self.sources.items()))
        return digest_of("".join(rows).encode()).hex()

    def read(self, paths: Iterable[str]) -> Iterator[tuple[str, Iterator[Data]]]:
        """Small files in groups, with few requests to the store; large ones piece by piece."""
        group: list[str] = []
        size = 0
        for path in paths:
            node = self._nodes[path]
            if node.size > GROUP_BYTES:
                yield path, self._pieces(node)
                continue
            group.append(path)
            size += node.size
            if size > GROUP_BYTES:
                yield from self._group(group)
                group, size = [], 0
        yield from self._group(group)

    def _group(self, paths: list[str]) -> Iterator[tuple[str, Iterator[Data]]]:
        placed = {path: list(self._reader.chunks(self._nodes[path])) for path in paths}
        digests = dict.fromkeys(chunk.digest for chunks in placed.values() for _, chunk in chunks)
        found = dict(self._reader.fetch(digests)) if digests else {}
        for path, chunks in placed.items():
            pieces = ((at, chunk, found[chunk.digest]) for at, chunk in chunks)
            yield path, _laid_out(self._nodes[path], pieces)

    def _pieces(self, node: FileNode) -> Iterator[Data]:
        return _laid_out(node, self._few_at_a_time(node))

    def _few_at_a_time(self, node: FileNode) -> Iterator[tuple[int, Chunk, Data]]:
        chunks = self._reader.chunks(node)
        while group := tuple(itertools.islice(chunks, GROUP_CHUNKS)):
            found = dict(self._reader.fetch(chunk.digest for _, chunk in group))
            for at, chunk in group:
                yield at, chunk, found[chunk.digest]


def content_key(node: FileNode) -> bytes:
    """Names what is in a file, whatever its name and mode."""
    if node.inline or not node.size:
        return digest_of(node.inline)
    if len(node.chunks) == 1 and node.chunks[0].size == node.size:
        # Nearly all files are one chunk, and its digest is that of the file.
        return node.chunks[0].digest
    bare = FileNode()
    bare.CopyFrom(node)
    bare.ClearField("name")
    bare.ClearField("mode")
    # Longer than a digest: no content can be made to look like it.
    return b"cut:" + digest_of(bare.SerializeToString(deterministic=True))


def _laid_out(node: FileNode, placed: Iterable[tuple[int, Chunk, Data]]) -> Iterator[Data]:
    if node.inline:
        yield node.inline
    at = len(node.inline)
    for offset, chunk, data in placed:
        yield from _zeros(offset - at)
        yield check_size(chunk, data)
        at = offset + chunk.size
    yield from _zeros(node.size - at)


def _zeros(count: int) -> Iterator[Data]:
    while count > 0:
        yield memoryview(ZEROS)[:count]
        count -= len(ZEROS)


def _files(reader: SnapshotReader, tree: Tree, left_out: list[str]) -> Iterator[tuple[bytes, FileNode]]:
    """All files of a tree, and what links in it lead to; notes what is neither."""
    files: dict[bytes, FileNode] = {}
    links: dict[bytes, bytes] = {}
    folders: set[bytes] = set()
    for path, node in reader.walk(tree):
        match node:
            case FileNode():
                files[path] = node
            case SymlinkNode():
                links[path] = node.target
            case DirectoryNode():
                folders.add(path)
    yield from files.items()
    for path, target in links.items():
        end = _end_of(path, links)
        if end is not None and end in files:
            yield path, files[end]
        else:
            where = "a folder" if end in folders else "no file of this tree"
            left_out.append(f"{shown(path)}: a link to {where} ({shown(target)})")


def _end_of(path: bytes, links: Mapping[bytes, bytes]) -> bytes | None:
    """Where a link of a tree ends; None outside of the tree, or nowhere."""
    at: list[bytes] = []
    ahead = deque(path.split(b"/"))
    hops = 0
    while ahead:
        step = ahead.popleft()
        if step in (b"", b"."):
            continue
        if step == b"..":
            if not at:
                return None
            at.pop()
            continue
        target = links.get(b"/".join([*at, step]))
        if target is None:
            at.append(step)
            continue
        hops += 1
        if target.startswith(b"/") or hops > LINK_HOPS:
            return None
        ahead.extendleft(reversed(target.split(b"/")))
    return b"/".join(at)
