"""Trees that are laid out ahead, for the next run of the same project: it then pays only for what changed.

A spare is made after a run was handed over and no run has ever had it, so nothing that a job does or leaves
behind can reach it. It moves to a run by one rename, and then is that run's own. Whether it still is as it
was made is told by what stat says of each file; if not, it is of no use. Neither is one from before the
machine started: what a power cut left is not looked into.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import secrets
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from pollinator.chunks.update import stamps_of
from pollinator.executors.boot import boot_id
from pollinator.executors.trees import remove_tree
from pollinator.v1.tree_pb2 import SnapshotRef
from pollinator.wire.places import private_dir

RECORD = "spare.json"
"""Written last: a spare without it was never finished."""

FREE_SHARE = 0.2
"""A spare takes at most so much of what a disk has free."""

_MAKING = "."
"""Names of spares in the making, and of those on their way out, begin so."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Record:
    key: str
    digest: str
    bytes: int
    stamps: str
    boot: str


class Spares:
    """One spare for each project and store, up to a number of bytes."""

    def __init__(self, folder: Path, limit_bytes: int) -> None:
        self._folder = private_dir(folder)
        self._limit = limit_bytes
        for path in self._folder.glob(f"{_MAKING}*"):
            remove_tree(path)

    def take(self, name: str, work: Path) -> SnapshotRef | None:
        """Move a spare to ``work``, where nothing is; which snapshot it holds, or None when there is none."""
        spare = self._folder / name
        record = _read(spare)
        if record is None:
            return None
        try:
            spare.rename(work)
            (work / RECORD).unlink()
            if record.boot == boot_id() and record.stamps == _stamps(work):
                return SnapshotRef(key=record.key, digest=bytes.fromhex(record.digest))
        except OSError as error:
            # Another run may have been faster.
            _log.info("no spare for %s: %s", work, error)
        else:
            _log.warning("the spare for %s was touched; it is not used", work)
        remove_tree(work)
        return None

    def wanted(self, name: str, size: int) -> bool:
        """There is none of this name, and room for one of so many bytes."""
        if _read(self._folder / name) is not None or size > self._limit:
            return False
        # Somebody took the record away: such a spare would be in the way for ever.
        self._remove(self._folder / name)
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        room = os.statvfs(self._folder)
        return size < FREE_SHARE * room.f_frsize * room.f_bavail

    def make(self, name: str, ref: SnapshotRef, size: int, lay_out: Callable[[Path], None]) -> None:
        """Have a spare laid out, and remove others where it becomes too much."""
        making = self._folder / f"{_MAKING}{secrets.token_hex(8)}"
        try:
            making.mkdir()
            lay_out(making)
            record = _Record(ref.key, ref.digest.hex(), size, _stamps(making), boot_id())
            (making / RECORD).write_text(json.dumps(asdict(record)))
            making.rename(self._folder / name)
            self._trim()
        finally:
            remove_tree(making)

    def clear(self) -> None:
        """Remove all spares."""
        for _, _, path in list(self._found()):
            self._remove(path)

    def _trim(self) -> None:
        found = sorted(self._found(), reverse=True)
        size = 0
        for _, each, path in found:
            size += each
            if size > self._limit:
                self._remove(path)

    def _found(self) -> Iterator[tuple[float, int, Path]]:
        for path in self._folder.iterdir():
            record = _read(path)
            if record is not None:
                yield path.stat().st_mtime, record.bytes, path

    def _remove(self, path: Path) -> None:
        # Renamed first: a run takes all of it or nothing.
        gone = self._folder / f"{_MAKING}{secrets.token_hex(8)}"
        with contextlib.suppress(OSError):
            remove_tree(path.rename(gone))


def _read(spare: Path) -> _Record | None:
    try:
        return _Record(**json.loads((spare / RECORD).read_bytes()))
    except (OSError, ValueError, TypeError):
        return None


def _stamps(work: Path) -> str:
    return stamps_of(work / "src").hex() + stamps_of(work / "data").hex()
