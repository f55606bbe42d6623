"""What trees consist of: every node below some roots once, and the chunks that it names.

Whoever has followed a node to its end before need not do it again: its digest names all that is below.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass

from pollinator.chunks.digest import EMPTY
from pollinator.chunks.read import SnapshotReader, parse_node
from pollinator.v1.tree_pb2 import Chunk, ChunkList, Directory


@dataclass(frozen=True, slots=True)
class Walked:
    """A node of a tree."""

    digest: bytes
    data: bytes
    chunks: tuple[Chunk, ...]
    """Those of files that it names; there may be some twice."""


def nodes_below(
    reader: SnapshotReader, roots: Iterable[bytes], complete: Collection[bytes] = ()
) -> Iterator[Walked]:
    """Every node at or below some roots, level by level.

    Args:
        reader: knows where they are.
        roots: digests of directories; an empty one is no tree.
        complete: nodes that are neither given nor looked into.

    Raises:
        PollinatorError: a node cannot be read.
    """
    seen = {b"", EMPTY}
    directories, lists = list(roots), list[bytes]()
    while directories or lists:
        listed = _fresh(lists, seen, complete)
        wanted = _fresh(directories, seen, complete)
        directories, lists = list[bytes](), list[bytes]()
        for digest, data in reader.fetch(listed):
            yield Walked(digest, bytes(data), tuple(parse_node(ChunkList, digest, data).chunks))
        for digest, data in reader.fetch(wanted):
            node = parse_node(Directory, digest, data)
            yield Walked(digest, bytes(data), tuple(chunk for file in node.files for chunk in file.chunks))
            directories += [part.digest for part in node.parts]
            directories += [below.digest for below in node.directories]
            lists += [each for file in node.files for each in file.chunk_lists]


def _fresh(digests: Iterable[bytes], seen: set[bytes], complete: Collection[bytes]) -> list[bytes]:
    fresh = [each for each in dict.fromkeys(digests) if each not in seen and each not in complete]
    seen.update(fresh)
    return fresh
