"""Where things are on this machine: the daemon's socket, its state, the user's settings.

XDG directories on Linux, the system's own on macOS. Every function looks at the environment when it is
called, so that a test (or a user) may move everything by setting variables.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import stat
import sys
import tempfile
import threading
from pathlib import Path

from pollinator.wire.errors import InvalidInput

PROJECT_FILE = "project.yaml"
"""In the folder of every project: what to run, where, with what."""

SOCKET_PATH_LIMIT = 100
"""Longest socket path in bytes that every system takes (107 on Linux, 103 on macOS)."""

_EXECUTOR = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")


def config_dir() -> Path:
    """The user's settings."""
    return _base("XDG_CONFIG_HOME", ".config", "Library/Application Support")


def state_dir() -> Path:
    """Run logs, indexes, the embedded store: what must outlive the daemon."""
    return _base("XDG_STATE_HOME", ".local/state", "Library/Application Support")


def cache_dir() -> Path:
    """What may be deleted at any time."""
    return _base("XDG_CACHE_HOME", ".cache", "Library/Caches")


def runtime_dir() -> Path:
    """Sockets; private to the user, on a local file system, with a short path."""
    given = _given("XDG_RUNTIME_DIR")
    path = given / "pollinator" if given else Path(tempfile.gettempdir(), f"pollinator-{os.getuid()}")
    if len(os.fsencode(path)) > SOCKET_PATH_LIMIT - len("/executor-0123456789ab.sock"):
        # Not where TMPDIR says: that may be long itself.
        short = hashlib.blake2b(os.fsencode(path), digest_size=6).hexdigest()
        path = Path("/tmp", f"pollinator-{os.getuid()}-{short}")  # noqa: S108 - it must belong to this user
    return path


def daemon_socket() -> Path:
    """The daemon's socket."""
    return runtime_dir() / "d.sock"


def daemon_lock() -> Path:
    """The lock of this user's only daemon; beside the state, which is what two daemons must not share."""
    return state_dir() / "daemon.lock"


def check_executor_name(name: str) -> str:
    """Return the name of an executor if it is a plain one: files and folders are named after it.

    Raises:
        InvalidInput: it is not.
    """
    if not _EXECUTOR.fullmatch(name):
        raise InvalidInput(
            f"{name!r} is no name for an executor",
            reason="bad_name",
            hint="take small letters, digits, '-', '_' and '.', and begin with a letter or digit",
        )
    return name


def private_dir(path: Path) -> Path:
    """Create ``path`` for this user only and return it.

    Raises:
        PermissionError: it, or a link in its place, belongs to somebody else, or it is one that all share.
    """
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    # The folder may be a link to another disk, but not one that somebody else has put there.
    for info in (path.lstat(), path.stat()):
        if info.st_uid != os.getuid():
            raise PermissionError(errno.EPERM, f"belongs to user {info.st_uid}, not to you", str(path))
    if path.stat().st_mode & stat.S_ISVTX:
        # Closing /tmp would be a disaster for all others, and root may.
        raise PermissionError(errno.EPERM, "is shared with others; name a folder inside of it", str(path))
    if path.stat().st_mode & 0o077:
        path.chmod(0o700)
    return path


def write_private(path: Path, body: bytes) -> None:
    """Write a file that only this user can read, whole or not at all; nothing is done where it is so already.

    Any thread may do it.
    """
    if path.exists() and path.read_bytes() == body:
        return
    temporary = path.with_name(f".{path.name}.{threading.get_native_id()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(body)
    temporary.replace(path)


def _base(variable: str, linux: str, mac: str) -> Path:
    given = _given(variable)
    if given:
        return given / "pollinator"
    return Path.home() / (mac if sys.platform == "darwin" else linux) / "pollinator"


def _given(variable: str) -> Path | None:
    """A folder named by the environment; one that is not absolute is ignored, as the standard says."""
    path = Path(os.environ.get(variable) or ".")
    return path if path.is_absolute() else None
