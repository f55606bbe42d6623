"""Reading one file into chunks so that what is read is a version that existed."""

from __future__ import annotations

import os
from dataclasses import dataclass

from pollinator.chunks.cut import Content, Sink, cut
from pollinator.daemon.scan import Stamp

TRIES = 3


@dataclass(frozen=True, slots=True)
class Read:
    """A file that was read."""

    stamp: Stamp
    content: Content
    stable: bool
    """It did not change while it was read."""


def read_file(path: bytes, sink: Sink) -> Read:
    """Read a file: stat, cut, stat again, and once more from the start when they differ.

    Raises:
        OSError: it cannot be read or is gone.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        for tries_left in range(TRIES - 1, -1, -1):
            before = Stamp.of(os.fstat(descriptor))
            try:
                content = cut(descriptor, before.size, sink)
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
