"""An executor as a process of this machine, started when it is missing; it outlives the daemon."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.metadata
import logging
import os
import signal
import subprocess
import sys
from pathlib import Path

from pollinator.daemon.reach.served import AtSocket
from pollinator.daemon.reach.transport import Peer, Place, Tell
from pollinator.v1.executor_pb2 import Executor
from pollinator.wire import places
from pollinator.wire.errors import Unavailable
from pollinator.wire.presence import holder_of

START_S = 15.0
"""Longest time an executor may take from its start to its first answer."""

_log = logging.getLogger(__name__)


class LocalProcess(AtSocket):
    """The executor's process and its socket."""

    near = True
    owned = True
    idle = "not started yet; the first run starts it"

    def __init__(self, place: Place, socket: Path, state: Path) -> None:
        super().__init__(place, socket)
        self._state = state
        self._process: subprocess.Popen[bytes] | None = None

    async def ensure(self, peer: Peer, tell: Tell) -> None:
        """Start the process unless it answers.

        One of another version is replaced; its runs go on under their supervisors.

        Raises:
            Unavailable: it does not come up.
        """
        found = await self._answers(peer)
        # Not the daemon's own version: what matters is which one would be started now.
        if found is not None and found.version == importlib.metadata.version("pollinatord"):
            return
        self._let_go()
        replaced = found.version if found is not None else None
        if replaced is not None:
            _log.info("executor %s is version %s: replacing it", self._place.name, replaced)
            self._end()
        tell(f"starting executor {self._place.name}")
        try:
            self._process = self._spawn()
        except OSError as error:
            raise self._no_start(f"{error.filename}: {error.strerror}") from error
        try:
            async with asyncio.timeout(START_S):
                while (found := await self._answers(peer)) is None or found.version == replaced:
                    if self._process.poll() not in (None, 0):
                        raise self._no_start(f"its process ended with {self._process.returncode}")
                    await asyncio.sleep(0.02)
        except TimeoutError:
            raise self._no_start(f"it gave no answer for {START_S:.0f} s") from None

    async def remove(self, *, busy: bool) -> str:
        """The default executor stays; nobody asks for this."""
        return ""

    async def close(self) -> None:
        """The process goes on."""
        self._let_go()

    def _let_go(self) -> None:
        """Take notice if the process has ended; if not, it lives on by itself: nobody waits for it."""
        if self._process is not None and self._process.poll() is None:
            self._process.returncode = 0

    async def _answers(self, peer: Peer) -> Executor | None:
        return await peer.ask() if self._socket.exists() else None

    def _end(self) -> None:
        """Tell the process that serves here to end."""
        holder = holder_of(self._state / "executor.lock")
        if holder is not None and holder.socket == self._socket.resolve():
            with contextlib.suppress(ProcessLookupError):
                os.kill(holder.pid, signal.SIGTERM)

    def _no_start(self, why: str) -> Unavailable:
        return Unavailable(
            f"executor {self._place.name} does not start: {why}",
            reason="executor_down",
            hint=f"its log is {self._log_path}",
        )

    @property
    def _log_path(self) -> Path:
        return self._state / "executor.log"

    def _spawn(self) -> subprocess.Popen[bytes]:
        places.private_dir(self._state)
        _log.info("starting executor %s", self._place.name)
        command = [sys.executable, "-m", "pollinator.executors.main", self._place.kind]
        command += ["--socket", str(self._socket), "--state", str(self._state)]
        with self._log_path.open("ab") as log:
            return subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd="/",
                env=executor_environment(),
                # Of its own session: it must outlive the daemon and the terminal.
                start_new_session=True,
            )


def executor_environment() -> dict[str, str]:
    """The environment for an executor's process: the daemon's without what it must not know."""
    hidden = ("AWS_", "COLONIES_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(hidden)}
    crash_at = kept.pop("POLLINATOR_EXECUTOR_CRASH_AT", None)
    kept.pop("POLLINATOR_CRASH_AT", None)
    if crash_at is not None:
        kept["POLLINATOR_CRASH_AT"] = crash_at
    return kept | {"GRPC_ENABLE_FORK_SUPPORT": "0"}
