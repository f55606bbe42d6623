"""A stat pass: what is on disk below a directory, and when a stamp can be trusted.

Reads directories and stats, never contents. Comparing with the index and reading what changed is the sync
engine's work; what to leave out is the ignore engine's.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TypeAlias

from pollinator.daemon.watch.filesystem import is_network_fs

LOCAL_WINDOW_NS = 20_000_000
"""Two ticks of the coarse clock that file systems stamp with, on the slowest usual kernel (100 Hz)."""
SECONDS_WINDOW_NS = 2_000_000_000
"""File systems that stamp in whole or every second second."""
NETWORK_WINDOW_NS = 4_000_000_000
"""One second and the time an NFS client may answer from its attribute cache."""
_SECOND_NS = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Stamp:
    """What stat says about a file; as long as it stays the same, so do the contents."""

    size: int
    mtime_ns: int
    ctime_ns: int
    ino: int
    dev: int
    mode: int

    @classmethod
    def of(cls, info: os.stat_result) -> Stamp:
        """From a stat result."""
        return cls(info.st_size, info.st_mtime_ns, info.st_ctime_ns, info.st_ino, info.st_dev, info.st_mode)

    def same_contents(self, other: Stamp, *, shared: bool = False) -> bool:
        """Whether the contents are surely the same, once neither stamp is racy.

        On a ``shared`` (network) file system inode numbers, devices and ctimes come and go with the mount, so
        only size and mtime count.
        """
        if self.size != other.size or self.mtime_ns != other.mtime_ns:
            return False
        if stat.S_IFMT(self.mode) != stat.S_IFMT(other.mode):
            return False
        mine, theirs = (self.ctime_ns, self.ino, self.dev), (other.ctime_ns, other.ino, other.dev)
        return shared or mine == theirs


def racy_window_ns(path: str | bytes | Path) -> int:
    """How long after a change the file system at ``path`` may stamp a second change the same."""
    return NETWORK_WINDOW_NS if is_network_fs(path) else LOCAL_WINDOW_NS


def is_racy(stamp: Stamp, read_started_ns: int, now_ns: int, window_ns: int = LOCAL_WINDOW_NS) -> bool:
    """Whether the file may have changed after it was read without its stamp's showing it.

    A stamp is trusted when it was older than the window at the moment reading started. One from the future is
    never trusted: the clock was stepped, and a later change may be stamped earlier.
    """
    newest_ns = max(stamp.mtime_ns, stamp.ctime_ns)
    if stamp.mtime_ns % _SECOND_NS == 0 and stamp.ctime_ns % _SECOND_NS == 0:
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


def kind_of(mode: int) -> Kind:
    """What an ``st_mode`` says a path is."""
    match stat.S_IFMT(mode):
        case stat.S_IFREG:
            return Kind.FILE
        case stat.S_IFDIR:
            return Kind.DIRECTORY
        case stat.S_IFLNK:
            return Kind.LINK
        case _:
            return Kind.OTHER


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

    Nothing is followed. What is ``ignored`` (path, is a directory) is left out, directories with all they
    hold. What cannot be looked at goes to ``unknown`` with the reason: a path, or a directory whose contents
    cannot be listed; that is not to say that it is gone. What vanishes meanwhile is left out.

    Raises:
        OSError: something cannot be looked at, and there is no ``unknown`` to tell.
    """
    pending = [below]
    while pending:
        directory = pending.pop()
        try:
            with os.scandir(os.path.join(root, directory) if directory else root) as listing:
                entries = list(listing)
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            _tell(unknown, directory, error)
            continue
        prefix = directory + b"/" if directory else b""
        for found in _look_at(entries, prefix, ignored, unknown):
            if found[1] is Kind.DIRECTORY:
                pending.append(found[0])
            yield found


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
