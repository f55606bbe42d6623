"""Which file systems can be changed by somebody this kernel does not see.

inotify reports what goes through this kernel. A file on NFS, SMB, a FUSE mount or a folder shared into a
virtual machine may be changed elsewhere without any event, so such places are polled. Who polls, and how
often, is left to the watchers. Neither does mounting something on a folder make an event there.
"""

from __future__ import annotations

import ctypes
import os
import re
import select
import sys
from pathlib import Path

_MAGIC = {
    0x6969: "nfs",
    0x517B: "smb",
    0xFE534D42: "smb",
    0xFF534D42: "cifs",
    0x65735546: "fuse",
    0x01021997: "9p",
    0x00C36400: "ceph",
    0x0BD00BD0: "lustre",
    0x47504653: "gpfs",
    0x19830326: "beegfs",
    0x20030528: "orangefs",
    0x5346414F: "afs",
    0x73757245: "coda",
    0x0000564C: "ncp",
    0x786F4256: "vboxsf",
    0xBACBACBC: "vmhgfs",
    0xAAD7AAEA: "panfs",
    0x7461636F: "ocfs2",
    0x01161970: "gfs2",
}
"""``f_type`` of file systems that others may write to, as statfs(2) and linux/magic.h list them."""

EXCEPTIONAL = select.POLLERR | select.POLLPRI
"""What a change of the mount table looks like to poll."""

_MOUNTS = "/proc/self/mountinfo"
_STATFS_BYTES = 512
"""More than the structure takes on any machine."""


def network_fs(path: str | bytes | Path) -> str:
    """Name of the shared file system that ``path`` is on; empty when it is local or not to be told."""
    if sys.platform != "linux":
        return ""
    libc = ctypes.CDLL(None, use_errno=True)
    buffer = ctypes.create_string_buffer(_STATFS_BYTES)
    if libc.statfs(os.fsencode(path), buffer) != 0:
        return ""
    # The first member is f_type, one machine word, of which the upper half is not used.
    word = int.from_bytes(buffer.raw[: ctypes.sizeof(ctypes.c_long)], sys.byteorder)
    return _MAGIC.get(word & 0xFFFFFFFF, "")


def is_network_fs(path: str | bytes | Path) -> bool:
    """Whether others may change files there without this kernel's knowing."""
    return network_fs(path) != ""


def network_mounts(root: Path) -> frozenset[bytes]:
    """Shared file systems mounted below ``root``, relative to it."""
    above = os.fsencode(root.resolve())
    points = (point for point, _ in _mounts() if point != above and _within(point, above))
    return frozenset(point[len(above) :].lstrip(b"/") for point in points if is_network_fs(point))


def identity_of(path: str | bytes) -> tuple[int, int] | None:
    """What tells the folder that a path leads to from any other; None when it leads to nothing."""
    try:
        info = os.stat(path)
    except OSError:
        return None
    return info.st_dev, info.st_ino


class MountTable:
    """What is mounted near a folder: on it, on what lies in the folder above it, or on one further above.

    Linux says when a mount changes, by a file that becomes exceptional.
    """

    def __init__(self, root: bytes) -> None:
        self._root = os.path.realpath(root)
        self._poll = select.poll()
        try:
            self.fd: int = os.open(_MOUNTS, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            self.fd = -1
            return
        self._poll.register(self.fd, EXCEPTIONAL)
        self._poll.poll(0)
        self._known = self._near()

    @property
    def readable(self) -> bool:
        """Without it nobody says when a mount changes."""
        return self.fd >= 0

    def changed(self) -> bool:
        """Whether something else is mounted near the folder than at the last call."""
        if not self._poll.poll(0):
            return False
        before, self._known = self._known, self._near()
        return before != self._known

    def close(self) -> None:
        """Close the file."""
        if self.fd >= 0:
            self._poll.unregister(self.fd)
            os.close(self.fd)
            self.fd = -1

    def _near(self) -> frozenset[tuple[bytes, bytes]]:
        above = os.path.dirname(self._root)
        mounts = _mounts()
        return frozenset(each for each in mounts if _within(each[0], above) or _within(above, each[0]))


def _mounts() -> list[tuple[bytes, bytes]]:
    """Mount points, each with what tells one mount there from another."""
    try:
        with open(_MOUNTS, "rb") as file:
            table = file.read()
    except OSError:
        return []
    lines = [line.split(b" ", 5) for line in table.splitlines()]
    return [(_unescape(fields[4]), b" ".join(fields[:4])) for fields in lines if len(fields) > 4]


def _within(path: bytes, folder: bytes) -> bool:
    """Whether a path is a folder, or below it."""
    return path == folder or path.startswith(folder if folder.endswith(b"/") else folder + b"/")


def _unescape(field: bytes) -> bytes:
    """The kernel writes space, tab, newline and backslash as three octal digits."""
    return re.sub(rb"\\([0-7]{3})", lambda match: bytes((int(match[1], 8),)), field)
