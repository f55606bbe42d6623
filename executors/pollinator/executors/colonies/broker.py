"""Serving a colony: taking its processes, as many at once as this executor should have.

One loop asks for work, all the time: that is also how the server knows that we live, so it goes on while
there is no place for more. What it is given goes to a task of its own at once; nothing that takes long, and
nothing that fails, is in the way of the next one. A process that comes again is the one that is in hand.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from dataclasses import dataclass

import grpc

from pollinator.executors.colonies.client import Client
from pollinator.executors.colonies.errands import Errand, is_id
from pollinator.executors.colonies.membership import Membership, join, look_around
from pollinator.executors.colonies.messages import Process
from pollinator.executors.colonies.serving import Desk, Served
from pollinator.v1.run_pb2 import GetRunRequest
from pollinator.wire.errors import PollinatorError
from pollinator.wire.faults import crash_point

RETRY_S = 2.0
RECOVER_S = 30.0
JUST_S = 60.0
LOOK_S = 60.0
"""How often to see who else there is."""
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Pace:
    """How often a server hears of us."""

    wait_s: int = 20
    """So long it may think about what to give us. Some servers drop who was silent for ten minutes."""
    company_s: int = 2
    """The same where others of our type wait as well. Of a new process a server tells one of those who wait
    for its type, whomever it is for; who it is for may not be told, and finds it when they ask again."""
    full_s: float = 20.0
    """So often it hears of us while there is no place for more."""
    first_pause_s: float = 0.5
    longest_pause_s: float = 15.0
    """After it did not answer."""


class Broker:
    """Takes work from one colony. Belongs to one event loop.

    Args:
        desk: what is shared by all that is in hand.
        member: who we are there.
        most: so many processes are taken at once.
        pace: how often the server hears of us.
    """

    def __init__(self, desk: Desk, member: Membership, most: int, pace: Pace) -> None:
        self._desk = desk
        self._client: Client = desk.client
        self._member = member
        self._most = most
        self._pace = pace
        self._hands: dict[str, Served] = {}
        self._again: dict[str, Process] = {}
        """Given to us anew while an earlier run of theirs is on its way out."""
        self._room = asyncio.Event()
        self._ended: dict[str, float] = {}
        """When processes left our hands: what was heard of them before does not count."""
        self._recover_at = 0.0
        self._look_at = float("-inf")
        self._in_company = False

    @property
    def count(self) -> int:
        """So many processes are in hand."""
        return len(self._hands)

    async def serve(self) -> None:
        """Go on with what is in hand, and take more; until cancelled."""
        async with asyncio.TaskGroup() as group:
            for errand in self._desk.errands.all():
                self._hold(errand, group)
            pause_s = self._pace.first_pause_s
            while True:
                try:
                    await join(self._client, self._member)
                    while True:
                        await self._recover(group)
                        await self._take(group)
                        pause_s = self._pace.first_pause_s
                except PollinatorError as error:
                    self._recover_at = 0.0
                    text = "\n".join(filter(None, (error.message, error.hint)))
                    _log.warning("no work from colony %s: %s", self._client.colony, text)
                except Exception:  # noqa: BLE001 - what happens here must not end the executor, and its runs' service
                    _log.exception("no work from colony %s: trying again", self._client.colony)
                await asyncio.sleep(pause_s)
                pause_s = min(2 * pause_s, self._pace.longest_pause_s)

    async def _recover(self, group: asyncio.TaskGroup) -> None:
        """Take in hand what was given to us and never arrived.

        Also while all seems well: a server gives work to whoever asked, long after that connection was cut.
        """
        now = time.monotonic()
        if now < self._recover_at:
            return
        for process in await self._client.assigned():
            if now > self._ended.get(process.id, -math.inf) + JUST_S:
                await self._given(process, group)
        self._ended = {each: at for each, at in self._ended.items() if now < at + JUST_S}
        self._recover_at = now + RECOVER_S

    async def _take(self, group: asyncio.TaskGroup) -> None:
        """Ask for a process once, and have it in hand."""
        if self._is_full():
            # Work that asks for nothing is given to us all the same: it waits here for its turn.
            process = await self._client.assign(-1, "0m", "0Mi")
        else:
            process = await self._client.assign(await self._wait_s())
        if process is not None:
            crash_point("after_colony_assigned")
            await self._given(process, group)
        elif self._is_full():
            self._room.clear()
            try:
                async with asyncio.timeout(self._pace.full_s):
                    await self._room.wait()
            except TimeoutError:
                return

    async def _wait_s(self) -> int:
        now = time.monotonic()
        if now >= self._look_at:
            self._look_at = now + LOOK_S
            self._in_company = await look_around(self._client, self._member)
        return min(self._pace.wait_s, self._pace.company_s) if self._in_company else self._pace.wait_s

    def _is_full(self) -> bool:
        """There is no place; one that is in the server's queue again has to be given back to us first."""
        waiting = any(not each.holding.is_ours and not each.holding.gone for each in self._hands.values())
        return len(self._hands) >= self._most and not waiting

    async def _given(self, process: Process, group: asyncio.TaskGroup) -> None:
        if not is_id(process.id):
            _log.error("the server gives us a process with the id %r", process.id)
            return
        known = self._hands.get(process.id)
        if known is None:
            generation = await self._generation(process.id)
            errand = Errand(process.id, process.spec, process.initiator, generation)
            self._desk.errands.keep(errand)
            crash_point("after_colony_kept")
            self._hold(errand, group)
        elif known.holding.gone:
            self._again[process.id] = process
        else:
            known.holding.given()

    async def _generation(self, process_id: str) -> int:
        """Which run of a process is the next: those before were given up."""
        errand = Errand(process_id, {})
        while True:
            try:
                answer = await self._desk.runs.GetRun(GetRunRequest(run_id=errand.run_id), timeout=60.0)
            except grpc.aio.AioRpcError as cut:
                if cut.code() is grpc.StatusCode.NOT_FOUND:
                    return errand.generation
                await asyncio.sleep(RETRY_S)
                continue
            if answer.run.id != errand.run_id:
                return errand.generation
            errand.generation += 1

    def _hold(self, errand: Errand, group: asyncio.TaskGroup) -> None:
        _log.info("process %s is in hand", errand.process_id)
        served = Served(self._desk, errand)
        self._hands[errand.process_id] = served
        group.create_task(self._see_through(served, group), name=f"process {errand.run_id}")

    async def _see_through(self, served: Served, group: asyncio.TaskGroup) -> None:
        process_id = served.errand.process_id
        while True:
            try:
                await served.serve()
                break
            except Exception:  # noqa: BLE001 - the root of one process: a defect it meets must not end the others
                _log.exception("process %s: trying again", process_id)
            await asyncio.sleep(RETRY_S)
            served = Served(self._desk, served.errand)
            self._hands[process_id] = served
        del self._hands[process_id]
        self._ended[process_id] = time.monotonic()
        self._room.set()
        if (again := self._again.pop(process_id, None)) is not None:
            await self._given(again, group)
