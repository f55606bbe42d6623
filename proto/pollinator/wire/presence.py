"""Whether a daemon or executor lives, and where it listens.

A lock in its state folder decides that there is one only: gRPC binds over a live socket without an error, and
the folder of sockets differs between a desktop session and an ssh session, or is wiped at logout. The lock's
file says where its holder listens. Standard library only: the command line imports it before it needs gRPC.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import socket
import time
from dataclasses import dataclass
from pathlib import Path

from pollinator.wire import places

PAUSE_S = 0.02


@dataclass(frozen=True, slots=True)
class Holder:
    """Who holds a lock."""

    pid: int
    socket: Path


def answers(path: Path) -> bool:
    """Somebody listens at this socket."""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            probe.settimeout(1.0)
            probe.connect(os.fspath(path))
    except OSError:
        return False
    return True


def find_daemon() -> Path | None:
    """The socket of this user's daemon, also of one that was started with other folders; None without one."""
    path = places.daemon_socket()
    if answers(path):
        return path
    holder = holder_of(places.daemon_lock())
    if holder is None or holder.socket == path or not answers(holder.socket):
        return None
    return holder.socket


def holder_of(lock: Path) -> Holder | None:
    """What the holder of a lock has announced; may be that of one who is gone."""
    try:
        pid, path = lock.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
        return Holder(int(pid), Path(path))
    except (OSError, ValueError):
        return None


def take_lock(path: Path, patience_s: float, *, moving_to: Path | None = None) -> int | None:
    """Take a lock for the rest of this process's life.

    A holder that does not answer is starting or ending, and is waited for.

    Args:
        path: file of the lock.
        patience_s: how long to wait.
        moving_to: where this process will listen; a holder that listens elsewhere is told to end.

    Returns:
        A descriptor that must stay open, or None when the holder stays.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    deadline = time.monotonic() + patience_s
    told = 0
    while not _locked(descriptor):
        holder = holder_of(path)
        if holder is not None and answers(holder.socket):
            if moving_to in (None, holder.socket):
                break
            if told != holder.pid:
                told = holder.pid
                with contextlib.suppress(ProcessLookupError):
                    os.kill(told, signal.SIGTERM)
        if time.monotonic() > deadline:
            break
        time.sleep(PAUSE_S)
    else:
        os.ftruncate(descriptor, 0)
        return descriptor
    os.close(descriptor)
    return None


def announce(lock: int, path: Path) -> None:
    """Say in the lock's file that its holder listens at ``path``."""
    os.pwrite(lock, f"{os.getpid()}\n".encode() + os.fsencode(path) + b"\n", 0)


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
