"""Files that are still to be read. There may be a million: nothing here walks them for each that was read."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterator

from pollinator.daemon.sync.biggest import find_biggest, is_much
from pollinator.v1.project_pb2 import BigPath

BATCH = 1000
"""So many are picked at a time."""


class Unread:
    """Paths and their sizes, as far as they are known.

    Attributes:
        bytes: sum of the sizes.
        biggest: the largest of a large backlog, until all of it is in the store.
    """

    def __init__(self) -> None:
        self._sizes: dict[bytes, int] = {}
        self._much = 0
        self.bytes = 0
        self.biggest: tuple[BigPath, ...] = ()

    def __len__(self) -> int:
        """Number of files."""
        return len(self._sizes)

    def add(self, path: bytes, size: int) -> None:
        """A file has to be read."""
        self.discard(path)
        self._sizes[path] = size
        self.bytes += size

    def discard(self, path: bytes) -> None:
        """A file was read, or is not there any more."""
        self.bytes -= self._sizes.pop(path, 0)
        if not self._sizes:
            # It may have been huge, and would stay so.
            self._sizes = {}

    def any_but(self, held: Collection[bytes]) -> bool:
        """Others than these have to be read."""
        return any(path not in held for path in self._sizes)

    def newest_first(self, held: Collection[bytes]) -> Iterator[bytes]:
        """All but those held; what was just saved does not wait for the first look at a large project.

        Whoever has read them discards them: as long as there are any, there is a next one.
        """
        while some := self._newest(held):
            yield from some

    def _newest(self, held: Collection[bytes]) -> list[bytes]:
        newest = itertools.islice(reversed(self._sizes), BATCH + len(held))
        return [path for path in newest if path not in held]

    def note_biggest(self) -> None:
        """Once for each large backlog, and again when it has doubled."""
        files = len(self._sizes)
        if is_much(files, self.bytes) and (size := self.bytes + files) >= 2 * self._much:
            self._much = size
            self.biggest = tuple(find_biggest(self._sizes.items()))

    def forget_biggest(self) -> None:
        """All is in the store."""
        self.biggest, self._much = (), 0
