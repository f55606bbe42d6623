"""Starting the daemon's process. Needs no gRPC: the daemon starts while this process still imports it."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from pollinator.wire import places
from pollinator.wire.errors import (
    Corrupt,
    Denied,
    Exhausted,
    InvalidInput,
    PollinatorError,
    Unavailable,
    WrongState,
)
from pollinator.wire.presence import find_daemon

NO_AUTOSTART = "POLLINATOR_NO_AUTOSTART"
START_S = 20.0
"""How long a daemon may take until it answers; it waits for one that is just ending."""

RESTARTS = 3
"""So often it is started again when it was killed meanwhile."""

_LOG_LIMIT_BYTES = 1 << 20

_SAID_BY_CODE: Mapping[int, tuple[type[PollinatorError], str]] = {
    2: (InvalidInput, "the daemon's settings are not right"),
    65: (Corrupt, "the daemon cannot start: its files are damaged"),
    75: (Exhausted, "the daemon cannot start: a limit is reached, most likely the disk is full"),
    77: (Denied, "the daemon cannot start: it may not use its folders"),
    78: (WrongState, "the daemon cannot start"),
}
"""What the daemon means when it ends with these codes; on a full disk it can say nothing else."""


def autostart_allowed(environ: Mapping[str, str]) -> bool:
    """The user has not forbidden that commands start the daemon."""
    return environ.get(NO_AUTOSTART, "") in ("", "0")


def start_log() -> Path:
    """Where a starting daemon writes what its own log does not hold yet."""
    return places.state_dir() / "log" / "daemon-start.log"


def daemon_command() -> list[str]:
    """The daemon of this very installation, whatever lies in the current folder."""
    return [sys.executable, "-P", "-m", "pollinator.daemon.main"]


class Starting:
    """A daemon on its way up."""

    def __init__(self) -> None:
        self._log = start_log()
        self._start()

    def _start(self) -> None:
        try:
            self._from, self._process = self._spawn(self._log)
        except OSError as error:
            raise _cannot_write(error, self._log) from error

    @staticmethod
    def _spawn(log: Path) -> tuple[int, subprocess.Popen[bytes]]:
        """Start the process; also returns from where on the log is its own."""
        places.private_dir(log.parent)
        if log.exists() and log.stat().st_size > _LOG_LIMIT_BYTES:
            log.unlink()
        begin = log.stat().st_size if log.exists() else 0
        with log.open("ab") as file:
            process = subprocess.Popen(
                daemon_command(),
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                cwd="/",
                start_new_session=True,
                env={**os.environ, "GRPC_ENABLE_FORK_SUPPORT": "0"},
            )
        return begin, process

    def wait(self) -> Path:
        """The socket at which it answers, or another daemon that was started at the same time and was first.

        Raises:
            PollinatorError: it ended, or did not answer in time.
        """
        deadline = time.monotonic() + START_S
        again = RESTARTS
        while (path := find_daemon()) is None:
            code = self._process.poll()
            if code is not None and code <= 0 and again:
                # Killed, or gone because of another daemon that is gone by now as well.
                again -= 1
                self._start()
            elif code:
                raise self._failed(code)
            if time.monotonic() > deadline:
                raise self._failed(None)
            time.sleep(0.005)
        self.let_go()
        return path

    def let_go(self) -> None:
        """The daemon lives on by itself: nobody waits for its end."""
        if self._process.returncode is None:
            self._process.returncode = 0

    def _failed(self, code: int | None) -> PollinatorError:
        self.let_go()
        with self._log.open("rb") as file:
            file.seek(self._from)
            words = file.read().decode("utf-8", "replace")
        # Without the frame that Python draws around several errors.
        lines = [line for line in words.splitlines() if line.strip(" +-|")]
        hint = f"its words are in {self._log}" if lines else "pollinator doctor looks for the cause"
        if (known := _SAID_BY_CODE.get(code or 0)) is not None:
            kind, meant = known
            return kind("\n  ".join([meant, *lines]), reason="daemon_start_failed", hint=hint)
        what = f"the daemon ended with exit code {code} instead of starting"
        if code is None:
            what = f"the daemon did not answer within {START_S:.0f} s"
        said = f": {lines[-1].strip(' |')}" if lines else ""
        return Unavailable(what + said, reason="daemon_start_failed", hint=hint)


def start_daemon() -> Path:
    """Start the daemon and return the socket at which it listens.

    Raises:
        PollinatorError: it cannot be started, or the user forbade it.
    """
    if not autostart_allowed(os.environ):
        raise Unavailable(
            f"the daemon does not run, and {NO_AUTOSTART} forbids to start it",
            reason="daemon_not_running",
            hint=f"pollinator daemon start, or unset {NO_AUTOSTART}",
        )
    return Starting().wait()


def _cannot_write(error: OSError, path: Path) -> PollinatorError:
    full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    kind = Exhausted if full else Denied
    return kind(
        f"the daemon cannot start: cannot write {error.filename or path}: {error.strerror}",
        reason="daemon_start_failed",
        hint="free some space there" if full else "pollinator doctor looks at all folders",
    )
