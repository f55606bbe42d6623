"""Which directory each inotify watch stands for, and which directories could not get one.

Events arrive after the fact, so the table may be behind the disk: a path built from it may lead nowhere, or
to a newer directory of the same name. It heals itself because the kernel gives one directory one watch,
whatever path it is asked by: whenever a name appears, the directory that is there *now* is asked for its
watch, and the table follows the answer. Every name that appears makes an event, so the last word is the
disk's. What the events say about files is left to ``inotify``.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator

from pollinator.daemon.watch import kernel
from pollinator.daemon.watch.base import Skip

Place = tuple[int, bytes]
"""A name in a watched directory, given by its watch."""

ROOT: Place = (0, b"")
"""The root has no directory above it; the kernel counts watches from 1."""

_COUNT_LIMIT = 200_000


class Directory:
    """A watched directory at its place in the tree; without a parent it is the root, or out of the tree."""

    __slots__ = ("children", "name", "parent", "watch")

    def __init__(self, watch: int) -> None:
        self.watch = watch
        self.name = b""
        self.parent: Directory | None = None
        self.children: dict[bytes, Directory] = {}


class Directories:
    """All watched directories of one root."""

    def __init__(self, events: kernel.Events, root: bytes, skip: Skip, remote: frozenset[bytes]) -> None:
        self._events = events
        self._location = root
        self._skip = skip
        self._remote = remote
        self._known: dict[int, Directory] = {}
        self._root: Directory | None = None
        self._adrift: list[Directory] = []
        self._missing: dict[Place, int] = {}
        self._denied: set[Place] = set()
        self._shared: set[Place] = set()

    @property
    def root_watch(self) -> int:
        """The watch of the root; 0 when it has none."""
        return self._root.watch if self._root else 0

    @property
    def watched(self) -> int:
        """How many directories have a watch."""
        return len(self._known)

    @property
    def missing(self) -> int:
        """How many directories should have a watch and found none left."""
        return sum(self._missing.values())

    @property
    def denied(self) -> bool:
        """Whether a directory may not be read; it gets its watch when its permissions change."""
        return bool(self._denied)

    @property
    def polls(self) -> bool:
        """Whether changes somewhere make no events."""
        return bool(self._missing or self._shared)

    def shared(self) -> frozenset[bytes]:
        """Directories on file systems that others may change without an event."""
        return frozenset(self._resolve(self._shared))

    def unwatched(self) -> frozenset[bytes]:
        """Directories below which changes make no events."""
        return frozenset(self._resolve({*self._missing, *self._shared}))

    def path_of(self, watch: int) -> bytes | None:
        """Path of a watched directory; ``None`` when it is not known (any more)."""
        directory = self._known.get(watch)
        if directory is None:
            return None
        parts: list[bytes] = []
        while directory.parent is not None:
            parts.append(directory.name)
            directory = directory.parent
        return b"/".join(reversed(parts)) if directory is self._root else None

    def uses(self, watch: int) -> bool:
        """Whether a watch stands for one of them."""
        return watch in self._known

    def place_of(self, watch: int) -> Place | None:
        """The name and directory above of a watched directory other than the root."""
        directory = self._known.get(watch)
        if directory is None or directory.parent is None:
            return None
        return directory.parent.watch, directory.name

    def knows(self, place: Place) -> bool:
        """Whether there is a watched directory at a place."""
        above = self._known.get(place[0])
        return above is not None and place[1] in above.children

    def set_remote(self, remote: frozenset[bytes]) -> None:
        """Others may change what is in these directories; counts when they are adopted next."""
        self._remote = remote

    def adopt_root(self) -> None:
        """Watch the root and all below it, as it is now; whatever else was watched is given up.

        Raises:
            OSError: it is not there or is no directory.
        """
        try:
            watch = self._events.add(self._location, kernel.WATCH_ROOT)
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            self._missing[ROOT] = self._count(b"")
            return
        self._missing.clear()
        self._denied.clear()
        self._shared.clear()
        if self._root is None or self._root.watch != watch:
            if self._root is not None:
                self._adrift.append(self._root)
            self._root = self._known[watch] = Directory(watch)
        self._adopt_below([(self._root, b"")])
        self.settle()

    def adopt(self, place: Place) -> bool:
        """Watch the directory that is at a place now, and all below it. ``False`` when it is skipped."""
        above = self._known.get(place[0])
        prefix = self.path_of(place[0])
        if above is None or prefix is None:
            return True
        path = prefix + b"/" + place[1] if prefix else place[1]
        if self._skip(path):
            return False
        directory = self._watch(above, place[1], path)
        if directory is not None:
            self._adopt_below([(directory, path)])
        return True

    def leave(self, place: Place) -> None:
        """The directory at a place has gone; whether for good shows when all events are read."""
        self._forget_place(place)
        above = self._known.get(place[0])
        child = above.children.get(place[1]) if above else None
        if child is not None:
            self._cut_loose(child)

    def drop(self, watch: int) -> None:
        """The kernel has given up a watch."""
        directory = self._known.get(watch)
        if directory is not None and directory is not self._root:
            self._cut_loose(directory)

    def settle(self) -> None:
        """Give up the watches of directories that left and did not appear elsewhere."""
        for top in self._adrift:
            if top.parent is None and top is not self._root:
                for directory in _with_descendants(top):
                    self._give_up(directory)
        self._adrift.clear()

    def retry(self) -> None:
        """Ask again for the watches that were not to be had, until one is refused."""
        for place in list(self._missing):
            self._missing.pop(place, None)
            if place == ROOT:
                with contextlib.suppress(OSError):
                    self.adopt_root()
            else:
                self.adopt(place)
            if self._missing.get(place):
                return

    def _adopt_below(self, pending: list[tuple[Directory, bytes]]) -> None:
        # The watch is added before the directory is listed: what appears in between makes an event.
        while pending:
            directory, path = pending.pop()
            try:
                found = self._subdirectories(path)
            except OSError as error:
                self._note_failure(self.place_of(directory.watch) or ROOT, path, error.errno)
                continue
            for name in [name for name in directory.children if name not in found]:
                self._cut_loose(directory.children[name])
            for name in found:
                below = path + b"/" + name if path else name
                child = self._watch(directory, name, below)
                if child is not None:
                    pending.append((child, below))

    def _watch(self, above: Directory, name: bytes, path: bytes) -> Directory | None:
        place = (above.watch, name)
        self._forget_place(place)
        if path in self._remote:
            self._shared.add(place)
            return None
        try:
            watch = self._events.add(os.path.join(self._location, path), kernel.WATCH_DIRECTORY)
        except OSError as error:
            self._note_failure(place, path, error.errno)
            return None
        return self._put(watch, above, name)

    def _note_failure(self, place: Place, path: bytes, number: int | None) -> None:
        match number:
            case errno.ENOENT | errno.ENOTDIR | errno.ELOOP:
                pass  # Gone again, or something else by now: that makes an event of its own.
            case errno.EACCES:
                self._denied.add(place)
            case _:
                self._missing[place] = self._count(path)

    def _put(self, watch: int, above: Directory, name: bytes) -> Directory | None:
        directory = self._known.get(watch)
        if directory is None:
            directory = self._known[watch] = Directory(watch)
        elif directory is self._root or any(up is directory for up in _upwards(above)):
            # Only a table behind the disk can show a directory inside itself; a later event puts it right.
            return None
        occupant = above.children.get(name)
        if occupant is directory:
            return directory
        if occupant is not None:
            self._cut_loose(occupant)
        if directory.parent is not None:
            del directory.parent.children[directory.name]
        directory.parent, directory.name = above, name
        above.children[name] = directory
        return directory

    def _cut_loose(self, directory: Directory) -> None:
        if directory.parent is not None:
            del directory.parent.children[directory.name]
            directory.parent = None
        self._adrift.append(directory)

    def _give_up(self, directory: Directory) -> None:
        self._known.pop(directory.watch, None)
        self._events.remove(directory.watch)
        for places in (self._missing, self._denied, self._shared):
            for place in [place for place in places if place[0] == directory.watch]:
                self._forget_place(place)

    def _forget_place(self, place: Place) -> None:
        self._missing.pop(place, None)
        self._denied.discard(place)
        self._shared.discard(place)

    def _resolve(self, places: set[Place]) -> Iterator[bytes]:
        for watch, name in places:
            prefix = b"" if (watch, name) == ROOT else self.path_of(watch)
            if prefix is not None:
                yield prefix + b"/" + name if prefix else name

    def _subdirectories(self, path: bytes) -> set[bytes]:
        """Names of the directories in one that are not skipped."""
        prefix = path + b"/" if path else b""
        with os.scandir(os.path.join(self._location, path) if path else self._location) as listing:
            names = [entry.name for entry in listing if entry.is_dir(follow_symlinks=False)]
        return {name for name in names if not self._skip(prefix + name)}

    def _count(self, path: bytes) -> int:
        """How many watches a directory would need, with all below it."""
        pending = [path]
        count = 0
        while pending and count < _COUNT_LIMIT:
            above = pending.pop()
            count += 1
            prefix = above + b"/" if above else b""
            with contextlib.suppress(OSError):
                pending.extend(prefix + name for name in self._subdirectories(above))
        return count


def _upwards(directory: Directory | None) -> Iterator[Directory]:
    while directory is not None:
        yield directory
        directory = directory.parent


def _with_descendants(top: Directory) -> Iterator[Directory]:
    pending = [top]
    while pending:
        directory = pending.pop()
        pending.extend(directory.children.values())
        yield directory
