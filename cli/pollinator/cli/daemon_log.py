"""Reading the daemon's log, also while it is rotated, also when the daemon is down."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

from pollinator.wire import places
from pollinator.wire.errors import NotFound

_BLOCK_BYTES = 64 * 1024
_PAUSE_S = 0.2


def log_path() -> Path:
    """Where the daemon logs."""
    return places.state_dir() / "log" / "daemon.log"


def last_lines(path: Path, count: int) -> tuple[bytes, int]:
    """The last lines of a log and the offset of its end.

    Raises:
        NotFound: there is no log yet.
    """
    try:
        with path.open("rb") as file:
            end = position = file.seek(0, os.SEEK_END)
            data = b""
            while position > 0 and data.count(b"\n") <= count:
                start = max(0, position - _BLOCK_BYTES)
                file.seek(start)
                data = file.read(position - start) + data
                position = start
    except FileNotFoundError:
        raise NotFound(
            f"there is no log at {path}", reason="no_log", hint="pollinator daemon start"
        ) from None
    lines = data.splitlines(keepends=True)
    return b"".join(lines[-count:] if count else []), end


def follow_log(path: Path, position: int, write: Callable[[bytes], None]) -> None:
    """Write what is added to a log from ``position`` on, until the process is interrupted."""
    file = path.open("rb")
    try:
        file.seek(position)
        while True:
            while data := file.read(_BLOCK_BYTES):
                write(data)
            if _was_rotated(path, file.fileno()):
                # What came between the last read and the rotation is still in the old file.
                write(file.read())
                file.close()
                file = path.open("rb")
            else:
                time.sleep(_PAUSE_S)
    finally:
        file.close()


def _was_rotated(path: Path, descriptor: int) -> bool:
    try:
        now = path.stat()
    except FileNotFoundError:
        return False
    ours = os.fstat(descriptor)
    return (now.st_dev, now.st_ino) != (ours.st_dev, ours.st_ino)
