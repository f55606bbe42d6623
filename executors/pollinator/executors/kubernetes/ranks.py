"""What the ranks of a pod leave in two folders, as ``collect`` reads it.

They may write there as well as their supervisor: no link is followed, nothing is waited for, and only so much
is read.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Generator, Mapping
from pathlib import Path

from pollinator.executors.kubernetes.data import CONTROL, JOURNAL_BYTES, OUTPUT
from pollinator.executors.kubernetes.pages import Piece
from pollinator.executors.kubernetes.pod import Pod

MOST_DIGITS = 9
"""No rank has a longer number."""

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_WRITE = os.O_WRONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class Ranks:
    """Those of one pod."""

    def __init__(self, pod: Pod) -> None:
        self._control = pod.at(CONTROL)
        self._output = pod.at(OUTPUT)
        self._node = pod.node

    def journal(self, offset: int) -> bytes:
        """What the journal of this node holds from there on, in whole lines."""
        with _opened(self._control) as folder:
            data = _read(folder, str(self._node), offset, JOURNAL_BYTES - offset)
        return data[: data.rfind(b"\n") + 1]

    def printed(self, told: Mapping[int, int], most: int) -> list[Piece]:
        """What was printed and not told, up to so many bytes."""
        found: list[Piece] = []
        with _opened(self._output) as folder:
            for name in sorted(os.listdir(folder)) if folder >= 0 else ():
                if not (name.isascii() and name.isdecimal() and len(name) <= MOST_DIGITS):
                    continue
                offset = told.get(int(name), 0)
                data = _read(folder, name, offset, most)
                if data:
                    found.append(Piece(int(name), offset, data))
                    most -= len(data)
        return found

    def bring(self, name: str, text: str) -> None:
        """Write a word of the executor in place, where the ranks' supervisor looks for it.

        Raises:
            OSError: it cannot be written.
        """
        with _opened(self._control) as folder:
            descriptor = os.open(name, _WRITE | os.O_CREAT, 0o644, dir_fd=folder)
            try:
                os.pwrite(descriptor, text.encode() + b"\n", 0)
            finally:
                os.close(descriptor)


@contextlib.contextmanager
def _opened(path: Path) -> Generator[int]:
    """A folder that ranks may have put something else in place of; -1 when it is none."""
    try:
        descriptor = os.open(path, _FOLDER)
    except OSError:
        yield -1
        return
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _read(folder: int, name: str, offset: int, most: int) -> bytes:
    if folder < 0 or most <= 0:
        return b""
    try:
        descriptor = os.open(name, _READ, dir_fd=folder)
    except OSError:
        return b""
    try:
        return os.pread(descriptor, most, offset) if stat.S_ISREG(os.fstat(descriptor).st_mode) else b""
    except OSError:
        return b""
    finally:
        os.close(descriptor)
