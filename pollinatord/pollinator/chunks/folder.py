"""The embedded store: a folder. Every object is a file that appears whole and durable, or not at all.

Writers need no lock: each has its own temporary file, and a rename replaces an object by the same bytes.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from pollinator.chunks.flow import Flow
from pollinator.chunks.keys import check_key
from pollinator.chunks.store import Listed
from pollinator.wire.errors import Denied, Exhausted, NotFound, PollinatorError, Unavailable

_TEMPORARY = "tmp"
"""Folder of objects in the making. What a killed writer left there is in nobody's way."""

_PATTERNS = (("psim", "[psim]/??/*"), ("rgl", "[rgl]/*"), ("t", "t/*/*/*"))
"""Where objects of which kinds are."""

LEFTOVER_S = 24 * 3600.0
"""After so long a temporary file has no writer any more."""


class FolderStore:
    """Objects of one project below ``root``. What is made there is for this user only."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._lock = threading.Lock()
        self._requests = 0
        self.sent = Flow()

    @property
    def identity(self) -> str:
        """Names this store."""
        return f"folder:{self._root}"

    @property
    def requests(self) -> int:
        """Calls so far."""
        return self._requests

    @property
    def retries(self) -> int:
        """None: what fails here is told at once."""
        return 0

    def put(self, key: str, data: bytes | memoryview) -> None:
        """Write a temporary file, sync it, rename it, sync its folder."""
        self._count()
        path = self._root / check_key(key)
        temporary = self._root / _TEMPORARY / secrets.token_hex(12)
        try:
            self._make(temporary.parent)
            self._make(path.parent)
            try:
                _write(temporary, data)
                temporary.replace(path)
            except OSError:
                temporary.unlink(missing_ok=True)
                raise
            _sync_folder(path.parent)
        except OSError as error:
            raise self._mapped(error, "write to") from error
        self.sent.add(len(data))

    def get(self, key: str, offset: int = 0, length: int | None = None) -> bytes:
        """Read an object or a range of it."""
        self._count()
        try:
            with (self._root / check_key(key)).open("rb") as file:
                file.seek(offset)
                return file.read(-1 if length is None else length)
        except FileNotFoundError as error:
            raise NotFound(f"{self.identity} has no object {key}", reason="object_missing") from error
        except OSError as error:
            raise self._mapped(error, "read") from error

    def missing(self, keys: list[str]) -> list[str]:
        """Keys without a file."""
        self._count()
        try:
            return [key for key in keys if not (self._root / check_key(key)).exists()]
        except OSError as error:
            raise self._mapped(error, "read") from error

    def keys(self, prefix: str = "") -> Iterator[str]:
        """Keys that begin with ``prefix``, sorted."""
        return iter([each.key for each in self.listing(prefix)])

    def listing(self, prefix: str = "") -> Iterator[Listed]:
        """The same with sizes and times."""
        self._count()
        found: list[Listed] = []
        try:
            for pattern in _PATTERNS:
                if prefix and not pattern[0].count(prefix[0]):
                    continue
                for path in self._root.glob(pattern[1]):
                    key = path.relative_to(self._root).as_posix()
                    if not key.startswith(prefix):
                        continue
                    # Somebody may be removing it.
                    with contextlib.suppress(FileNotFoundError):
                        info = path.stat()
                        found.append(Listed(key, info.st_size, info.st_mtime_ns))
        except OSError as error:
            raise self._mapped(error, "read") from error
        return iter(sorted(found, key=lambda each: each.key))

    def delete(self, key: str) -> None:
        """Remove a file."""
        self._count()
        try:
            (self._root / check_key(key)).unlink(missing_ok=True)
        except OSError as error:
            raise self._mapped(error, "remove from") from error

    def check(self) -> None:
        """The folder can be written. Clears away what killed writers left long ago."""
        self._count()
        try:
            self._make(self._root / _TEMPORARY)
            before = time.time() - LEFTOVER_S
            for path in (self._root / _TEMPORARY).iterdir():
                # Another process may be clearing away as well.
                with contextlib.suppress(FileNotFoundError):
                    if path.stat().st_mtime < before:
                        path.unlink()
        except OSError as error:
            raise self._mapped(error, "use") from error
        if not os.access(self._root / _TEMPORARY, os.W_OK | os.X_OK):
            raise Denied(f"the store {self._root} cannot be written", reason="store_denied")

    def close(self) -> None:
        """Nothing is held open."""

    def _count(self) -> None:
        with self._lock:
            self._requests += 1

    def _make(self, folder: Path) -> None:
        """Create a folder for this user only, and those above it that are not there."""
        if folder.is_dir():
            return
        self._make(folder.parent)
        with contextlib.suppress(FileExistsError):
            folder.mkdir(mode=0o700)
        _sync_folder(folder.parent)

    def _mapped(self, error: OSError, verb: str) -> PollinatorError:
        text = f"cannot {verb} the store {self._root}: {error.strerror}"
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            hint = f"free some space on the disk of {self._root}; what is stored already stays good"
            return Exhausted(text, reason="disk_full", hint=hint)
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            return Denied(text, reason="store_denied", hint=f"look at the permissions of {self._root}")
        if error.errno == errno.ENOTDIR:
            return Denied(text, reason="store_denied", hint="name a folder: something else is there")
        return Unavailable(text, reason="store_unavailable")


def _write(path: Path, data: bytes | memoryview) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(descriptor, rest) :]
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sync_folder(path: Path) -> None:
    if not os.access(path, os.R_OK):
        return  # a folder of somebody else that may only be passed through
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
