"""Reading one file into chunks so that what is read is a version that existed."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from dataclasses import dataclass

from pollinator.chunks.cut import Content, Sink, cut
from pollinator.chunks.recut import recut
from pollinator.daemon.scan import Stamp

TRIES = 3


@dataclass(frozen=True, slots=True)
class Read:
    """A file that was read."""

    stamp: Stamp
    content: Content
    stable: bool
    """It did not change while it was read."""


class NoFile(Exception):
    """Something is there, but no regular file any more."""


@dataclass(frozen=True, slots=True)
class Taker:
    """Who takes what is read."""

    sink: Sink
    """Takes each chunk."""
    held: Callable[[bytes], bool]
    """Whether a chunk need not be given to ``sink`` again."""
    kept: Callable[[int], None]
    """Told the size of each chunk that is as it was, and is not given to ``sink``."""


def read_file(path: bytes, taker: Taker, earlier: Content | None = None) -> Read:
    """Read a file: stat, cut, stat again, and once more from the start when they differ.

    Args:
        path: where it is.
        taker: takes what is read.
        earlier: what was in it when it was read last, so that only what differs is cut.

    Raises:
        NoFile: it is a link, a folder or something else.
        OSError: it cannot be read or is gone.
    """
    descriptor = _open(path)
    try:
        for tries_left in range(TRIES - 1, -1, -1):
            before = Stamp.of(os.fstat(descriptor))
            if not stat.S_ISREG(before.mode):
                raise NoFile
            try:
                content = earlier = _cut(descriptor, before.size, taker, earlier)
            except EOFError:
                if not tries_left:
                    raise OSError(0, "it shrinks faster than it can be read") from None
                continue
            if Stamp.of(os.fstat(descriptor)) == before:
                return Read(before, content, True)
            if not tries_left:
                return Read(before, content, False)
        raise AssertionError("the last try returns or raises")
    finally:
        os.close(descriptor)


def _cut(descriptor: int, size: int, taker: Taker, earlier: Content | None) -> Content:
    if earlier is None or not earlier.prints:
        return cut(descriptor, size, taker.sink)
    return recut(descriptor, size, taker.sink, earlier, held=taker.held, kept=taker.kept)


def _open(path: bytes) -> int:
    try:
        return os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO, errno.EISDIR):
            raise NoFile from error
        raise
