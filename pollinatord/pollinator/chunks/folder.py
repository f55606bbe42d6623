"""The embedded store: a folder. Every object is a file that appears whole and durable, or not at all."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Iterator
from pathlib import Path

from pollinator.wire.errors import Denied, Exhausted, NotFound, PollinatorError, Unavailable
from pollinator.wire.places import private_dir

_TEMPORARY = ".tmp-"


class FolderStore:
    """Objects of one project below ``root``."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._lock = threading.Lock()
        self._requests = 0

    @property
    def identity(self) -> str:
        """Names this store."""
        return f"folder:{self._root}"

    @property
    def requests(self) -> int:
        """Calls so far."""
        return self._requests

    def put(self, key: str, data: bytes) -> None:
        """Write a temporary file, sync it, rename it."""
        self._count()
        path = self._root / key
        if path.exists():
            return
        temporary = path.parent / f"{_TEMPORARY}{os.getpid()}-{threading.get_ident()}-{path.name}"
        try:
            private_dir(path.parent)
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            try:
                rest = memoryview(data)
                while rest:
                    rest = rest[os.write(descriptor, rest) :]
                os.fdatasync(descriptor)
            finally:
                os.close(descriptor)
            temporary.rename(path)
        except OSError as error:
            temporary.unlink(missing_ok=True)
            raise self._mapped(error, "write") from error

    def get(self, key: str, offset: int = 0, length: int | None = None) -> bytes:
        """Read an object or a range of it."""
        self._count()
        try:
            with (self._root / key).open("rb") as file:
                file.seek(offset)
                return file.read(-1 if length is None else length)
        except FileNotFoundError as error:
            raise NotFound(f"{self.identity} has no object {key}", reason="object_missing") from error
        except OSError as error:
            raise self._mapped(error, "read") from error

    def missing(self, keys: list[str]) -> list[str]:
        """Keys without a file."""
        self._count()
        return [key for key in keys if not (self._root / key).exists()]

    def keys(self, prefix: str = "") -> Iterator[str]:
        """Keys that begin with ``prefix``, sorted."""
        self._count()
        found = [
            path.relative_to(self._root).as_posix()
            for path in self._root.glob("*/*/*")
            if not path.name.startswith(_TEMPORARY)
        ]
        return iter(sorted(key for key in found if key.startswith(prefix)))

    def delete(self, key: str) -> None:
        """Remove a file."""
        self._count()
        try:
            (self._root / key).unlink(missing_ok=True)
        except OSError as error:
            raise self._mapped(error, "remove from") from error

    def check(self) -> None:
        """The folder can be written."""
        self._count()
        try:
            private_dir(self._root)
        except OSError as error:
            raise self._mapped(error, "use") from error
        if not os.access(self._root, os.W_OK | os.X_OK):
            raise Denied(f"the store {self._root} cannot be written", reason="store_denied")

    def close(self) -> None:
        """Nothing is held open."""

    def _count(self) -> None:
        with self._lock:
            self._requests += 1

    def _mapped(self, error: OSError, verb: str) -> PollinatorError:
        text = f"cannot {verb} the store {self._root}: {error.strerror}"
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            return Exhausted(text, reason="disk_full", hint="free some space; nothing is lost meanwhile")
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            return Denied(text, reason="store_denied", hint=f"look at the permissions of {self._root}")
        return Unavailable(text, reason="store_unavailable")
