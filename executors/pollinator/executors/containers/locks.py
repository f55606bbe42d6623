"""One at a time, on whatever file system there is, for several processes, machines and users.

Where the file system has locks the kernel lets go of one when its holder dies. Where it has none, a file is
the lock; it holds as long as its owner lives, or, on another machine, touches it now and then.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import socket
import stat
import time
from collections.abc import Callable, Generator
from pathlib import Path

LOOK_S = 0.1
TOUCH_S = 20.0
STALE_S = 300.0
"""A file that nobody has touched for so long is nobody's lock."""

_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EINVAL, errno.EBADF)
"""The last one is how NFS refuses to lock what is only open for reading."""


@contextlib.contextmanager
def locked(path: Path, while_waiting: Callable[[], None]) -> Generator[Callable[[], None]]:
    """Hold a lock; what is given must be called now and then while it is held.

    Args:
        path: of the lock's file, in a folder that exists.
        while_waiting: called ten times a second; what it raises ends the waiting.
    """
    descriptor = _open(path)
    try:
        if _lock(descriptor, while_waiting):
            yield lambda: None
            return
    finally:
        os.close(descriptor)
    with _owned(path.with_suffix(".owner"), while_waiting) as touch:
        yield touch


def _open(path: Path) -> int:
    """Opened for writing, without which NFS locks nothing; for reading where it is another user's alone."""
    for mode in (os.O_RDWR | os.O_CREAT, os.O_RDWR):
        # In folders that all may write to, Linux does not let us create what another user has.
        with contextlib.suppress(PermissionError):
            descriptor = os.open(path, mode | os.O_CLOEXEC, 0o666)
            break
    else:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    # Whoever may write to the folder may wait for its locks.
    with contextlib.suppress(PermissionError):
        os.fchmod(descriptor, stat.S_IMODE(path.parent.stat().st_mode) & 0o666)
    return descriptor


def _lock(descriptor: int, while_waiting: Callable[[], None]) -> bool:
    """Lock; False where the file system has no locks."""
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            while_waiting()
            time.sleep(LOOK_S)
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
            return False
        else:
            return True


@contextlib.contextmanager
def _owned(path: Path, while_waiting: Callable[[], None]) -> Generator[Callable[[], None]]:
    mine = json.dumps({"host": socket.gethostname(), "pid": os.getpid(), "at": time.time_ns()})
    while not _take(path, mine):
        if _is_stale(path):
            _remove_stale(path)
            continue
        while_waiting()
        time.sleep(LOOK_S)
    touched = time.monotonic()

    def touch() -> None:
        nonlocal touched
        if time.monotonic() - touched > TOUCH_S:
            touched = time.monotonic()
            with contextlib.suppress(OSError):
                os.utime(path)

    try:
        yield touch
    finally:
        # Somebody who took us for dead has its own file there.
        with contextlib.suppress(OSError):
            if path.read_text(encoding="utf-8") == mine:
                path.unlink()


def _take(path: Path, mine: str) -> bool:
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
    except FileExistsError:
        return False
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(mine)
    return True


def _is_stale(path: Path) -> bool:
    try:
        age = time.time() - path.stat().st_mtime
        owner = json.loads(path.read_text(encoding="utf-8"))
        host, pid = owner["host"], int(owner["pid"])
    except FileNotFoundError:
        return False
    except (OSError, ValueError, KeyError):
        # Somebody is just writing it, or was killed while doing so.
        host, pid, age = "", 0, _age(path)
    if host == socket.gethostname():
        return not _lives(pid)
    return age > STALE_S


def _age(path: Path) -> float:
    try:
        return time.time() - path.stat().st_mtime
    except OSError:
        return 0.0


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _remove_stale(path: Path) -> None:
    """Of several who find it stale only one may remove it: a new one may have taken its place meanwhile."""
    aside = path.with_name(f"{path.name}.{socket.gethostname()}.{os.getpid()}.{time.monotonic_ns()}")
    with contextlib.suppress(OSError):
        path.rename(aside)
        if not _is_stale(aside):
            # It was a new one: give it back, unless another is there by now.
            with contextlib.suppress(OSError):
                os.link(aside, path)
        aside.unlink()
