"""The way to the daemon: start it when it is missing, agree on versions, ask, and ask again after a restart.

Every call of the API but Shutdown is harmless to repeat, so a call that was cut off because the daemon died
is simply made again once the daemon is back.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from enum import Enum
from pathlib import Path
from typing import TypeVar

import grpc

from pollinator.cli.about import API_VERSION, program_version, version_key
from pollinator.cli.spawn import Starting, autostart_allowed, start_daemon
from pollinator.cli.terminal import Terminal
from pollinator.v1.daemon_pb2 import GetInfoRequest, GetInfoResponse, ShutdownRequest
from pollinator.v1.daemon_pb2_grpc import DaemonServiceStub
from pollinator.v1.executor_pb2_grpc import ExecutorRegistryServiceStub, ExecutorServiceStub
from pollinator.v1.project_pb2_grpc import ProjectServiceStub
from pollinator.v1.run_pb2_grpc import RunServiceStub
from pollinator.wire import places
from pollinator.wire.channel import open_channel
from pollinator.wire.errors import PollinatorError, TimedOut, Unavailable, WrongState
from pollinator.wire.presence import answers, find_daemon, holder_of
from pollinator.wire.status import to_error

SHORT_S = 30.0
"""Deadline of a call that only looks things up."""

LONG_S = 6 * 3600.0
"""Deadline of a call that may move all bytes of a project."""

CONNECT_S = 1800.0
"""Deadline of a call that may install a whole site first."""

HANDSHAKE_S = 10.0
_JUST_ENDING_S = 1.0
END_S = 20.0
"""How long a daemon may take to end."""

PATIENCE_S = 60.0
"""How long a followed run may be without word while the daemon is started again and again."""

Answer = TypeVar("Answer")


class Verdict(Enum):
    """What two versions mean for each other."""

    FINE = "fine"
    REPLACE = "replace"
    UPGRADE = "upgrade"


def compare_versions(own: str, daemon: str, daemon_api: int) -> Verdict:
    """A newer program replaces the daemon; an older one is to be upgraded."""
    if version_key(own) > version_key(daemon) or daemon_api < API_VERSION:
        return Verdict.REPLACE
    if version_key(own) < version_key(daemon):
        return Verdict.UPGRADE
    return Verdict.FINE


class Daemon:
    """The daemon's services."""

    def __init__(self, channel: grpc.aio.Channel, path: Path, *, may_start: bool) -> None:
        self.runs = RunServiceStub(channel)
        self.projects = ProjectServiceStub(channel)
        self.executors = ExecutorServiceStub(channel)
        self.registry = ExecutorRegistryServiceStub(channel)
        self.daemon = DaemonServiceStub(channel)
        self.info = GetInfoResponse()
        self._path = path
        self._may_start = may_start and autostart_allowed(os.environ)

    async def ask(
        self,
        method: Callable[..., Awaitable[Answer]],
        request: object,
        *,
        timeout_s: float = SHORT_S,
        patience_s: float = PATIENCE_S,
    ) -> Answer:
        """Make a call; made again when the daemon died meanwhile.

        Raises:
            PollinatorError: what the daemon said.
        """
        deadline = time.monotonic() + patience_s
        while True:
            try:
                return await method(request, timeout=timeout_s)
            except grpc.aio.AioRpcError as cut:
                error = to_error(cut)
            if not _was_cut(error) or time.monotonic() > deadline:
                raise error
            await self.revive(error)
            await asyncio.sleep(0.05)

    async def shake_hands(self, patience_s: float) -> None:
        """Learn who the daemon is.

        Raises:
            Unavailable: it is gone, or it listens and does not answer.
        """
        ask = self.ask(self.daemon.GetInfo, GetInfoRequest(), timeout_s=HANDSHAKE_S, patience_s=patience_s)
        try:
            self.info.CopyFrom(await ask)
        except TimedOut as error:
            holder = holder_of(places.daemon_lock())
            raise Unavailable(
                "the daemon does not answer",
                reason="daemon_silent",
                hint=f"end it by force; runs go on: kill -9 {holder.pid}" if holder else "look at its log",
            ) from error

    async def revive(self, error: PollinatorError) -> None:
        """Start the daemon again if it is gone; where that is forbidden, somebody else has to.

        Raises:
            PollinatorError: it cannot be started.
        """
        if self._may_start and not await asyncio.to_thread(answers, self._path):
            path = await asyncio.to_thread(start_daemon)
            if path != self._path:
                raise Unavailable(
                    f"the daemon has come back at {path}", reason="daemon_moved", hint="run the command again"
                ) from error


def _was_cut(error: PollinatorError) -> bool:
    """The connection broke; an error of the daemon itself carries its own reason."""
    return isinstance(error, Unavailable) and error.reason == "unavailable"


@asynccontextmanager
async def connected(terminal: Terminal) -> AsyncGenerator[Daemon]:
    """The daemon, started when it is missing and replaced when it is too old.

    Raises:
        PollinatorError: it cannot be had.
    """
    async with _channel_to(find_daemon() or start_daemon(), may_start=True) as daemon:
        await daemon.shake_hands(HANDSHAKE_S)
        own = program_version()
        verdict = compare_versions(own, daemon.info.version, daemon.info.api_version)
        if verdict is Verdict.REPLACE and await _replaced(daemon, terminal):
            await daemon.shake_hands(HANDSHAKE_S)
        elif verdict is Verdict.UPGRADE:
            terminal.warn(
                f"the daemon is version {daemon.info.version}, this is {own}: upgrade this installation"
            )
        yield daemon


@asynccontextmanager
async def connected_if_running() -> AsyncGenerator[Daemon | None]:
    """The daemon as it is, or None; starts and replaces nothing."""
    path = find_daemon()
    if path is None:
        yield None
        return
    async with _channel_to(path, may_start=False) as daemon:
        try:
            await daemon.shake_hands(_JUST_ENDING_S)
        except Unavailable as error:
            if not _was_cut(error):
                raise
            gone = True
        else:
            gone = False
        yield None if gone else daemon


@asynccontextmanager
async def _channel_to(path: Path, *, may_start: bool) -> AsyncGenerator[Daemon]:
    channel = open_channel(f"unix:{path}")
    try:
        yield Daemon(channel, path, may_start=may_start)
    finally:
        await channel.close()


async def _replaced(daemon: Daemon, terminal: Terminal) -> bool:
    """Put a new daemon in the place of an older one, unless others use that one now."""
    older = daemon.info
    usable = older.api_version >= API_VERSION
    try:
        if not autostart_allowed(os.environ):
            raise WrongState("the daemon may not be started", reason="busy")
        await shut_down(daemon, only_if_idle=True)
    except WrongState as busy:
        if not usable:
            raise WrongState(
                f"the daemon is version {older.version}, too old for this program: {busy.message}",
                reason="daemon_too_old",
                hint="pollinator daemon restart; runs go on meanwhile",
            ) from busy
        terminal.warn(f"the daemon is still version {older.version} and busy; it is replaced when it is idle")
        return False
    await asyncio.to_thread(start_daemon)
    return True


async def shut_down(daemon: Daemon, *, only_if_idle: bool) -> None:
    """End the daemon and return when it is gone. Runs go on.

    Raises:
        WrongState: it is in use, and ``only_if_idle`` was wished.
        Unavailable: it does not end.
    """
    try:
        await daemon.daemon.Shutdown(ShutdownRequest(only_if_idle=only_if_idle), timeout=SHORT_S)
    except grpc.aio.AioRpcError as error:
        told = to_error(error)
        if not _was_cut(told):
            raise told from error
    deadline = time.monotonic() + END_S
    while _alive(daemon.info.pid):
        if time.monotonic() > deadline:
            raise Unavailable(
                f"the daemon (process {daemon.info.pid}) does not end",
                reason="daemon_does_not_end",
                hint=f"end it by force; runs go on: kill -9 {daemon.info.pid}",
            )
        await asyncio.sleep(0.02)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return not _is_zombie(pid)


def _is_zombie(pid: int) -> bool:
    """It has ended, but nobody took note of that: in a container without an init process, for ever."""
    try:
        state = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[0]
    except OSError:
        return False
    return state == b"Z"


def ensure_daemon() -> bool:
    """Start the daemon because the user asked for it; True when it was missing."""
    if find_daemon() is not None:
        return False
    Starting().wait()
    return True
