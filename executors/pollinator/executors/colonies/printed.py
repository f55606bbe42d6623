"""The log of a process, as files that grow: each row once, in order, whatever is killed in between.

A server gives rows after a moment, at most so many, and several may be of one moment. So the last moment is
asked for again, and what is known of it is left out. How far the files are, is written down after they have
grown: what a kill leaves beyond that is asked for again, and not written a second time.
"""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from pollinator.chunks.layout import disk_errors
from pollinator.executors.colonies.ends import Piece
from pollinator.executors.colonies.messages import LogRow
from pollinator.executors.colonies.rows import piece_of
from pollinator.executors.records import read_record, write_json

_GROWING = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC


class Printed:
    """The output of one run.

    Args:
        folder: holds a file for each rank.
        mark: of the record of how far they are.
    """

    def __init__(self, folder: Path, mark: Path) -> None:
        self._folder = folder
        self._mark = mark
        known = read_record(mark) or {}
        self._at_ns = int(known.get("at_ns", 0))
        self._seen = Counter[str](known.get("seen", {}))
        """What is known of that moment, as digests."""
        self._sizes: dict[int, int] = {int(rank): size for rank, size in known.get("sizes", {}).items()}
        self._over = bool(known.get("over", False))
        """There was more of that moment than a server gives: all the rest comes after it."""
        if any(self._size(rank) < size for rank, size in self._sizes.items()):
            # A power cut has taken the end of one.
            for rank in self._sizes:
                self._path(rank).unlink(missing_ok=True)
            self._at_ns, self._over = 0, False
            self._sizes.clear()
            self._seen.clear()

    @property
    def since_ns(self) -> int:
        """Rows after this moment are wanted."""
        return self._at_ns if self._over else max(0, self._at_ns - 1)

    @property
    def anything(self) -> bool:
        """The process has said something."""
        return bool(self._sizes)

    def add(self, rows: Sequence[LogRow], *, full: bool) -> bool:
        """Add what is new of rows that came.

        Args:
            rows: after ``since_ns``, oldest first.
            full: there may be more.

        Returns:
            Whether any of them was new.

        Raises:
            OSError: the file cannot be written. Nothing is lost: the same rows are to be given again.
        """
        known = Counter(self._seen)
        fresh: list[LogRow] = []
        for row in rows:
            digest = _digest(row.message)
            if row.time_ns < self._at_ns or (row.time_ns == self._at_ns and known[digest] > 0):
                known[digest] -= 1
            else:
                fresh.append(row)
        over = full and not fresh
        if not fresh and over == self._over:
            return False
        self._append(fresh)
        if fresh:
            last_ns = max(row.time_ns for row in fresh)
            if last_ns > self._at_ns:
                self._seen.clear()
                self._at_ns = last_ns
            self._seen.update(_digest(row.message) for row in fresh if row.time_ns == last_ns)
        self._over = over
        self._save()
        return bool(fresh)

    def _append(self, rows: Sequence[LogRow]) -> None:
        pieces: dict[int, list[bytes]] = {}
        for rank, piece in (piece_of(row.message) for row in rows):
            pieces.setdefault(rank, []).append(piece)
        self._folder.mkdir(mode=0o700, exist_ok=True)
        for rank, texts in pieces.items():
            data = b"".join(texts)
            there = self._size(rank) - self._sizes.get(rank, 0)
            with os.fdopen(os.open(self._path(rank), _GROWING, 0o600), "wb") as file:
                file.write(data[there:])
        for rank, texts in pieces.items():
            self._sizes[rank] = self._sizes.get(rank, 0) + sum(map(len, texts))

    def _save(self) -> None:
        known = {"at_ns": self._at_ns, "seen": self._seen, "sizes": self._sizes, "over": self._over}
        write_json(self._mark, known)

    def _path(self, rank: int) -> Path:
        return self._folder / str(rank)

    def _size(self, rank: int) -> int:
        try:
            return self._path(rank).stat().st_size
        except FileNotFoundError:
            return 0


def add_rest(folder: Path, rest: Mapping[int, Piece]) -> None:
    """Add what ranks printed that came into no log any more. Harmless when repeated."""
    folder.mkdir(mode=0o700, exist_ok=True)
    for rank, piece in rest.items():
        descriptor = os.open(folder / str(rank), _GROWING, 0o600)
        with disk_errors(folder), os.fdopen(descriptor, "wb") as file:
            there = os.fstat(descriptor).st_size - piece.start
            file.write(piece.data[max(0, there) :])


def _digest(message: str) -> str:
    return hashlib.blake2b(message.encode(errors="replace"), digest_size=8).hexdigest()
