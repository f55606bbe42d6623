"""What changed between the trees of two snapshots."""

from __future__ import annotations

import difflib
import os

from pollinator.chunks.read import SnapshotReader
from pollinator.v1.project_pb2 import ChangeKind, FileChange
from pollinator.v1.tree_pb2 import DirectoryNode, FileNode, Snapshot, SymlinkNode

TEXT_BYTES = 64 * 1024
"""Files up to this size are compared line by line."""

Leaf = FileNode | SymlinkNode
Readers = tuple[SnapshotReader, SnapshotReader]


def diff_snapshots(
    reader: SnapshotReader, base: Snapshot, other: Snapshot, other_reader: SnapshotReader | None = None
) -> list[FileChange]:
    """Files and links that differ, sorted by path.

    Args:
        reader: has ``base`` open.
        base: what it was.
        other: what it is.
        other_reader: has ``other`` open; None when ``reader`` has.
    """
    readers = reader, other_reader or reader
    before, after = _leaves(readers[0], base), _leaves(readers[1], other)
    return [
        _change(readers, path, before.get(path), after.get(path))
        for path in sorted(before.keys() | after.keys())
        if before.get(path) != after.get(path)
    ]


def _leaves(reader: SnapshotReader, snapshot: Snapshot) -> dict[bytes, Leaf]:
    found: dict[bytes, Leaf] = {}
    for name, tree in ((b"src", snapshot.src), (b"data", snapshot.data)):
        for path, node in reader.walk(tree):
            if not isinstance(node, DirectoryNode):
                found[name + b"/" + path] = node
    return found


def _change(readers: Readers, path: bytes, before: Leaf | None, after: Leaf | None) -> FileChange:
    kind = ChangeKind.CHANGE_KIND_MODIFIED
    if before is None:
        kind = ChangeKind.CHANGE_KIND_ADDED
    elif after is None:
        kind = ChangeKind.CHANGE_KIND_REMOVED
    return FileChange(
        kind=kind,
        path=path,
        base_size=_size(before),
        size=_size(after),
        text_diff=_text_diff(readers, path, before, after),
    )


def _size(node: Leaf | None) -> int:
    match node:
        case FileNode():
            return node.size
        case SymlinkNode():
            return len(node.target)
        case None:
            return 0


def _text_diff(readers: Readers, path: bytes, before: Leaf | None, after: Leaf | None) -> str:
    old, new = _lines(readers[0], before), _lines(readers[1], after)
    if old is None or new is None:
        return ""
    name = os.fsdecode(path)
    return "".join(difflib.unified_diff(old, new, f"a/{name}", f"b/{name}"))


def _lines(reader: SnapshotReader, node: Leaf | None) -> list[str] | None:
    """Lines of a small text; None for anything else."""
    if node is None:
        return []
    if not isinstance(node, FileNode) or node.size > TEXT_BYTES:
        return None
    try:
        return reader.content(node).decode("utf-8").splitlines(keepends=True)
    except UnicodeDecodeError:
        return None
