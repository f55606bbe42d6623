"""A stat pass: what is on disk below a directory, and when a stamp can be trusted.

Reads directories and stats, never contents. Comparing with the index and reading what changed is the sync
engine's work; what to leave out is the ignore engine's.
"""

from __future__ import annotations

import os
import stat
import struct
from collections.abc import Callable, Iterator
from enum import StrEnum
from pathlib import Path
from typing import Self, TypeAlias

from pollinator.daemon.watch.filesystem import is_network_fs

LOCAL_WINDOW_NS = 20_000_000
"""Two ticks of the coarse clock that file systems stamp with, on the slowest usual kernel (100 Hz)."""
SECONDS_WINDOW_NS = 2_000_000_000
"""File systems that stamp in whole or every second second."""
NETWORK_WINDOW_NS = 4_000_000_000
"""One second and the time an NFS client may answer from its attribute cache."""
_SECOND_NS = 1_000_000_000


_PACKED = struct.Struct("<qqqQQI")
_EARLIEST, _LATEST = -(2**63), 2**63 - 1


class Stamp(bytes):
    """What stat says about a file; as long as it stays the same, so do the contents.

    There is one for every file, in memory and in the index: so it is its own 44 bytes, and is compared,
    written and loaded as a whole.
    """

    __slots__ = ()

    def __new__(cls, size: int, mtime_ns: int, ctime_ns: int, ino: int, dev: int, mode: int) -> Self:
        """From the fields of a stat result."""
        try:
            return bytes.__new__(cls, _PACKED.pack(size, mtime_ns, ctime_ns, ino, dev, mode))
        except struct.error:
            # Some file systems know years after 2262. A time in the future is never trusted anyway.
            times = (min(max(time_ns, _EARLIEST), _LATEST) for time_ns in (mtime_ns, ctime_ns))
            return bytes.__new__(cls, _PACKED.pack(size, *times, ino, dev, mode))

    @classmethod
    def of(cls, info: os.stat_result) -> Self:
        """From a stat result."""
        return cls(info.st_size, info.st_mtime_ns, info.st_ctime_ns, info.st_ino, info.st_dev, info.st_mode)

    @classmethod
    def stored(cls, packed: bytes) -> Self:
        """From its bytes.

        Raises:
            ValueError: they are no stamp.
        """
        if len(packed) != _PACKED.size:
            raise ValueError(f"a stamp has {_PACKED.size} bytes, not {len(packed)}")
        return bytes.__new__(cls, packed)

    @property
    def size(self) -> int:
        """Length of the file in bytes."""
        size: int = _PACKED.unpack(self)[0]
        return size

    @property
    def mtime_ns(self) -> int:
        """When the contents were changed last."""
        mtime_ns: int = _PACKED.unpack(self)[1]
        return mtime_ns

    @property
    def ctime_ns(self) -> int:
        """When anything about the file was changed last."""
        ctime_ns: int = _PACKED.unpack(self)[2]
        return ctime_ns

    @property
    def ino(self) -> int:
        """Which file of its file system it is."""
        ino: int = _PACKED.unpack(self)[3]
        return ino

    @property
    def dev(self) -> int:
        """Which file system it is on."""
        dev: int = _PACKED.unpack(self)[4]
        return dev

    @property
    def mode(self) -> int:
        """Kind and permissions."""
        mode: int = _PACKED.unpack(self)[5]
        return mode


def racy_window_ns(path: str | bytes | Path) -> int:
    """How long after a change the file system at ``path`` may stamp a second change the same."""
    return NETWORK_WINDOW_NS if is_network_fs(path) else LOCAL_WINDOW_NS


def is_racy(stamp: Stamp, read_started_ns: int, now_ns: int, window_ns: int = LOCAL_WINDOW_NS) -> bool:
    """Whether the file may have changed after it was read without its stamp's showing it.

    A stamp is trusted when it was older than the window at the moment reading started. One from the future is
    never trusted: the clock was stepped, and a later change may be stamped earlier.
    """
    mtime_ns, ctime_ns = stamp.mtime_ns, stamp.ctime_ns
    newest_ns = max(mtime_ns, ctime_ns)
    if mtime_ns % _SECOND_NS == 0 and ctime_ns % _SECOND_NS == 0:
        window_ns = max(window_ns, SECONDS_WINDOW_NS)
    return newest_ns > now_ns or newest_ns >= read_started_ns - window_ns


class Kind(StrEnum):
    """What a path is."""

    FILE = "file"
    DIRECTORY = "directory"
    LINK = "link"
    OTHER = "other"
    """A socket, fifo or device: never part of a snapshot."""


Found: TypeAlias = tuple[bytes, Kind, os.stat_result]
"""Path relative to the root, what it is, and its stat."""


_KINDS = {stat.S_IFREG: Kind.FILE, stat.S_IFDIR: Kind.DIRECTORY, stat.S_IFLNK: Kind.LINK}


def kind_of(mode: int) -> Kind:
    """What an ``st_mode`` says a path is."""
    return _KINDS.get(stat.S_IFMT(mode), Kind.OTHER)


def look(root: bytes, path: bytes) -> Found | None:
    """One path, without what is below it; ``None`` when there is nothing.

    Raises:
        OSError: what is there cannot be known.
    """
    try:
        info = os.lstat(os.path.join(root, path) if path else root)
    except (FileNotFoundError, NotADirectoryError):
        return None
    return path, kind_of(info.st_mode), info


def scan(
    root: bytes,
    below: bytes = b"",
    ignored: Callable[[bytes, bool], bool] | None = None,
    unknown: Callable[[bytes, OSError], None] | None = None,
) -> Iterator[Found]:
    """Everything below the directory ``below`` of ``root``, not itself; a directory before its contents.

    For the arguments see ``listings``.

    Raises:
        OSError: something cannot be looked at, and there is no ``unknown`` to tell.
    """
    for _, found in listings(root, below, ignored, unknown):
        yield from found


def listings(
    root: bytes,
    below: bytes = b"",
    ignored: Callable[[bytes, bool], bool] | None = None,
    unknown: Callable[[bytes, OSError], None] | None = None,
) -> Iterator[tuple[bytes, list[Found]]]:
    """The directory ``below`` of ``root`` and every one below that, each with what it holds, sorted by name.

    Nothing is followed. What is ``ignored`` (path, is a directory) is left out, directories with all they
    hold. What cannot be looked at goes to ``unknown`` with the reason: a path, or a directory whose contents
    cannot be listed; that is not to say that it is gone. What vanishes meanwhile is left out.

    Raises:
        OSError: something cannot be looked at, and there is no ``unknown`` to tell.
    """
    pending = [below]
    while pending:
        directory = pending.pop()
        entries: list[os.DirEntry[bytes]] = []
        try:
            with os.scandir(os.path.join(root, directory) if directory else root) as listing:
                entries = sorted(listing, key=_name)
        except (FileNotFoundError, NotADirectoryError):
            pass
        except OSError as error:
            _tell(unknown, directory, error)
            continue
        prefix = directory + b"/" if directory else b""
        found = list(_look_at(entries, prefix, ignored, unknown))
        yield directory, found
        pending += [path for path, kind, _ in reversed(found) if kind is Kind.DIRECTORY]


def _name(entry: os.DirEntry[bytes]) -> bytes:
    return entry.name


def _look_at(
    entries: list[os.DirEntry[bytes]],
    prefix: bytes,
    ignored: Callable[[bytes, bool], bool] | None,
    unknown: Callable[[bytes, OSError], None] | None,
) -> Iterator[Found]:
    for entry in entries:
        path = prefix + entry.name
        try:
            if ignored is not None and ignored(path, entry.is_dir(follow_symlinks=False)):
                continue
            info = entry.stat(follow_symlinks=False)
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            _tell(unknown, path, error)
            continue
        yield path, kind_of(info.st_mode), info


def _tell(unknown: Callable[[bytes, OSError], None] | None, path: bytes, error: OSError) -> None:
    if unknown is None:
        raise error
    unknown(path, error)
