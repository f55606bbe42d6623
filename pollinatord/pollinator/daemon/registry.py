"""The executors this daemon knows, by name. How each is reached is in ``reach``."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

import grpc

from pollinator.chunks.blobs import PeerStore
from pollinator.daemon.reach.book import Book
from pollinator.daemon.reach.choose import Ways, check_change
from pollinator.daemon.reach.local import LocalProcess
from pollinator.daemon.reach.transport import NotLoggedIn, Place, Tell, Transport, silent
from pollinator.v1.executor_pb2 import DescribeRequest, DescribeResponse, Executor, Reach
from pollinator.v1.executor_pb2_grpc import ExecutorServiceStub
from pollinator.v1.run_pb2_grpc import RunServiceStub
from pollinator.wire import places
from pollinator.wire.errors import AlreadyExists, InvalidInput, PollinatorError, WrongState, with_name
from pollinator.wire.status import to_error

DEFAULT_EXECUTOR = "local"

FRESH_S = 10.0
"""So long a connected executor need not repeat what it said about itself, when it is far away."""
LOOK_S = 60.0
"""How often those that are far away are looked after while nobody asks for them."""
TROUBLED_S = 3.0
"""The same while one of them is out of reach; how often that costs anything is for its transport to say."""

CLUSTER_S = 5.0
"""How long to wait for what an executor that has just started is asking its cluster."""

_log = logging.getLogger(__name__)


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


async def _kept(link: ExecutorLink) -> None:
    before = link.trouble
    try:
        await link.ensure()
    except PollinatorError as error:
        if before is None or before.reason != error.reason:
            _log.warning("%s", error.message)
    except Exception:  # noqa: BLE001 - the root of one link: a defect it meets must not end the daemon
        _log.exception("executor %s", link.place.name)


class Registry:
    """All executors by name.

    Args:
        state: folder of their own in the daemon's.
        ssh: how ssh is called.
    """

    def __init__(self, state: Path, ssh: Sequence[str] = ("ssh",)) -> None:
        self._ways = Ways(ssh)
        self._book = Book(state / "executors.json")
        local = Place(
            DEFAULT_EXECUTOR, "local", f"unix:{places.runtime_dir() / 'executor-local.sock'}", {}, ""
        )
        socket = Path(local.address.removeprefix("unix:"))
        self._links = {local.name: self._link(local, LocalProcess(local, socket, state / "local"))}
        self._unusable: list[Place] = []
        self._came = asyncio.Event()
        for place in self._book.read():
            try:
                self._links[place.name] = self._link(place, self._ways.to(place))
            except InvalidInput as error:
                # Added by a newer version of this program, which will want it back.
                _log.error("executor %s cannot be used: %s", place.name, error.message)
                self._unusable.append(place)

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

    def add(self, name: str, address: str, kind: str, settings: Mapping[str, str]) -> ExecutorLink:
        """Remember an executor; it is not reached for that.

        Raises:
            InvalidInput: something cannot be meant.
            AlreadyExists: there is one of this name.
        """
        places.check_executor_name(name)
        if name in self._links:
            raise AlreadyExists(
                f"there is an executor {name} already",
                reason="executor_exists",
                hint=f"pollinator executors remove {name}",
            )
        place = Place(name, kind, address, dict(settings), secrets.token_hex(4))
        link = self._link(place, self._ways.to(place))
        self._links[name] = link
        self._save()
        self._came.set()
        return link

    async def configure(self, name: str, settings: Mapping[str, str], unset: Sequence[str]) -> ExecutorLink:
        """Change settings of an executor, whose runs go on; it is not reached for that.

        Raises:
            InvalidInput: there is none, something cannot be meant, or somebody else gives it its settings.
        """
        link = self._added(name)
        before = link.place.settings
        if missing := [each for each in unset if each not in before]:
            raise InvalidInput(
                f"executor {name} has no setting {missing[0]}",
                reason="bad_setting",
                hint=f"it has: {', '.join(before) or 'none'}",
            )
        check_change(link.place, [*settings, *unset])
        kept = {each: text for each, text in before.items() if each not in unset}
        place = replace(link.place, settings={**kept, **settings})
        self._ways.to(place)
        await link.configure(place)
        self._save()
        return link

    async def remove(self, name: str, *, busy: bool) -> str:
        """Forget an executor; what could not be taken away at its end is said.

        Args:
            name: its name.
            busy: runs of it go on.

        Raises:
            InvalidInput: there is none, or it is the one of this machine.
        """
        link = self._added(name)
        del self._links[name]
        self._save()
        left = await link.remove(busy=busy)
        await link.close()
        return left

    def _added(self, name: str) -> ExecutorLink:
        link = self.get(name)
        if link.place.name == DEFAULT_EXECUTOR:
            raise InvalidInput(f"executor {DEFAULT_EXECUTOR} belongs to this machine", reason="bad_name")
        return link

    async def look_after(self) -> NoReturn:
        """Keep connections that are far away open, so that no run has to wait for one."""
        looked_after = set[ExecutorLink]()
        first_s = 0.0
        async with asyncio.TaskGroup() as group:
            while True:
                far = {link for link in self._links.values() if not link.near}
                for link in far - looked_after:
                    # Each by itself: one that is dead holds up nobody else.
                    group.create_task(self._keep(link, first_s), name=f"connect {link.place.name}")
                looked_after = far
                # Who adds one connects to it, and is told the steps of that.
                first_s = LOOK_S
                self._came.clear()
                await self._came.wait()

    async def _keep(self, link: ExecutorLink, first_s: float) -> None:
        await asyncio.sleep(first_s)
        while self._links.get(link.place.name) is link:
            await _kept(link)
            await asyncio.sleep(LOOK_S if link.trouble is None else TROUBLED_S)

    async def close(self) -> None:
        """Drop all connections."""
        for link in self._links.values():
            await link.close()

    def _link(self, place: Place, transport: Transport) -> ExecutorLink:
        return ExecutorLink(place, transport, self._save)

    def _save(self) -> None:
        added = [link.place for name, link in self._links.items() if name != DEFAULT_EXECUTOR]
        self._book.write([*added, *self._unusable])
