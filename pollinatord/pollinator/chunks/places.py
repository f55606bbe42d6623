"""Where chunks are, as snapshots, index objects and moves say. To read them is the business of ``read``."""

from __future__ import annotations

from collections.abc import Collection

from pollinator.chunks.digest import EMPTY
from pollinator.v1.tree_pb2 import PackEntry, PackIndex

_BITS = 32
_ENTRY = (1 << _BITS) - 1
"""No pack has more entries."""


class Places:
    """The pack of each chunk, and the entry in it. Who is believed last is believed most.

    Attributes:
        rows: packs in the order in which they were learned; their numbers never change.
        counts: how many entries each of them has.
        gone: packs that are not there any more.
    """

    def __init__(self) -> None:
        self.rows: list[PackIndex] = []
        self.counts: list[int] = []
        self._places: dict[bytes, int] = {}
        """For each chunk the number of a row and of an entry in it as one: there may be millions."""
        self.gone: set[str] = set()
        self.learn(PackIndex(entries=[PackEntry(digest=EMPTY)]))

    def __contains__(self, digest: bytes) -> bool:
        return digest in self._places

    def learn(self, row: PackIndex) -> None:
        """A pack holds this."""
        self.rows.append(row)
        self.counts.append(len(row.entries))
        self._place(len(self.rows) - 1, row)

    def of(self, digest: bytes) -> tuple[int, PackEntry] | None:
        """The number of a row, and the entry in it."""
        place = self._places.get(digest)
        if place is None:
            return None
        number = place >> _BITS
        return number, self.rows[number].entries[place & _ENTRY]

    def forget(self, gone: Collection[str]) -> None:
        """These packs are gone: their chunks are where others say, also if somebody names them again."""
        self.gone.update(gone)
        self._places = {}
        for number, row in enumerate(self.rows):
            self._place(number, row)

    def _place(self, number: int, row: PackIndex) -> None:
        if row.key in self.gone:
            return
        first = number << _BITS
        self._places.update((entry.digest, first + at) for at, entry in enumerate(row.entries))
        # The chunk of no bytes is everywhere, in the first row: no pack is kept for it.
        self._places[EMPTY] = 0
