"""What lies above a watched root: whether its path still leads to it, and the files beside it that matter.

A path leads elsewhere when a folder on it is moved, removed or closed, or something is mounted there. The
kernel tells of all that in the queue that tells of the tree, so there is no need to look before it does.
Where it cannot tell of every folder on the way, all is uncertain, and every drain looks.
What is mounted is ``filesystem``'s business, the tree itself that of ``directories``.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Callable, Iterator

from pollinator.daemon.watch import kernel
from pollinator.daemon.watch.base import IGNORE_FILE, SPEC_FILE
from pollinator.daemon.watch.filesystem import identity_of, is_network_fs


class Above:
    """The folders from the topmost down to a root, and the root as their last.

    Attributes:
        watches: those in use, each with the names that matter in its directory.
    """

    def __init__(self, events: kernel.Events, root: bytes, shared: Callable[[int], bool]) -> None:
        """``shared`` says that somebody else uses a watch as well: a directory has only one."""
        self._events = events
        self._root = root
        self._shared = shared
        self._doubts = True
        self._told = False
        self.watches: dict[int, set[bytes]] = {}

    @property
    def uncertain(self) -> bool:
        """Something may be other than it was at the last look."""
        return self._doubts or not self._told

    def note(self, watch: int, name: bytes) -> None:
        """There was an event about something in a directory on the way, or about the directory itself."""
        if not name or name in self.watches[watch]:
            self._doubts = True

    def doubt(self) -> None:
        """Events were lost, mounts have changed, or there may be watches to be had."""
        self._doubts = True

    def look(self) -> tuple[int, int] | None:
        """What the path leads to now."""
        if self._doubts:
            self._doubts = False
            self._told = self._watch()
        # After that: what changes in between makes an event.
        return identity_of(self._root)

    def _watch(self) -> bool:
        """Watch all that is on the way now. False where not everything on it can be."""
        before, self.watches = self.watches, {}
        try:
            for folder, name in _way_to(self._root):
                self._add(folder, kernel.WATCH_ABOVE | _entries(folder, name, self._root), name)
            self._add(self._root, kernel.WATCH_ABOVE)
            beside = os.path.dirname(self._root)
            self._add(beside, kernel.WATCH_ABOVE, IGNORE_FILE, SPEC_FILE)
            for name in (IGNORE_FILE, SPEC_FILE):
                with contextlib.suppress(FileNotFoundError):
                    self._add(os.path.join(beside, name), kernel.WATCH_FILE)
        except OSError:
            return False
        finally:
            for watch in before.keys() - self.watches.keys():
                if not self._shared(watch):
                    self._events.remove(watch)
        return True

    def _add(self, path: bytes, mask: int, *names: bytes) -> None:
        watch = self._events.add(path, mask)
        self.watches.setdefault(watch, set()).update(names)
        if is_network_fs(path):
            raise OSError(errno.EREMOTE, os.strerror(errno.EREMOTE), path)


def _way_to(root: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Each folder above a root with the name in it that leads on, the topmost first.

    A root that is not absolute has none at the top that could be watched.
    """
    steps: list[tuple[bytes, bytes]] = []
    folder, name = os.path.split(root)
    while name:
        steps.append((folder, name))
        folder, name = os.path.split(folder)
    return reversed(steps)


def _entries(folder: bytes, name: bytes, root: bytes) -> int:
    """Where it takes more than a folder's own events to know of its going.

    The root may be removed while somebody has it open, and is not gone itself until that is closed; a
    subvolume may be removed with all it holds. A mount leaves with the folder that it covers.
    """
    path = os.path.join(folder, name)
    apart = os.lstat(folder).st_dev != os.lstat(path).st_dev
    return kernel.WATCH_ENTRIES if apart or path == root else 0
