"""The inotify calls of Linux, and nothing more.

They are made through ctypes, so that no compiled dependency is needed. What the events mean is left to
``inotify``, which directories get a watch to ``directories``.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import os
import struct
import termios
from pathlib import Path
from typing import Protocol

MODIFY = 0x2
ATTRIB = 0x4
CLOSE_WRITE = 0x8
MOVED_FROM = 0x40
MOVED_TO = 0x80
CREATE = 0x100
DELETE = 0x200
DELETE_SELF = 0x400
MOVE_SELF = 0x800
UNMOUNT = 0x2000
OVERFLOW = 0x4000
IGNORED = 0x8000
ONLY_DIRECTORY = 0x1000000
DONT_FOLLOW = 0x2000000
EXCLUDE_UNLINKED = 0x4000000
MASK_ADD = 0x20000000
IS_DIRECTORY = 0x40000000

# Opening and reading are not asked for: whoever reads the tree would feed the queue by it.
_CONTENTS = MODIFY | ATTRIB | CLOSE_WRITE | MOVED_FROM | MOVED_TO | CREATE | DELETE
# A directory may be watched for two reasons, and has one watch: none may take from it what another asked for.
_DIRECTORY = ONLY_DIRECTORY | EXCLUDE_UNLINKED | MASK_ADD
WATCH_DIRECTORY = _CONTENTS | _DIRECTORY | DONT_FOLLOW
WATCH_ROOT = _CONTENTS | _DIRECTORY | DELETE_SELF | MOVE_SELF
WATCH_ABOVE = DELETE_SELF | MOVE_SELF | ATTRIB | _DIRECTORY | DONT_FOLLOW
WATCH_ENTRIES = MOVED_FROM | MOVED_TO | CREATE | DELETE
WATCH_FILE = MODIFY | MASK_ADD | DONT_FOLLOW

HEADER = struct.Struct("iIII")
"""Watch, mask, cookie and length of the name that follows, padded with NULs."""

_MAX_READ = 1 << 20
_SETTINGS = Path("/proc/sys/fs/inotify")


class Events(Protocol):
    """What the watcher needs of the kernel."""

    @property
    def fd(self) -> int:
        """Becomes readable when there are events."""
        ...

    def add(self, path: bytes, mask: int) -> int:
        """Watch a directory and return the watch; the same directory always has the same one."""
        ...

    def remove(self, watch: int) -> None:
        """Give a watch up; harmless when the kernel has done so itself."""
        ...

    def read(self) -> list[bytes]:
        """All that was queued when this was called, in blocks of whole events."""
        ...

    def close(self) -> None:
        """Give all watches up."""
        ...


class Inotify:
    """One inotify instance."""

    def __init__(self) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self.fd: int = self._libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        if self.fd < 0:
            raise _last_error()

    def add(self, path: bytes, mask: int) -> int:
        """See ``Events.add``."""
        watch: int = self._libc.inotify_add_watch(self.fd, path, ctypes.c_uint32(mask))
        if watch < 0:
            raise _last_error(path)
        return watch

    def remove(self, watch: int) -> None:
        """See ``Events.remove``."""
        self._libc.inotify_rm_watch(self.fd, watch)

    def read(self) -> list[bytes]:
        """See ``Events.read``.

        The length is asked for first: a writer that never rests could keep the queue from ever being empty.
        """
        blocks: list[bytes] = []
        rest = struct.unpack("i", fcntl.ioctl(self.fd, termios.FIONREAD, bytes(4)))[0]
        while rest > 0:
            try:
                block = os.read(self.fd, max(4096, min(rest, _MAX_READ)))
            except BlockingIOError:
                break
            blocks.append(block)
            rest -= len(block)
        return blocks

    def close(self) -> None:
        """See ``Events.close``."""
        os.close(self.fd)


def limit(name: str) -> int:
    """A limit such as ``max_user_watches``; 0 when it cannot be read."""
    with contextlib.suppress(OSError, ValueError):
        return int((_SETTINGS / name).read_text())
    return 0


def no_instance(error: OSError) -> str:
    """Why no inotify instance was to be had, with what to do."""
    if error.errno != errno.EMFILE:
        return f"inotify does not work here ({error.strerror}); looking for changes by polling"
    try:
        os.close(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))
    except OSError:
        return "this process has used up its open files; looking for changes by polling. Raise `ulimit -n`"
    wanted = max(256, 2 * limit("max_user_instances"))
    return (
        "all inotify instances of this user are in use; looking for changes by polling. "
        f"Run: sudo sysctl fs.inotify.max_user_instances={wanted}"
    )


def _last_error(path: bytes | None = None) -> OSError:
    number = ctypes.get_errno()
    return OSError(number, os.strerror(number), path)
