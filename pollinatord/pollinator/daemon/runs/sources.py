"""Paths that a run prints, as paths of the project it came from."""

from __future__ import annotations

import os
import posixpath
from collections import defaultdict
from pathlib import Path

MOST_FILES = 20_000
"""In so many files is looked for one whose path was cut off at the front."""

TREE = "cfs/src"


class Sources:
    """The sources of a run as they are on disk now: what is not there any more, no editor can show.

    A run knows its files by where they were laid out: below the working folder of its executor, in ``/cfs``
    of a container, or from whatever folder below them a program was started in.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._known: dict[str, str | None] = {}
        self._by_name: dict[str, list[str]] | None = None

    def locate(self, path: str) -> str | None:
        """The path of a source from the project's folder on; None for any other file."""
        if path not in self._known:
            found = self._find(path)
            # One that is no text cannot be told.
            self._known[path] = found if found is None or _is_text(found) else None
        return self._known[path]

    def _find(self, path: str) -> str | None:
        parts = posixpath.normpath(path).split("/")
        if ".." in parts or "\0" in path:
            return None
        for rest in _candidates(parts):
            if self._is_file(rest):
                return f"{TREE}/{rest}"
        return None if path.startswith("/") else self._by_end("/".join(parts))

    def _is_file(self, rest: str) -> bool:
        return bool(rest) and os.path.isfile(self._root / TREE / rest)

    def _by_end(self, path: str) -> str | None:
        """The only source whose path ends so."""
        if self._by_name is None:
            self._by_name = _by_name(self._root / TREE)
        ends = [
            each
            for each in self._by_name.get(posixpath.basename(path), ())
            if each == path or each.endswith(f"/{path}")
        ]
        return f"{TREE}/{ends[0]}" if len(ends) == 1 else None


def _is_text(path: str) -> bool:
    return not any("\ud800" <= character <= "\udfff" for character in path)


def _candidates(parts: list[str]) -> list[str]:
    """What the path may be below the sources, the likeliest first."""
    if parts[0]:
        rests = [parts[1:], parts] if parts[0] == "src" else [parts]
    else:
        # Of an absolute path only what is below a folder in which trees are laid out.
        rests = [
            parts[number + 1 :]
            for number in range(2, len(parts))
            if parts[number] == "src" and parts[number - 1] in ("cfs", "work")
        ]
    return ["/".join(rest) for rest in rests]


def _by_name(tree: Path) -> dict[str, list[str]]:
    found: defaultdict[str, list[str]] = defaultdict(list)
    left = MOST_FILES
    for folder, below, names in os.walk(tree):
        # What tools keep for themselves holds copies that nobody edits.
        below[:] = sorted(name for name in below if not name.startswith("."))
        for name in names[:left]:
            found[name].append(posixpath.relpath(posixpath.join(folder, name), tree))
        left -= len(names)
        if left <= 0:
            break
    return found
