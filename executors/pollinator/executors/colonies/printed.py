"""The log of a process, as a file that grows: each row once, in order, whatever is killed in between.

A server gives rows after a moment, at most so many, and several may be of one moment. So the last moment is
asked for again, and what is known of it is left out. How far the file is, is written down after it has grown:
what a kill leaves beyond that is asked for again, and not written a second time.
"""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from pollinator.executors.colonies.messages import LogRow
from pollinator.executors.records import read_record, write_json


class Printed:
    """The output of one run.

    Args:
        path: of the file.
        mark: of the record of how far it is.
    """

    def __init__(self, path: Path, mark: Path) -> None:
        self._path = path
        self._mark = mark
        known = read_record(mark) or {}
        self._at_ns = int(known.get("at_ns", 0))
        self._seen = Counter[str](known.get("seen", {}))
        """What is known of that moment, as digests."""
        self._size = int(known.get("size", 0))
        self._over = bool(known.get("over", False))
        """There was more of that moment than a server gives: all the rest comes after it."""
        if _size(path) < self._size:
            # A power cut has taken the end of it.
            path.unlink()
            self._at_ns, self._size, self._over = 0, 0, False
            self._seen.clear()

    @property
    def since_ns(self) -> int:
        """Rows after this moment are wanted."""
        return self._at_ns if self._over else max(0, self._at_ns - 1)

    @property
    def anything(self) -> bool:
        """The process has said something."""
        return self._size > 0

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
        self._append("".join(row.message for row in fresh).encode(errors="replace"))
        if fresh:
            last_ns = max(row.time_ns for row in fresh)
            if last_ns > self._at_ns:
                self._seen.clear()
                self._at_ns = last_ns
            self._seen.update(_digest(row.message) for row in fresh if row.time_ns == last_ns)
        self._over = over
        self._save()
        return bool(fresh)

    def _append(self, data: bytes) -> None:
        self._path.parent.mkdir(mode=0o700, exist_ok=True)
        there = _size(self._path) - self._size
        descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(data[there:])
        self._size += len(data)

    def _save(self) -> None:
        known = {"at_ns": self._at_ns, "seen": self._seen, "size": self._size, "over": self._over}
        write_json(self._mark, known)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _digest(message: str) -> str:
    return hashlib.blake2b(message.encode(errors="replace"), digest_size=8).hexdigest()
