"""Objects of stores as far as they were read, in files of this machine. May be deleted at any time.

A file stands for an object and has its bytes where that has them, with holes where nothing was read. Nothing
in it is believed: who reads a chunk verifies it, and asks the store when it is not what its digest names. A
kill in the middle of a write, or a damaged disk, costs one more request and nothing else.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

from zstandard import ZstdDecompressor

from pollinator.chunks.pack import decode
from pollinator.chunks.ranges import Range
from pollinator.v1.tree_pb2 import PackEntry
from pollinator.wire.errors import Corrupt
from pollinator.wire.places import private_dir

SPARE_SHARE = 0.1
SPARE_BYTES = 4 << 30
"""The cache leaves so much of a disk to others: the share, and of a large disk no more than these bytes."""

TRIM_SHARE = 0.9
"""What is too large is brought down to so much of the limit, so that this is not done for every object."""

UNKEPT_BYTES = 64 * 1024 * 1024
"""So much may have been read and not be kept yet."""

_log = logging.getLogger(__name__)


class PackCache:
    """Parts of objects, those used last, up to a number of bytes. Several threads and processes may use it.

    Args:
        folder: where; made for this user only.
        limit_bytes: how much it may hold.
        packs: keep packs of chunks, too, and not only what says where chunks are.
    """

    def __init__(self, folder: Path, limit_bytes: int, *, packs: bool = True) -> None:
        self._folder = private_dir(folder)
        self._limit = limit_bytes
        self.packs = packs

    def has(self, key: str) -> bool:
        """Some of the object may be here."""
        return self._path(key).exists()

    def read(self, key: str, start: int = 0, length: int | None = None) -> bytes:
        """What is here of this part of an object; anything may be missing or wrong."""
        try:
            with self._path(key).open("rb") as file:
                os.utime(file.fileno())
                file.seek(start)
                return file.read(-1 if length is None else length)
        except OSError:
            return b""

    def chunks(self, wanted: Range) -> tuple[list[tuple[bytes, bytes | memoryview]], list[PackEntry]]:
        """What is here of the chunks of a request, verified, and what is not."""
        body = memoryview(self.read(wanted.key, wanted.start, wanted.end - wanted.start))
        unpacker = ZstdDecompressor()
        found: list[tuple[bytes, bytes | memoryview]] = []
        absent: list[PackEntry] = []
        for entry in wanted.entries:
            start = entry.offset - wanted.start
            try:
                data = decode(wanted.key, entry, body[start : start + entry.stored_size], unpacker)
            except Corrupt:
                absent.append(entry)
            else:
                found.append((entry.digest, data))
        return found, absent

    def keep(self, key: str, body: bytes | memoryview, start: int = 0) -> None:
        """Keep a part of an object, if there is room."""
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            if len(body) > self._limit or not _has_room(os.statvfs(self._folder), len(body)):
                return
            descriptor = os.open(self._path(key), os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                done = 0
                while done < len(body):
                    done += os.pwrite(descriptor, memoryview(body)[done:], start + done)
            finally:
                os.close(descriptor)
        except OSError as error:
            _log.info("%s is not kept here: %s", key, error)

    def trim(self) -> None:
        """Remove what was not used for longest, if it is too much."""
        if sum(each for _, each, _ in self._files()) > self._limit:
            self._remove(int(TRIM_SHARE * self._limit))

    def clear(self) -> None:
        """Remove everything."""
        self._remove(0)

    def _remove(self, left_bytes: int) -> None:
        """What was used last stays, up to so many bytes."""
        for _, each, path in sorted(self._files(), reverse=True):
            left_bytes -= each
            if left_bytes < 0:
                with contextlib.suppress(OSError):
                    path.unlink()

    def _files(self) -> Iterator[tuple[int, int, Path]]:
        """When each file was used last, and the bytes on disk."""
        with contextlib.suppress(OSError), os.scandir(self._folder) as listing:
            for entry in listing:
                with contextlib.suppress(OSError):
                    info = entry.stat(follow_symlinks=False)
                    yield info.st_mtime_ns, info.st_blocks * 512, Path(entry.path)

    def _path(self, key: str) -> Path:
        return self._folder / key.replace("/", "-")


class Reading:
    """Threads that read at the same time, each within ``with``. What they read is kept once none does.

    Until then somebody waits for what is read, and the processors are busy, with the server's work as well
    where that is on this machine.

    Args:
        cache: where it is kept, if anywhere.
    """

    def __init__(self, cache: PackCache | None) -> None:
        self._cache = cache if cache is not None and cache.packs else None
        self._lock = threading.Lock()
        self._count = 0
        self._read: list[tuple[str, memoryview, int]] = []

    def __enter__(self) -> Self:
        with self._lock:
            self._count += 1
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._lock:
            self._count -= 1
            if self._count and sum(len(body) for _, body, _ in self._read) <= UNKEPT_BYTES:
                return
            read, self._read = self._read, []
        if self._cache is not None:
            for each in read:
                self._cache.keep(*each)

    def keep(self, key: str, body: memoryview, start: int) -> None:
        """Have a part of an object kept."""
        if self._cache is not None:
            with self._lock:
                self._read.append((key, body, start))


def _has_room(disk: os.statvfs_result, size: int) -> bool:
    spare = min(SPARE_SHARE * disk.f_blocks * disk.f_frsize, SPARE_BYTES)
    return disk.f_bavail * disk.f_frsize - size >= spare
