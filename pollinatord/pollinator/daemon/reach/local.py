"""Executors as processes of this machine, started when they are missing; they outlive the daemon."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.metadata
import logging
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

from pollinator.daemon.pool import Pool
from pollinator.daemon.reach.served import AtSocket
from pollinator.daemon.reach.transport import Peer, Place, Tell
from pollinator.v1.executor_pb2 import Executor
from pollinator.wire import places
from pollinator.wire.errors import InvalidInput, Unavailable
from pollinator.wire.presence import answers, holder_of

START_S = 15.0
"""Longest time an executor may take from its start to its first answer."""
END_S = 5.0
"""The same from being told to end to its end."""
WORDS = 1000
KUBERNETES = "kubernetes"

_log = logging.getLogger(__name__)


class LocalProcess(AtSocket):
    """The executor's process and its socket.

    Args:
        place: what is remembered of it; one that was never added belongs to this machine.
        socket: where it listens.
        state: folder of its own, for its runs.
    """

    near = True
    trusted = False
    owned = True
    idle = "not started yet; the first run starts it"

    def __init__(self, place: Place, socket: Path, state: Path) -> None:
        super().__init__(place, socket)
        if place.kind == KUBERNETES:
            # Its runs are elsewhere: they get credentials for their files alone, which are renewed; where the
            # daemon is issued none, it asks itself, at an address that only its settings may know.
            self.near, self.trusted = False, True
        self._state = state
        self._process: subprocess.Popen[bytes] | None = None

    def configure(self, place: Place) -> None:
        """It is started anew with the new settings, when it is wanted next."""
        self._place = place

    async def ensure(self, peer: Peer, tell: Tell) -> None:
        """Start the process unless it answers.

        One of another version or with other settings is replaced; its runs go on.

        Raises:
            Unavailable: it does not come up.
        """
        found = await self._answers(peer)
        if found is not None and self._is_wanted(found):
            return
        self._let_go()
        if found is not None:
            _log.info("executor %s is version %s: replacing it", self._place.name, found.version)
            self._end()
        tell(f"starting executor {self._place.name}")
        log_at = self._log_path.stat().st_size if self._log_path.exists() else 0
        try:
            self._process = self._spawn()
        except OSError as error:
            raise self._no_start(f"{error.filename}: {error.strerror}") from error
        try:
            async with asyncio.timeout(START_S):
                while (found := await self._answers(peer)) is None or not self._is_wanted(found):
                    if self._process.poll() not in (None, 0):
                        ended = f"its process ended with {self._process.returncode}"
                        raise self._no_start(f"{ended}{self._last_words(log_at)}")
                    await asyncio.sleep(0.02)
        except TimeoutError:
            raise self._no_start(f"it gave no answer for {START_S:.0f} s") from None

    async def remove(self, *, busy: bool) -> str:
        """End the process, and remove what it kept, unless runs go on. The executor of this machine stays."""
        if not self._place.id:
            return ""
        self._end()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(END_S):
                while self._lives():  # noqa: ASYNC110 - it tells nobody
                    await asyncio.sleep(0.02)
        if busy:
            return f"runs go on, and what they need stays in {self._state}"
        pool = Pool("remove", 1)
        try:
            await pool.run(shutil.rmtree, self._state, ignore_errors=True)
        finally:
            pool.close()
        return f"some of its files stay in {self._state}" if self._state.exists() else ""

    async def close(self) -> None:
        """The process goes on."""
        self._let_go()

    def _lives(self) -> bool:
        """It has not ended, as far as is known here."""
        if self._process is not None and self._process.poll() is None:
            return True
        return self._socket.exists() and answers(self._socket)

    def _is_wanted(self, found: Executor) -> bool:
        # Not the daemon's own version: what matters is which one would be started now.
        return found.version == importlib.metadata.version("pollinatord") and dict(found.settings) == dict(
            self._place.settings
        )

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

    def _last_words(self, log_at: int) -> str:
        """What it said before it ended: such as which setting it does not know."""
        with self._log_path.open("rb") as file:
            file.seek(log_at)
            words = file.read()[-WORDS:].decode("utf-8", "replace").split()
        return f": {' '.join(words)}" if words else ""

    @property
    def _log_path(self) -> Path:
        return self._state / "executor.log"

    def _spawn(self) -> subprocess.Popen[bytes]:
        places.private_dir(self._state)
        _log.info("starting executor %s", self._place.name)
        command = [sys.executable, "-m", "pollinator.executors.main", self._place.kind]
        command += ["--socket", str(self._socket), "--state", str(self._state)]
        command += [f"--set={name}={value}" for name, value in sorted(self._place.settings.items())]
        with self._log_path.open("ab") as log:
            return subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd="/",
                env=executor_environment(self._place.kind),
                # Of its own session: it must outlive the daemon and the terminal.
                start_new_session=True,
            )


def further_process(place: Place, state: Path) -> LocalProcess:
    """An executor of this machine beside the one that everybody has: ``local:[FOLDER]``.

    Args:
        place: what is remembered of it.
        state: where its runs are, unless the address names a folder.

    Raises:
        InvalidInput: it cannot be meant.
    """
    given = place.address.partition(":")[2]
    if given and not Path(given).is_absolute():
        raise InvalidInput(
            f"{place.address!r} names no folder of this machine",
            reason="bad_address",
            hint="write local: or local:/absolute/folder",
        )
    if not place.kind:
        raise InvalidInput(
            f"nobody says what executor {place.name} is to be",
            reason="bad_address",
            hint="say it with --kind, such as --kind kubernetes",
        )
    folder = Path(given) if given else state
    socket = places.runtime_dir() / f"executor-{place.mark}.sock"
    return LocalProcess(place, socket, folder / f"{place.name}-{place.mark}")


def executor_environment(kind: str = "local") -> dict[str, str]:
    """The environment for an executor's process: the daemon's without what it must not know.

    Args:
        kind: of the executor. Runs of one in a cluster see nothing of it, and programs that give tokens for
            clusters may need what says who one is at their cloud.
    """
    hidden = ("AWS_S3_", "COLONIES_") if kind == KUBERNETES else ("AWS_", "COLONIES_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(hidden)}
    crash_at = kept.pop("POLLINATOR_EXECUTOR_CRASH_AT", None)
    kept.pop("POLLINATOR_CRASH_AT", None)
    if crash_at is not None:
        kept["POLLINATOR_CRASH_AT"] = crash_at
    return kept | {"GRPC_ENABLE_FORK_SUPPORT": "0"}
