"""The files of a project in memory: a tree of directories that remember their digest until something changes.

So the cost of a snapshot grows with what changed and not with the size of the project.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from pollinator.chunks.cut import Content
from pollinator.chunks.nodes import DirEntry, Entry, FileEntry, LinkEntry, NodeSink, encode_directory
from pollinator.daemon.scan import Stamp


@dataclass(slots=True)
class File:
    """A regular file as it was read last."""

    stamp: Stamp
    content: Content


@dataclass(slots=True)
class Link:
    """A symbolic link."""

    target: bytes


@dataclass(slots=True)
class Dir:
    """A directory; ``digest`` is None when something below it changed."""

    mode: int
    children: dict[bytes, File | Link | Dir] = field(default_factory=dict[bytes, "File | Link | Dir"])
    digest: bytes | None = None


Node = File | Link | Dir


@dataclass(slots=True)
class Total:
    """How much a tree holds."""

    files: int = 0
    bytes: int = 0


class State:
    """All that is known below one root. Paths are relative to it, without a leading slash."""

    def __init__(self) -> None:
        self.root = Dir(0o755)
        self._totals: dict[bytes, Total] = {}
        self.links: dict[bytes, bytes] = {}
        """Target of each symbolic link, by path."""

    def get(self, path: bytes) -> Node | None:
        """What is at ``path``; the root for an empty path."""
        node: Node | None = self.root
        for name in path.split(b"/") if path else ():
            if not isinstance(node, Dir):
                return None
            node = node.children.get(name)
        return node

    def put(self, path: bytes, node: Node) -> None:
        """Set what is at ``path``; directories above it are made as needed."""
        above, name = self._above(path)
        current = above.children.get(name)
        if isinstance(node, Dir) and isinstance(current, Dir):
            current.mode = node.mode
            return
        if current is not None:
            self.remove(path)
        above.children[name] = node
        self._count(path, node, 1)

    def remove(self, path: bytes) -> list[bytes]:
        """Forget ``path`` and all below it; returns the paths of the files that are gone."""
        node = self.get(path)
        if node is None:
            return []
        gone: list[bytes] = []
        for each, found in nodes_below(node, path):
            self._count(each, found, -1)
            if isinstance(found, File):
                gone.append(each)
        above, name = self._above(path)
        del above.children[name]
        return gone

    def touch_all(self) -> None:
        """Forget all digests, so that every node is made again."""
        pending = [self.root]
        while pending:
            directory = pending.pop()
            directory.digest = None
            pending += [child for child in directory.children.values() if isinstance(child, Dir)]

    def total(self, tree: str) -> Total:
        """What ``src`` or ``data`` holds; known without walking it."""
        return self._totals.setdefault(tree.encode(), Total())

    def _count(self, path: bytes, node: Node, sign: int) -> None:
        match node:
            case File(stamp, _):
                total = self._totals.setdefault(path.split(b"/", 1)[0], Total())
                total.files += sign
                total.bytes += sign * stamp.size
            case Link(target) if sign > 0:
                self.links[path] = target
            case Link():
                del self.links[path]
            case Dir():
                pass

    def _above(self, path: bytes) -> tuple[Dir, bytes]:
        *parents, name = path.split(b"/")
        directory = self.root
        directory.digest = None
        for part in parents:
            child = directory.children.get(part)
            if not isinstance(child, Dir):
                child = directory.children[part] = Dir(0o755)
            child.digest = None
            directory = child
        return directory, name


def files_below(node: Node | None, path: bytes = b"") -> Iterator[tuple[bytes, File]]:
    """All regular files at or below ``node``, with their paths."""
    for each, found in nodes_below(node, path):
        if isinstance(found, File):
            yield each, found


def nodes_below(node: Node | None, path: bytes = b"") -> Iterator[tuple[bytes, Node]]:
    """``node`` and everything below it, with paths."""
    if node is None:
        return
    pending: list[tuple[bytes, Node]] = [(path, node)]
    while pending:
        at, found = pending.pop()
        yield at, found
        if isinstance(found, Dir):
            prefix = at + b"/" if at else b""
            pending += [(prefix + name, child) for name, child in found.children.items()]


def encode(directory: Dir, sink: NodeSink) -> bytes:
    """Digest of a directory; only nodes on the way to a change are made, and given to ``sink``."""
    if directory.digest is None:
        entries: dict[bytes, Entry] = {}
        for name, child in directory.children.items():
            match child:
                case File(stamp, content):
                    entries[name] = FileEntry(stamp.mode & 0o777, content)
                case Link(target):
                    entries[name] = LinkEntry(target)
                case Dir():
                    entries[name] = DirEntry(child.mode & 0o777, encode(child, sink))
        directory.digest = encode_directory(entries, sink)
    return directory.digest
