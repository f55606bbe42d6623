"""The connection to one executor, by whichever way leads there."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from dataclasses import replace

import grpc

from pollinator.chunks.blobs import PeerStore
from pollinator.daemon.reach.transport import NotLoggedIn, Place, Tell, Transport, silent
from pollinator.v1.executor_pb2 import DescribeRequest, DescribeResponse, Executor, Reach
from pollinator.v1.executor_pb2_grpc import ExecutorServiceStub
from pollinator.v1.run_pb2_grpc import RunServiceStub
from pollinator.wire.errors import PollinatorError, WrongState, with_name
from pollinator.wire.status import to_error

FRESH_S = 10.0
"""So long a connected executor need not repeat what it said about itself, when it is far away."""
CLUSTER_S = 5.0
"""How long to wait for what an executor that has just started is asking its cluster."""


class ExecutorLink:
    """The connection to one executor, which it brings up when there is none."""

    def __init__(self, place: Place, transport: Transport, learned: Callable[[], None]) -> None:
        self.place = place
        self.transport = transport
        self.channel = transport.open()
        self.runs = RunServiceStub(self.channel)
        self.executor = ExecutorServiceStub(self.channel)
        self.trouble: PollinatorError | None = None
        self._learned = learned
        self._bringing_up = asyncio.Lock()
        self._heard = self._removed = False
        self._known, self._known_s = Executor(), 0.0
        self._step = ""

    @property
    def address(self) -> str:
        """How it is reached, for people."""
        return self.place.address

    @property
    def reach(self) -> Reach.ValueType:
        """How well it is reached, as far as is known without asking."""
        if isinstance(self.trouble, NotLoggedIn):
            return Reach.REACH_NEEDS_AUTH
        if self.trouble is not None:
            return Reach.REACH_UNREACHABLE
        if self._heard:
            return Reach.REACH_CONNECTED
        return Reach.REACH_CONNECTING if self._bringing_up.locked() else Reach.REACH_IDLE

    @property
    def near(self) -> bool:
        """It is on this machine and reaches every store that the daemon does."""
        return self.transport.near

    def blobs(self, project: str) -> PeerStore:
        """The executor's own store of a project; closed by the caller. Its calls block."""
        return PeerStore(self.transport.open_blocking(), project, self.place.name)

    async def describe(self, timeout_s: float = 2.0) -> Executor:
        """What the executor says about itself; raises Unavailable."""
        found = await self._told(timeout_s)
        found.name = self.place.name
        found.address = self.place.address
        found.reach = Reach.REACH_CONNECTED
        found.settings.update(self.place.settings)
        found.login.extend(self.transport.login())
        self._known, self._known_s = found, time.monotonic()
        return found

    def meant(self, error: grpc.aio.AioRpcError) -> PollinatorError:
        """What the executor said, with the name that it has here."""
        found = to_error(error)
        found.hint = with_name(found.hint, self.place.name)
        return found

    async def _told(self, timeout_s: float) -> Executor:
        """In its own words."""
        try:
            answer: DescribeResponse = await self.executor.Describe(DescribeRequest(), timeout=timeout_s)
        except grpc.aio.AioRpcError as error:
            raise to_error(error) from error
        if not self.place.kind:
            self.place = replace(self.place, kind=answer.executor.kind)
            self._learned()
        return answer.executor

    async def ensure(self, tell: Tell = silent) -> None:
        """Return once the executor answers, and bring up what is needed for that.

        Raises:
            NotLoggedIn: somebody has to log in first.
            PollinatorError: it does not come up.
        """

        def noted(step: str) -> None:
            self._step = step
            tell(step)

        async with self._bringing_up:
            if self._removed:
                raise WrongState(f"executor {self.place.name} was removed", reason="executor_missing")
            try:
                await self.transport.ensure(self, noted)
            except PollinatorError as error:
                self.trouble, self._heard = error, False
                raise
            self.trouble, self._heard = None, True

    async def configure(self, place: Place) -> None:
        """It has other settings, once it is reached."""
        async with self._bringing_up:
            self.place = place
            self.transport.configure(place)
            self._known_s = -FRESH_S

    async def remove(self, *, busy: bool) -> str:
        """Take away what it has had at its end, where nobody brings it up again; what stays there is said."""
        self._removed = True
        async with self._bringing_up:
            return await self.transport.remove(busy=busy)

    async def connect(self, tell: Tell) -> Executor:
        """Reach it now, for somebody who waits, and tell what is done.

        Raises:
            PollinatorError: it cannot be reached.
        """
        self.transport.hurry()
        await self.ensure(tell)
        found = await self.describe()
        deadline = time.monotonic() + CLUSTER_S
        while _is_asking_its_cluster(found) and time.monotonic() < deadline:
            await asyncio.sleep(0.1)
            found = await self.describe()
        return found

    def connected(self) -> bool:
        """The channel has been connected since somebody answered, as far as can be seen from here."""
        return self._heard and self.channel.get_state() is grpc.ChannelConnectivity.READY

    async def ask(self, timeout_s: float = 2.0) -> Executor | None:
        """What the one who answers says about itself, in its own words; None when nobody does."""
        try:
            return await self._told(timeout_s)
        except PollinatorError:
            return None

    async def look(self) -> Executor:
        """What is known of it, without bringing anything up."""
        if not self.near and self.connected() and time.monotonic() - self._known_s < FRESH_S:
            return self._known
        if self.transport.may_answer():
            with contextlib.suppress(PollinatorError):
                found = await self.describe()
                self.trouble, self._heard = None, True
                return found
        known = Executor(
            name=self.place.name,
            kind=self.place.kind,
            address=self.place.address,
            reach=self.reach,
            settings=self.place.settings,
            login=self.transport.login(),
        )
        if known.reach == Reach.REACH_CONNECTING:
            known.health_detail = self._step
        elif self.trouble is not None:
            known.health_detail = self.trouble.message
        elif known.reach == Reach.REACH_CONNECTED:
            known.reach, known.health_detail = Reach.REACH_UNREACHABLE, "it does not answer"
        else:
            known.health_detail = self.transport.idle
        if isinstance(self.trouble, NotLoggedIn):
            known.fix = self.trouble.fix
        return known

    async def close(self) -> None:
        """Drop the connection; the executor goes on."""
        await self.transport.close()
        await self.channel.close()


def _is_asking_its_cluster(executor: Executor) -> bool:
    """It has only just started. Who waits for it wants to see partitions."""
    return executor.kind == "slurm" and not executor.capabilities.HasField("cluster")
