"""Starting the daemon's process. Needs no gRPC: the daemon starts while this process still imports it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from pollinator.wire import places
from pollinator.wire.errors import Unavailable

NO_AUTOSTART = "POLLINATOR_NO_AUTOSTART"
START_S = 10.0
"""How long a daemon may take until it answers."""

_LOG_LIMIT_BYTES = 1 << 20


def autostart_allowed(environ: Mapping[str, str]) -> bool:
    """The user has not forbidden that commands start the daemon."""
    return environ.get(NO_AUTOSTART, "") in ("", "0")


def answers(path: Path) -> bool:
    """Somebody listens at this socket."""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            probe.settimeout(1.0)
            probe.connect(os.fspath(path))
    except OSError:
        return False
    return True


def start_log() -> Path:
    """Where a starting daemon writes what its own log does not hold yet."""
    return places.state_dir() / "log" / "daemon-start.log"


def daemon_command() -> list[str]:
    """The daemon of this very installation, whatever lies in the current folder."""
    return [sys.executable, "-P", "-m", "pollinator.daemon.main"]


class Starting:
    """A daemon on its way up."""

    def __init__(self) -> None:
        log = start_log()
        places.private_dir(log.parent)
        if log.exists() and log.stat().st_size > _LOG_LIMIT_BYTES:
            log.unlink()
        self._log = log
        self._from = log.stat().st_size if log.exists() else 0
        with log.open("ab") as file:
            self._process = subprocess.Popen(
                daemon_command(),
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                cwd="/",
                start_new_session=True,
                env={**os.environ, "GRPC_ENABLE_FORK_SUPPORT": "0"},
            )

    def wait(self, path: Path) -> None:
        """Return when it answers at ``path``.

        Raises:
            Unavailable: it ended, or did not answer in time.
        """
        deadline = time.monotonic() + START_S
        while not answers(path):
            code = self._process.poll()
            # With 0 it ended because another daemon, started at the same time, was first.
            if code:
                raise self._failed(f"the daemon ended with exit code {code} instead of starting")
            if time.monotonic() > deadline:
                raise self._failed(f"the daemon did not answer within {START_S:.0f} s")
            time.sleep(0.005)
        self.let_go()

    def let_go(self) -> None:
        """The daemon lives on by itself: nobody waits for its end."""
        if self._process.returncode is None:
            self._process.returncode = 0

    def _failed(self, message: str) -> Unavailable:
        self.let_go()
        with self._log.open("rb") as file:
            file.seek(self._from)
            lines = file.read().decode("utf-8", "replace").strip().splitlines()
        said = f": {lines[-1]}" if lines else ""
        hint = f"its words are in {self._log}" if lines else "pollinator doctor looks for the cause"
        return Unavailable(message + said, reason="daemon_start_failed", hint=hint)


def start_daemon(path: Path) -> None:
    """Start the daemon and return when it listens at ``path``.

    Raises:
        Unavailable: it cannot be started, or the user forbade it.
    """
    if not autostart_allowed(os.environ):
        raise Unavailable(
            f"the daemon does not run, and {NO_AUTOSTART} forbids to start it",
            reason="daemon_not_running",
            hint=f"pollinator daemon start, or unset {NO_AUTOSTART}",
        )
    Starting().wait(path)
