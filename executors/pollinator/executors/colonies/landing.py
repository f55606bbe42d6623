"""Files of a colony on their way into a folder: verified, and only then renamed to what they are called.

Blocking, for any thread. No name can lead out of the folder: each part of a path is opened in the one before
it, and never through a link.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from pathlib import Path

from pollinator.chunks.layout import disk_errors, temporary_name
from pollinator.executors.colonies.messages import FileRow
from pollinator.executors.colonies.objects import Objects
from pollinator.wire.errors import Corrupt, NotFound, PollinatorError

PIECE_BYTES = 4 * 1024 * 1024
"""So much of a file is in memory."""
TRIES = 2
"""Damaged on its way, perhaps: once more from the bucket before giving up."""

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_OLD = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


def land(objects: Objects, row: FileRow, folder: Path, path: str, told: Callable[[int], object]) -> None:
    """Make a file of a folder what the colony says it is. One that is that already is left alone.

    Args:
        objects: have its bytes.
        row: what it has to be.
        folder: exists.
        path: below it, and checked.
        told: told the size of each piece that was done. What it raises ends the work, and nothing is left.

    Raises:
        Corrupt: the bucket has other bytes than the colony says.
        Exhausted: the disk is full.
        WrongState: something is in the way.
    """
    with disk_errors(folder), _parent(folder, path) as (parent, name):
        if _is_there(parent, name, row):
            told(row.size)
            return
        temporary = temporary_name(name)
        try:
            _receive(objects, row, path, parent, temporary, told)
            os.rename(temporary, name, src_dir_fd=parent, dst_dir_fd=parent)
        except BaseException:
            with suppress(FileNotFoundError):
                os.unlink(temporary, dir_fd=parent)
            raise


def _receive(
    objects: Objects, row: FileRow, path: str, parent: int, name: bytes, told: Callable[[int], object]
) -> None:
    descriptor = os.open(name, _NEW, 0o644, dir_fd=parent)
    try:
        for left in reversed(range(TRIES)):
            os.ftruncate(descriptor, 0)
            if _copy(objects, row, path, descriptor, told) == row.checksum:
                return
            if left:
                told(-row.size)
    finally:
        os.close(descriptor)
    raise _damaged(path)


def _copy(objects: Objects, row: FileRow, path: str, descriptor: int, told: Callable[[int], object]) -> str:
    """Checksum of what came."""
    digest = hashlib.sha256()
    at = 0
    # An empty file of the original program has no object.
    while at < row.size:
        piece = _piece(objects, row, path, at)
        if not piece:
            told(row.size - at)
            break
        digest.update(piece)
        written = 0
        while written < len(piece):
            written += os.pwrite(descriptor, memoryview(piece)[written:], at + written)
        at += len(piece)
        told(len(piece))
    return digest.hexdigest()


def _piece(objects: Objects, row: FileRow, path: str, at: int) -> bytes:
    wanted = min(PIECE_BYTES, row.size - at)
    try:
        return objects.get(row.object, at, wanted)[:wanted]
    except NotFound as error:
        if error.reason != "object_missing":
            raise
        raise _lost(path, objects) from error


def _is_there(parent: int, name: bytes, row: FileRow) -> bool:
    try:
        descriptor = os.open(name, _OLD, dir_fd=parent)
    except OSError:
        return False
    try:
        info = os.fstat(descriptor)
        if not stat.S_ISREG(info.st_mode) or info.st_size != row.size:
            return False
        with open(descriptor, "rb", closefd=False) as file:
            return hashlib.file_digest(file, "sha256").hexdigest() == row.checksum
    finally:
        os.close(descriptor)


@contextmanager
def _parent(folder: Path, path: str) -> Generator[tuple[int, bytes]]:
    """The open folder that holds a path, made where it is not there, and the name in it."""
    *folders, name = os.fsencode(path).split(b"/")
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for each in folders:
            with suppress(FileExistsError):
                os.mkdir(each, 0o755, dir_fd=descriptor)
            below = os.open(each, _FOLDER, dir_fd=descriptor)
            os.close(descriptor)
            descriptor = below
        yield descriptor, name
    finally:
        os.close(descriptor)


def _damaged(path: str) -> PollinatorError:
    return Corrupt(
        f"the bytes of {path!r} in the colony's bucket are not those that its checksum names",
        reason="colony_file_damaged",
        hint="store the file again from where it came from",
    )


def _lost(path: str, objects: Objects) -> PollinatorError:
    return Corrupt(
        f"the colony lists {path!r}, but its bytes are not in {objects.identity}",
        reason="colony_file_damaged",
        hint="see AWS_S3_ENDPOINT and AWS_S3_BUCKET: it has to be the bucket that all members use",
    )
