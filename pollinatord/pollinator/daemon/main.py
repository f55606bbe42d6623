"""Entry point of ``pollinatord``: settings, lock, signals, then the app."""

from __future__ import annotations

import asyncio
import fcntl
import logging
import os
import signal
import sys
import threading
from pathlib import Path
from typing import IO

from pollinator.daemon.app import serve
from pollinator.daemon.logs import start_logging
from pollinator.daemon.settings import Settings, load_settings
from pollinator.wire import places
from pollinator.wire.errors import InvalidInput

LAST_RESORT_S = 15.0
"""A daemon that was asked to end is gone after this time, whatever hangs: before who asked gives up."""

_log = logging.getLogger(__name__)


def main() -> int:
    """Run the daemon in the foreground; returns the exit code.

    0 after it was asked to end or when another daemon of this user runs already, 2 for wrong settings.
    """
    try:
        settings = load_settings()
    except InvalidInput as error:
        for each in error.violations:
            sys.stderr.write(f"{each.where}: {each.message}\n")
        return 2
    state = places.private_dir(places.state_dir())
    lock = _lock(places.private_dir(places.runtime_dir()) / "daemon.lock")
    if lock is None:
        sys.stderr.write("pollinatord runs already\n")
        return 0
    log_path = state / "log" / "daemon.log"
    start_logging(log_path, settings)
    # gRPC's fork handlers cost time and complain with every child process.
    os.environ["GRPC_ENABLE_FORK_SUPPORT"] = "0"
    with lock:
        asyncio.run(_run(settings, state, log_path))
    return 0


class _Stop(asyncio.Event):
    """Set when the daemon is to end, by a signal or by a client; from then on its time is limited."""

    def set(self) -> None:
        if not self.is_set():
            timer = threading.Timer(LAST_RESORT_S, os._exit, (1,))
            timer.daemon = True
            timer.start()
        super().set()


async def _run(settings: Settings, state: Path, log_path: Path) -> None:
    stop = _Stop()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, _asked_to_end, stop)
    await serve(settings, state, log_path, stop)


def _asked_to_end(stop: asyncio.Event) -> None:
    if stop.is_set():
        _log.warning("asked twice: ending at once")
        os._exit(1)
    stop.set()


def _lock(path: Path) -> IO[bytes] | None:
    """Take the lock that makes this the user's only daemon; None when another holds it."""
    file = path.open("ab")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        return None
    return file


if __name__ == "__main__":
    sys.exit(main())
