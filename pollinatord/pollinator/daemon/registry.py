"""The executors this daemon knows. An executor is a process of its own that outlives the daemon."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.metadata
import logging
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import grpc

from pollinator.chunks.blobs import PeerStore
from pollinator.v1.executor_pb2 import DescribeRequest, DescribeResponse, Executor
from pollinator.v1.executor_pb2_grpc import ExecutorServiceStub
from pollinator.v1.run_pb2_grpc import RunServiceStub
from pollinator.wire import places
from pollinator.wire.channel import open_blocking_channel, open_channel
from pollinator.wire.errors import InvalidInput, PollinatorError, Unavailable
from pollinator.wire.presence import holder_of
from pollinator.wire.status import to_error

DEFAULT_EXECUTOR = "local"
START_S = 15.0
"""Longest time an executor may take from its start to its first answer."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ExecutorPlace:
    """Where an executor of this machine lives."""

    name: str
    kind: str
    socket: Path
    state: Path


class ExecutorLink:
    """The connection to one executor, which it starts when there is none."""

    near = True
    """It is on this machine and reaches every store that the daemon does."""

    def __init__(self, place: ExecutorPlace) -> None:
        self.place = place
        self.address = f"unix:{place.socket}"
        self._channel = open_channel(self.address)
        self.runs = RunServiceStub(self._channel)
        self.executor = ExecutorServiceStub(self._channel)
        self._starting = asyncio.Lock()
        self._process: subprocess.Popen[bytes] | None = None

    def blobs(self, project: str) -> PeerStore:
        """The executor's own store of a project; closed by the caller. Its calls block."""
        return PeerStore(open_blocking_channel(self.address), project, self.place.name)

    async def describe(self, timeout_s: float = 2.0) -> Executor:
        """What the executor says about itself; raises Unavailable."""
        try:
            answer: DescribeResponse = await self.executor.Describe(DescribeRequest(), timeout=timeout_s)
        except grpc.aio.AioRpcError as error:
            raise to_error(error) from error
        answer.executor.name = self.place.name
        answer.executor.address = self.address
        return answer.executor

    async def ensure(self) -> None:
        """Return once the executor answers, starting its process if need be.

        One of another version is replaced; its runs go on under their supervisors.

        Raises:
            Unavailable: it does not come up.
        """
        async with self._starting:
            found = await self._answers()
            # Not the daemon's own version: what matters is which one would be started now.
            if found is not None and found.version == importlib.metadata.version("pollinatord"):
                return
            self._let_go()
            replaced = found.version if found is not None else None
            if replaced is not None:
                _log.info("executor %s is version %s: replacing it", self.place.name, replaced)
                self._end()
            try:
                self._process = self._spawn()
            except OSError as error:
                raise self._no_start(f"{error.filename}: {error.strerror}") from error
            try:
                async with asyncio.timeout(START_S):
                    while (found := await self._answers()) is None or found.version == replaced:
                        if self._process.poll() not in (None, 0):
                            raise self._no_start(f"its process ended with {self._process.returncode}")
                        await asyncio.sleep(0.02)
            except TimeoutError:
                raise self._no_start(f"it gave no answer for {START_S:.0f} s") from None

    async def close(self) -> None:
        """Drop the connection; the executor goes on."""
        self._let_go()
        await self._channel.close()

    def _let_go(self) -> None:
        """Take notice if the process has ended; if not, it lives on by itself: nobody waits for it."""
        if self._process is not None and self._process.poll() is None:
            self._process.returncode = 0

    async def _answers(self) -> Executor | None:
        """What the executor says about itself; None when it says nothing."""
        if not self.place.socket.exists():
            return None
        try:
            return await self.describe()
        except PollinatorError:
            return None

    def _end(self) -> None:
        """Tell the process that serves here to end."""
        holder = holder_of(self.place.state / "executor.lock")
        if holder is not None and holder.socket == self.place.socket.resolve():
            with contextlib.suppress(ProcessLookupError):
                os.kill(holder.pid, signal.SIGTERM)

    def _no_start(self, why: str) -> Unavailable:
        return Unavailable(
            f"executor {self.place.name} does not start: {why}",
            reason="executor_down",
            hint=f"its log is {self._log_path}",
        )

    @property
    def _log_path(self) -> Path:
        return self.place.state / "executor.log"

    def _spawn(self) -> subprocess.Popen[bytes]:
        places.private_dir(self.place.state)
        _log.info("starting executor %s", self.place.name)
        command = [sys.executable, "-m", "pollinator.executors.main", self.place.kind]
        command += ["--socket", str(self.place.socket), "--state", str(self.place.state)]
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


class Registry:
    """All executors by name."""

    def __init__(self, state: Path) -> None:
        local = ExecutorPlace(
            name=DEFAULT_EXECUTOR,
            kind="local",
            socket=places.runtime_dir() / "executor-local.sock",
            state=state / "local",
        )
        self._links = {local.name: ExecutorLink(local)}

    def names(self) -> list[str]:
        """Names of all executors, sorted."""
        return sorted(self._links)

    def get(self, name: str) -> ExecutorLink:
        """The executor with this name; empty is the default.

        Raises:
            InvalidInput: there is none.
        """
        link = self._links.get(name or DEFAULT_EXECUTOR)
        if link is None:
            raise InvalidInput(
                f"there is no executor {name!r}",
                reason="executor_missing",
                hint=f"known are: {', '.join(self.names())}",
            )
        return link

    def choose(self, names: list[str], kind: str) -> ExecutorLink:
        """The first known executor of ``names``, else one of ``kind``, else the default.

        Raises:
            InvalidInput: names or a kind are given and none is known.
        """
        for name in names:
            if name in self._links:
                return self._links[name]
        if names:
            return self.get(names[0])
        for link in self._links.values():
            if kind in ("", link.place.kind):
                return link
        raise InvalidInput(
            f"there is no executor of kind {kind!r}",
            reason="executor_missing",
            hint=f"known are: {', '.join(self.names())}",
        )

    async def close(self) -> None:
        """Drop all connections."""
        for link in self._links.values():
            await link.close()
