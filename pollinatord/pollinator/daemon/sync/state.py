"""The files of a project in memory: a tree of directories that remember their digest until something changes.

So the cost of a snapshot grows with what changed and not with the size of the project.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field

from pollinator.chunks.nodes import (
    DirEntry,
    Entry,
    FileEntry,
    LinkEntry,
    NodeSink,
    OneChunkEntry,
    encode_directory,
)
from pollinator.daemon.known import File

TREES = ("src", "data")
"""The trees that are sent."""


@dataclass(slots=True)
class Link:
    """A symbolic link."""

    target: bytes


@dataclass(slots=True)
class Gap:
    """Something that is there and in no snapshot: a file that was not read yet, or cannot be looked at."""

    special: bool = False
    """A socket, pipe or device, which stays out for good."""


@dataclass(slots=True)
class Dir:
    """A directory; ``digest`` is None when something below it changed."""

    mode: int
    children: dict[bytes, File | Link | Gap | Dir] = field(
        default_factory=dict[bytes, "File | Link | Gap | Dir"]
    )
    digest: bytes | None = None


Node = File | Link | Gap | Dir


@dataclass(slots=True)
class Total:
    """How much a tree holds."""

    files: int = 0
    bytes: int = 0
    unread: int = 0
    """Files of which no more is known than that they are there; not among the others."""


class State:
    """All that is known below one root. Paths are relative to it, without a leading slash."""

    def __init__(self) -> None:
        self.root = Dir(0o755)
        self._totals = defaultdict[bytes, Total](Total)
        self.links: dict[bytes, dict[bytes, bytes]] = {}
        """Target of each symbolic link, by tree and path in it."""
        self.links_checked = False
        """Nothing is wrong with the links; false again when one changes."""
        # The directory that was asked for last: whoever looks at a whole tree asks for it again and again.
        self._near_path, self._near = b"", self.root

    def get(self, path: bytes) -> Node | None:
        """What is at ``path``; the root for an empty path."""
        if not path:
            return self.root
        above, _, name = path.rpartition(b"/")
        directory = self._directory(above)
        return directory.children.get(name) if directory is not None else None

    def put(self, path: bytes, node: Node) -> None:
        """Set what is at ``path``; directories above it are made as needed."""
        above, _, name = path.rpartition(b"/")
        directory = self._changing(above)
        current = directory.children.get(name)
        match current:
            case Dir() if isinstance(node, Dir):
                current.mode = node.mode
                return
            case Dir():
                self.remove(path)
            case File() | Link() | Gap():
                self._count(path, current, -1)
            case None:
                pass
        directory.children[name] = node
        self._count(path, node, 1)

    def remove(self, path: bytes) -> list[tuple[bytes, Node]]:
        """Forget ``path`` and all below it; returns what is gone."""
        node = self.get(path)
        if node is None:
            return []
        gone = list(nodes_below(node, path))
        for each, found in gone:
            self._count(each, found, -1)
        above, _, name = path.rpartition(b"/")
        del self._changing(above).children[name]
        if isinstance(node, Dir):
            self._near_path, self._near = b"", self.root
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
        return self._totals[tree.encode()]

    def _count(self, path: bytes, node: Node, sign: int) -> None:
        tree, _, below = path.partition(b"/")
        match node:
            case File():
                total = self._totals[tree]
                total.files += sign
                total.bytes += sign * node.stamp.size
            case Gap():
                self._totals[tree].unread += 0 if node.special else sign
            case Link(target):
                links = self.links.setdefault(tree, {})
                if sign > 0:
                    links[below] = target
                else:
                    del links[below]
                self.links_checked = False
            case Dir():
                pass

    def _directory(self, path: bytes) -> Dir | None:
        if path == self._near_path:
            return self._near
        directory = self.root
        for name in path.split(b"/") if path else ():
            child = directory.children.get(name)
            if not isinstance(child, Dir):
                return None
            directory = child
        self._near_path, self._near = path, directory
        return directory

    def _changing(self, path: bytes) -> Dir:
        """The directory at ``path``, something in which changes; it is made when there is none."""
        if path == self._near_path and self._near.digest is None:
            # Then those above it have none either: they are named by what is below them.
            return self._near
        directory = self.root
        directory.digest = None
        for name in path.split(b"/") if path else ():
            child = directory.children.get(name)
            if not isinstance(child, Dir):
                child = directory.children[name] = Dir(0o755)
            child.digest = None
            directory = child
        self._near_path, self._near = path, directory
        return directory


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
    # A directory is named by what is below it. A loop, as trees may be deeper than calls.
    pending = [] if directory.digest else [directory]
    while pending:
        current = pending[-1]
        below = [child for child in current.children.values() if isinstance(child, Dir) and not child.digest]
        if below:
            pending += below
        else:
            _digest(pending.pop(), sink)
    return _digest(directory, sink)


def _file_entry(file: File) -> Entry:
    digest, mode = file.only_chunk, file.stamp.mode & 0o777
    return OneChunkEntry(mode, digest, file.stamp.size) if digest else FileEntry(mode, file.content)


def _digest(directory: Dir, sink: NodeSink) -> bytes:
    if directory.digest is None:
        entries: dict[bytes, Entry] = {}
        for name, child in directory.children.items():
            match child:
                case File():
                    entries[name] = _file_entry(child)
                case Link(target):
                    entries[name] = LinkEntry(target)
                case Dir():
                    entries[name] = DirEntry(child.mode & 0o777, _digest(child, sink))
                case Gap(special=True):
                    pass
                case Gap():
                    raise AssertionError(f"{name!r} was never read")
        directory.digest = encode_directory(entries, sink)
    return directory.digest
