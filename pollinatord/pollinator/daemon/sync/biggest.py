"""The largest files and directories among many: what a user would ignore to make a sync small."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field

from pollinator.v1.project_pb2 import BigPath

MANY_BYTES = 1024**3
MANY_FILES = 20_000
"""What is to be sent is worth a word from here on."""

LIMIT = 10
_TOO_FEW = 0.01
"""Whoever holds less of the whole is not worth naming."""
_NEARLY_ALL = 0.9
"""A directory gives way to the one thing in it that holds so much of it."""


@dataclass(slots=True)
class _Part:
    """A file or directory with all below it."""

    path: bytes
    directory: bool
    files: int = 0
    bytes: int = 0
    below: list[_Part] = field(default_factory=list["_Part"])

    def add(self, files: int, size: int) -> None:
        self.files += files
        self.bytes += size

    def share(self, whole: _Part) -> float:
        """How much of the whole it is, by what counts more: bytes, or files."""
        return max(self.bytes / max(1, whole.bytes), self.files / max(1, whole.files))


def is_much(files: int, size: int) -> bool:
    """So many files, or so many bytes, that their user should hear of it."""
    return files >= MANY_FILES or size >= MANY_BYTES


def find_biggest(sizes: Collection[tuple[bytes, int]], limit: int = LIMIT) -> list[BigPath]:
    """The largest parts of some files, given by path and size; the largest first, and none within another.

    A directory that is large because of one thing in it gives way to that, and a tree is never named whole.
    """
    whole = _grown(sizes)
    found: list[_Part] = []
    pending = [whole]
    while pending:
        part = pending.pop()
        if part.directory and (b"/" not in part.path or _by_one(part)):
            pending += part.below
        elif part.share(whole) >= _TOO_FEW:
            found.append(part)
    found.sort(key=lambda part: (-part.share(whole), part.path))
    return [
        BigPath(path=part.path, directory=part.directory, files=part.files, bytes=part.bytes)
        for part in found[:limit]
    ]


def _by_one(part: _Part) -> bool:
    return any(below.bytes >= _NEARLY_ALL * max(1, part.bytes) for below in part.below)


def _grown(sizes: Collection[tuple[bytes, int]]) -> _Part:
    """All directories as a tree, with those files in it that count: there may be a million others."""
    folders: dict[bytes, _Part] = {}
    least = _TOO_FEW * _NEARLY_ALL
    few_files = len(sizes) * least <= 1
    large = least * sum(size for _, size in sizes)
    for path, size in sizes:
        folder = _folder(folders, path.rpartition(b"/")[0])
        folder.add(1, size)
        if few_files or size >= large > 0:
            folder.below.append(_Part(path, False, 1, size))
    # From the deepest up, so that each is complete before it is added to the one above it.
    for path in sorted(folders, key=lambda each: -each.count(b"/")):
        if path:
            above = folders[path.rpartition(b"/")[0]]
            above.add(folders[path].files, folders[path].bytes)
    return folders.get(b"") or _Part(b"", True)


def _folder(folders: dict[bytes, _Part], path: bytes) -> _Part:
    """The directory of that path; it is made, and linked to those above it, when it is asked for first."""
    wanted = folders.get(path)
    if wanted is None:
        wanted = folders[path] = _Part(path, True)
        if path:
            _folder(folders, path.rpartition(b"/")[0]).below.append(wanted)
    return wanted
