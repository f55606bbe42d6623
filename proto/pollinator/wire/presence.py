"""Whether a daemon or executor lives, and where it listens.

A lock in its state folder decides that there is one only: gRPC binds over a live socket without an error, and
the folder of sockets differs between a desktop session and an ssh session, or is wiped at logout. The lock's
file says where its holder listens. Standard library only: the command line imports it before it needs gRPC.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import signal
import socket
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from pollinator.wire import places
from pollinator.wire.errors import WrongState

PAUSE_S = 0.02

_NO_LOCKS = (errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK)
"""As Lustre answers without -o flock, or NFS without its service for locks."""


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


def take_lock(
    path: Path, patience_s: float, *, moving_to: Path | None = None, by_machine: bool = False
) -> int | None:
    """Take a lock for the rest of this process's life.

    A holder that does not answer is starting or ending, and is waited for.

    Args:
        path: file of the lock.
        patience_s: how long to wait.
        moving_to: where this process will listen; a holder that listens elsewhere is told to end.
        by_machine: machines see to it by themselves that only one has the state, so where the file system
            has no locks it is enough that one process of this machine has this one.

    Returns:
        A descriptor that must stay open, or None when the holder stays.

    Raises:
        WrongState: the file system has no locks.
    """
    lock = _Lock(path, by_machine=by_machine and sys.platform == "linux")
    try:
        taken = _take(lock, path, patience_s, moving_to)
    except BaseException:
        lock.close()
        raise
    if not taken:
        lock.close()
        return None
    os.ftruncate(lock.descriptor, 0)
    return lock.descriptor


def _take(lock: _Lock, path: Path, patience_s: float, moving_to: Path | None) -> bool:
    deadline = time.monotonic() + patience_s
    told = 0
    while not lock.take():
        holder = holder_of(path)
        if holder is not None and answers(holder.socket):
            if moving_to in (None, holder.socket):
                return False
            if told != holder.pid:
                told = holder.pid
                with contextlib.suppress(ProcessLookupError):
                    os.kill(told, signal.SIGTERM)
        if time.monotonic() > deadline:
            return False
        time.sleep(PAUSE_S)
    return True


def announce(lock: int, path: Path) -> None:
    """Say in the lock's file that its holder listens at ``path``."""
    os.pwrite(lock, f"{os.getpid()}\n".encode() + os.fsencode(path) + b"\n", 0)


class _Lock:
    """A file that is locked; by machine also a name there, which the kernel gives to one process at a time.

    The name comes first, and also where there are locks: the answer that there are none may differ from one
    moment to the next. POSIX locks would be no way out: what has no flock has none of them either, and they
    are lost when any part of the process closes the file.
    """

    def __init__(self, path: Path, *, by_machine: bool) -> None:
        self.descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._path = path
        self._by_machine = by_machine
        self._name: int | None = None

    def take(self) -> bool:
        """Whether it is ours now."""
        if self._by_machine and self._name is None:
            self._name = _own_name(self._path)
            if self._name is None:
                return False
        try:
            fcntl.flock(self.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
            if self._name is None:
                raise _no_locks(self._path, error) from error
        return True

    def close(self) -> None:
        """Let go of it."""
        os.close(self.descriptor)
        if self._name is not None:
            os.close(self._name)


def _own_name(path: Path) -> int | None:
    """Bind a name of this machine that stands for the file; None while another process has it."""
    known = f"{os.getuid()}:{path.resolve()}".encode(errors="surrogateescape")
    name = f"\0pollinator-lock-{hashlib.blake2b(known, digest_size=16).hexdigest()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as bound:
        try:
            # Of no file system: nobody can remove it, and it is free again when its holder dies.
            bound.bind(name)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
            return None
        return bound.detach()


def _no_locks(path: Path, error: OSError) -> WrongState:
    return WrongState(
        f"the file system of {path.parent} has no locks: {error.strerror}",
        reason="no_locks",
        hint="take a folder of another one (an executor: ssh.dir or --state, the daemon: XDG_STATE_HOME)"
        ", or have it mounted with locks, as Lustre is with -o flock",
    )
