"""Entry point of ``pollinatord``: settings, lock, signals, then the app."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import signal
import sys
import threading
from pathlib import Path

from pollinator.daemon.app import serve
from pollinator.daemon.logs import start_logging
from pollinator.daemon.settings import Settings, load_settings
from pollinator.wire import places
from pollinator.wire.errors import Code, PollinatorError, WrongState
from pollinator.wire.presence import answers, take_lock

LAST_RESORT_S = 15.0
"""A daemon that was asked to end is gone after this time, whatever hangs: before who asked gives up."""

_EXITS = {
    Code.INVALID_ARGUMENT: 2,
    Code.DATA_LOSS: 65,
    Code.UNAVAILABLE: 69,
    Code.RESOURCE_EXHAUSTED: 75,
    Code.PERMISSION_DENIED: 77,
    Code.FAILED_PRECONDITION: 78,
}
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)

_log = logging.getLogger(__name__)


def main() -> int:
    """Run the daemon in the foreground; returns the exit code.

    0 after it was asked to end or when another daemon of this user runs already; 2 for wrong settings, 65
    when its files are damaged, 69 when they cannot be used now, 75 when the disk is full, 77 when it may not
    use its folders, 78 when a newer version wrote them or another daemon has the socket; 1 when it was told
    twice to end, or for a defect.
    """
    try:
        return _main()
    except PollinatorError as error:
        for each in error.violations:
            sys.stderr.write(f"{each.where}: {each.message}\n")
        if not error.violations:
            sys.stderr.write(f"{error.message}\n{error.hint}\n")
        return _EXITS.get(error.code, 1)
    except OSError as error:
        sys.stderr.write(f"cannot use {error.filename}: {error.strerror}\n")
        return _EXITS[Code.RESOURCE_EXHAUSTED if error.errno in _FULL else Code.PERMISSION_DENIED]


def _main() -> int:
    settings = load_settings()
    state = places.private_dir(places.state_dir())
    places.private_dir(places.runtime_dir())
    # Held until the process is gone, so that none of its threads meets its successor.
    lock = take_lock(places.daemon_lock(), LAST_RESORT_S + 2)
    if lock is None:
        sys.stderr.write("pollinatord runs already\n")
        return 0
    if answers(places.daemon_socket()):
        # gRPC would take the socket away from it without an error.
        raise WrongState(
            f"another daemon, with another state, listens at {places.daemon_socket()}",
            reason="socket_taken",
            hint="set XDG_RUNTIME_DIR to another folder as well",
        )
    log_path = state / "log" / "daemon.log"
    start_logging(log_path, settings)
    # gRPC's fork handlers cost time and complain with every child process.
    os.environ["GRPC_ENABLE_FORK_SUPPORT"] = "0"
    # Whoever started this may have been told to ignore its children; their exit codes are wanted here.
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    try:
        asyncio.run(_run(settings, state, log_path, lock))
    except BaseException:
        _log.exception("the daemon ends")
        raise
    return 0


class _Stop(asyncio.Event):
    """Set when the daemon is to end, by a signal or by a client; from then on its time is limited."""

    def set(self) -> None:
        """Set it, and begin to count."""
        if not self.is_set():
            # What hangs is done again later: it was asked to end, and that is no failure.
            timer = threading.Timer(LAST_RESORT_S, os._exit, (0,))
            timer.daemon = True
            timer.start()
        super().set()


async def _run(settings: Settings, state: Path, log_path: Path, lock: int) -> None:
    stop = _Stop()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, _asked_to_end, stop)
    await serve(settings, state, log_path, stop, lock)


def _asked_to_end(stop: asyncio.Event) -> None:
    if stop.is_set():
        _log.warning("asked twice: ending at once")
        os._exit(1)
    stop.set()


if __name__ == "__main__":
    sys.exit(main())
