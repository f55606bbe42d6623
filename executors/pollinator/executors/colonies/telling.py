"""What a colony is told while a run goes on: what it prints, and where it runs."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Awaitable, Callable
from contextlib import aclosing

from pollinator.executors.colonies.client import Client
from pollinator.executors.colonies.ends import ATTEMPT, NODES, Piece
from pollinator.executors.colonies.errands import Errand, Row
from pollinator.executors.colonies.funcspec import OURS
from pollinator.executors.colonies.messages import one
from pollinator.executors.colonies.shipping import FULL_BYTES, MOST_BYTES, PACE_S, Rows, Shipper
from pollinator.executors.colonies.standing import Gone, Holding
from pollinator.v1.run_pb2 import OutputOffset, WatchRunRequest, WatchRunResponse
from pollinator.v1.run_pb2_grpc import RunServiceStub
from pollinator.wire.errors import AlreadyExists, Denied, InvalidInput, NotFound, PollinatorError
from pollinator.wire.streams import follow_run

AGAIN_S = 1.0
FULL_ROW_BYTES = MOST_BYTES // 2
MOST_REST_BYTES = 4 * 1024 * 1024
"""So much of what nobody could be told is left beside the results."""
WORDS = -1
"""In the place of a rank: what is said to whoever submitted the process, not printed by it."""
_log = logging.getLogger(__name__)


class Telling:
    """Tells of one run. Belongs to one event loop.

    Args:
        client: the colony.
        runs: the service that has the run.
        errand: of the process; how far this is stays there.
        keep: writes the errand down.
        holding: says whose the process is.
    """

    def __init__(
        self,
        client: Client,
        runs: RunServiceStub,
        errand: Errand,
        keep: Callable[[], None],
        holding: Holding,
    ) -> None:
        self._client = client
        self._runs = runs
        self._errand = errand
        self._holding = holding
        self._shipper = Shipper(client, errand, keep, holding)
        self._exact = OURS in one(errand.spec.get("kwargs"))
        self._rows = Rows(errand.offsets, exact=self._exact)
        self._news = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()
        self._wanted = True
        self._complete = False
        self._nodes = ""
        self._told = ""
        self._attempt = self._told_attempt = 1

    async def follow(self) -> None:
        """Tell all of it; returns once the run has ended and what it printed is in the log, or unwanted."""
        await self._tell(self._shipper.finish)
        # Only now it is known how far the log is.
        self._rows = Rows(self._errand.offsets, exact=self._exact)
        async with asyncio.TaskGroup() as group:
            group.create_task(self._tell(self._tell_all), name=f"tell {self._errand.run_id}")
            request = WatchRunRequest(run_id=self._errand.run_id, output=True, follow=True)
            for rank, offset in self._errand.offsets.items():
                if rank >= 0:
                    request.offsets.append(OutputOffset(rank=rank, offset=offset))
            async with aclosing(follow_run(self._runs, request, patience_s=math.inf)) as messages:
                async for message in messages:
                    await self._take(message)
            self._complete = True
            self._news.set()

    async def rest(self) -> tuple[dict[int, Piece], int]:
        """What is in no log of a run that has ended, by rank, and how many more bytes there are."""
        starts = {rank: offset for rank, offset in self._errand.offsets.items() if rank >= 0}
        request = WatchRunRequest(run_id=self._errand.run_id, output=True)
        request.offsets.extend(OutputOffset(rank=rank, offset=offset) for rank, offset in starts.items())
        room, lost = MOST_REST_BYTES, 0
        held: dict[int, bytearray] = {}
        try:
            async with aclosing(follow_run(self._runs, request, patience_s=math.inf)) as messages:
                async for message in messages:
                    if message.WhichOneof("kind") == "output":
                        data = message.output.data[:room]
                        held.setdefault(message.output.rank, bytearray()).extend(data)
                        room -= len(data)
                        lost += len(message.output.data) - len(data)
        except NotFound:
            # It was never started.
            return {}, 0
        return {rank: Piece(starts.get(rank, 0), bytes(data)) for rank, data in held.items()}, lost

    async def say(self, text: str) -> None:
        """Add a line of ours to the log, once.

        Raises:
            Gone: the process is not ours any more.
        """
        await self._shipper.finish()
        if WORDS not in self._errand.offsets:
            await self._shipper.ship(Row(WORDS, 0, 1, f"{text}\n"))

    async def attribute(self, key: str, value: str) -> None:
        """Set a variable of the process; the first value stays, as servers have it.

        Raises:
            Gone: the process is not ours any more.
        """
        while True:
            await self._holding.ours()
            try:
                await self._client.add_attribute(self._errand.process_id, key, value)
                return
            except (AlreadyExists, InvalidInput) as error:
                _log.debug("%s of %s is not set: %s", key, self._errand.process_id, error.message)
                return
            except Denied:
                await self._holding.refused()
            except PollinatorError as error:
                _log.debug("%s of %s is not set yet: %s", key, self._errand.process_id, error.message)
                await asyncio.sleep(AGAIN_S)

    async def _take(self, message: WatchRunResponse) -> None:
        match message.WhichOneof("kind"):
            case "event" if message.event.WhichOneof("kind") == "nodes_assigned":
                self._nodes = ",".join(message.event.nodes_assigned.nodes)
            case "event" if message.event.WhichOneof("kind") == "state_changed":
                self._attempt = max(self._attempt, message.event.state_changed.attempt)
            case "output" if self._wanted:
                block = message.output
                self._rows.add(block.rank, block.offset, block.data, time.monotonic())
            case _:
                return
        self._news.set()
        if self._wanted and self._rows.held_bytes > FULL_BYTES:
            # The rest waits on disk: who prints is never held up.
            self._room.clear()
        await self._room.wait()

    async def _tell(self, what: Callable[[], Awaitable[None]]) -> None:
        try:
            async with self._holding.unless_gone():
                await what()
        except Gone:
            _log.debug("nobody wants to hear of process %s any more", self._errand.process_id)
            self._wanted = False
            self._room.set()

    async def _tell_all(self) -> None:
        while True:
            self._news.clear()
            if self._nodes != self._told:
                self._told = self._nodes
                await self.attribute(NODES, self._nodes)
            while self._told_attempt < self._attempt:
                self._told_attempt += 1
                await self.attribute(f"{ATTEMPT}{self._told_attempt}", "")
            complete = self._complete
            row = self._rows.take(time.monotonic(), ended=complete)
            if row is not None:
                await self._shipper.ship(row)
                if self._rows.held_bytes <= FULL_BYTES:
                    self._room.set()
                # One that is full has nothing to wait for.
                await asyncio.sleep(PACE_S if row.end - row.start < FULL_ROW_BYTES else 0)
            elif complete:
                return
            else:
                await self._rest()

    async def _rest(self) -> None:
        """Until there is more, or a piece of a line has waited long enough."""
        try:
            async with asyncio.timeout(self._rows.due_s(time.monotonic())):
                await self._news.wait()
        except TimeoutError:
            return
