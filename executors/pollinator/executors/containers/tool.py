"""Running an engine's own programs: long ones, that tell how far they are and can be ended at any time."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO

from pollinator.executors.base import Tell
from pollinator.wire.errors import (
    Denied,
    Exhausted,
    NeedsLogin,
    NotFound,
    PollinatorError,
    Unavailable,
    WrongState,
)

LOOK_S = 0.1
END_S = 5.0
LONGEST_S = 6 * 3600.0
"""Nothing takes longer, not even with the slowest of lines."""

SAID_BYTES = 64 << 10

_KINDS: tuple[tuple[str, type[PollinatorError], str, str], ...] = (
    (
        "no space left|disk quota exceeded",
        Exhausted,
        "disk_full",
        "set images.dir and images.tmp to where there is space",
    ),
    (
        "unauthorized|authentication required|access.*denied|no basic auth",
        NeedsLogin,
        "image_denied",
        "log in where the run is: docker login, or podman login",
    ),
    (
        "manifest unknown|name unknown|manifest for .* not found|no such image|repository does not exist",
        NotFound,
        "image_missing",
        "look at its name",
    ),
    ("permission denied|operation not permitted", Denied, "image_denied", ""),
    (
        "connection refused|no such host|timeout|i/o timeout|connection reset|EOF$",
        Unavailable,
        "registry_unreachable",
        "",
    ),
)


def run_tool(
    argv: Sequence[str],
    what: str,
    tell: Tell,
    *,
    done: Callable[[str], int],
    env: Mapping[str, str] | None = None,
    stdin: IO[bytes] | int = subprocess.DEVNULL,
) -> str:
    """Run a program to its end; returns what it said.

    Args:
        argv: the program and its arguments.
        what: it does, for people.
        tell: told several times a second how far it is; what it raises ends the program.
        done: how many bytes are done, given what the program said so far.
        env: of the program.
        stdin: what it reads.

    Raises:
        PollinatorError: it failed.
    """
    with tempfile.TemporaryFile() as said:
        child = subprocess.Popen(
            argv, stdin=stdin, stdout=said, stderr=said, env=dict(env or os.environ), cwd="/", process_group=0
        )
        try:
            _wait(child, lambda: tell(done(_read(said))), what)
        finally:
            _end(child)
        text = _read(said)
    if child.returncode:
        raise failure(what, child.returncode, text)
    tell(done(text))
    return text


def failure(what: str, code: int, text: str) -> PollinatorError:
    """The error that a program's last words mean."""
    lines = [line for line in map(plain, text.splitlines()) if line]
    told = [line for line in lines if line.startswith(("FATAL", "Error", "error", "ERRO"))] or lines
    why = told[-1] if told else f"it ended with {code}"
    for pattern, kind, reason, hint in _KINDS:
        if re.search(pattern, "\n".join(told), re.IGNORECASE):
            return kind(f"{what} failed: {why}", reason=reason, hint=hint)
    return WrongState(f"{what} failed: {why}", reason="image_failed")


def file_bytes(folder: Path) -> int:
    """What the files below a folder hold, some of which may go meanwhile."""
    total = 0
    for here, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):
                total += os.lstat(os.path.join(here, name)).st_size
    return total


def _wait(child: subprocess.Popen[bytes], look: Callable[[], None], what: str) -> None:
    deadline = time.monotonic() + LONGEST_S
    while True:
        began = time.monotonic()
        look()
        # At most a tenth of the time goes into looking.
        pause_s = max(LOOK_S, 10 * (time.monotonic() - began))
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(pause_s)
            return
        if time.monotonic() > deadline:
            raise WrongState(f"{what} takes longer than {LONGEST_S / 3600:g} hours", reason="image_failed")


def _end(child: subprocess.Popen[bytes]) -> None:
    """End what has not ended, with all that it started."""
    if child.poll() is not None:
        return
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(END_S)
            return


def _read(said: IO[bytes]) -> str:
    """What was said last; the position is the child's as well, so it is left alone."""
    size = os.fstat(said.fileno()).st_size
    return os.pread(said.fileno(), SAID_BYTES, max(0, size - SAID_BYTES)).decode("utf-8", "replace")


def plain(text: str) -> str:
    """Without colours, and without spaces around."""
    return re.sub(r"\x1b\[[0-9;]*m", "", text).strip()
