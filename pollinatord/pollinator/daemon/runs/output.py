"""The daemon's copy of what ranks print: one append-only file per run and rank.

The size of a file is the offset up to which the executor's output was taken over, so a daemon that was
killed goes on exactly there.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from pollinator.wire.errors import Exhausted, OutOfRange
from pollinator.wire.places import private_dir


class OutputFiles:
    """Output of all runs below one folder, as ``<run>/<rank>``."""

    def __init__(self, root: Path) -> None:
        self._root = private_dir(root)
        self._sizes: dict[str, dict[int, int]] = {}

    def append(self, run_id: str, rank: int, offset: int, data: bytes) -> None:
        """Write a block; what is there already is not written again.

        Raises:
            OutOfRange: the block would leave a gap.
            Exhausted: the disk is full.
        """
        path = self._path(run_id, rank)
        try:
            path.parent.mkdir(mode=0o700, exist_ok=True)
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                self._append(descriptor, offset, data)
            finally:
                self.sizes(run_id)[rank] = os.fstat(descriptor).st_size
                os.close(descriptor)
        except OSError as error:
            raise Exhausted(
                f"cannot write output to {path}: {error.strerror}",
                reason="disk_full",
                hint="free some space; the output is still at the executor and is fetched again",
            ) from error

    @staticmethod
    def _append(descriptor: int, offset: int, data: bytes) -> None:
        size = os.fstat(descriptor).st_size
        if offset > size:
            raise OutOfRange(f"output from byte {size} to {offset} is missing", reason="output_gap")
        rest = memoryview(data)[size - offset :]
        while rest:
            written = os.pwrite(descriptor, rest, size)
            size += written
            rest = rest[written:]

    def ranks(self, run_id: str) -> Sequence[int]:
        """Ranks that have printed something, in order."""
        return sorted(self.sizes(run_id))

    def size(self, run_id: str, rank: int) -> int:
        """Bytes that are here."""
        return self.sizes(run_id).get(rank, 0)

    def sizes(self, run_id: str) -> dict[int, int]:
        """Bytes of each rank that are here. Read once: nobody else writes these files."""
        known = self._sizes.get(run_id)
        if known is None:
            known = self._sizes[run_id] = _sizes(self._root / run_id)
        return known

    def read(self, run_id: str, rank: int, offset: int, limit: int) -> bytes:
        """Up to ``limit`` bytes from ``offset`` on; empty at the end."""
        try:
            descriptor = os.open(self._path(run_id, rank), os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return b""
        try:
            return os.pread(descriptor, limit, offset)
        finally:
            os.close(descriptor)

    def _path(self, run_id: str, rank: int) -> Path:
        return self._root / run_id / str(rank)


def _sizes(folder: Path) -> dict[int, int]:
    try:
        with os.scandir(folder) as found:
            return {int(each.name): each.stat().st_size for each in found}
    except FileNotFoundError:
        return {}
