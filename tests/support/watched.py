"""Runs in memory that grow as a test says, behind the real WatchRun on a real socket that may be cut."""

from __future__ import annotations

import asyncio
import logging
import tempfile
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc

from pollinator.v1 import run_pb2_grpc
from pollinator.v1.run_pb2 import (
    Notice,
    Progress,
    Run,
    RunEvent,
    RunState,
    WatchRunRequest,
    WatchRunResponse,
)
from pollinator.v1.run_pb2_grpc import RunServiceStub
from pollinator.wire.channel import open_channel
from pollinator.wire.errors import NotFound
from pollinator.wire.serving import ErrorInterceptor, bind_unix, make_server
from pollinator.wire.watching import watch_run

RUN = "run1"


@dataclass
class GrowingRun:
    """A ``RunSource`` with one run."""

    state: RunState.ValueType = RunState.RUN_STATE_RUNNING
    log: list[RunEvent] = field(default_factory=list[RunEvent])
    output: dict[int, bytearray] = field(default_factory=dict[int, bytearray])
    complete: bool = True
    waits: list[float] = field(default_factory=list[float])
    """How long watchers were ready to sleep."""
    grown: asyncio.Event = field(default_factory=asyncio.Event)
    moving: Progress | None = None
    _version: int = 0

    def note(self, text: str = "") -> None:
        """Something happened."""
        self.log.append(RunEvent(seq=len(self.log) + 1, notice=Notice(text=text)))
        self._grow()

    def print(self, rank: int, data: bytes) -> None:
        """A rank printed something."""
        self.output.setdefault(rank, bytearray()).extend(data)
        self._grow()

    @property
    def printed(self) -> dict[int, bytes]:
        """All output by rank."""
        return {rank: bytes(data) for rank, data in self.output.items()}

    def move(self, progress: Progress | None) -> None:
        """Bytes are on their way, or no longer."""
        self.moving = progress
        self._grow()

    def end(self) -> None:
        """The run has ended and all is there."""
        self.state = RunState.RUN_STATE_SUCCEEDED
        self._grow()

    def _grow(self) -> None:
        self._version += 1
        self.grown.set()
        self.grown = asyncio.Event()

    def get(self, run_id: str) -> Run:
        if run_id != RUN:
            raise NotFound(f"there is no run {run_id}", reason="run_missing")
        return Run(id=RUN, state=self.state, last_seq=len(self.log))

    def events(self, run_id: str, after_seq: int) -> Sequence[RunEvent]:
        return self.log[after_seq:]

    def ranks(self, run_id: str) -> Sequence[int]:
        return sorted(self.output)

    def output_size(self, run_id: str, rank: int) -> int:
        return len(self.output.get(rank, b""))

    def read_output(self, run_id: str, rank: int, offset: int, limit: int) -> bytes:
        return bytes(self.output.get(rank, b"")[offset : offset + limit])

    def output_complete(self, run_id: str) -> bool:
        return self.complete

    def progress(self, run_id: str) -> Progress | None:
        return self.moving

    def version(self, run_id: str) -> int:
        return self._version

    async def changed(self, run_id: str, seen: int, timeout_s: float) -> None:
        self.waits.append(timeout_s)
        if self._version > seen:
            return
        try:
            async with asyncio.timeout(timeout_s):
                await self.grown.wait()
        except TimeoutError:
            return


class CutService(run_pb2_grpc.RunServiceServicer):
    """WatchRun of one run. Each entry of ``cuts`` breaks one call off after so many messages."""

    def __init__(self, run: GrowingRun, cuts: list[int]) -> None:
        self.run = run
        self.cuts = cuts
        self.requests: list[WatchRunRequest] = []
        self.code = grpc.StatusCode.UNAVAILABLE
        self.let_go = asyncio.Event()

    async def WatchRun(  # noqa: N802
        self, request: WatchRunRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> AsyncIterator[WatchRunResponse]:
        self.requests.append(request)
        left = self.cuts.pop(0) if self.cuts else -1
        try:
            async for message in watch_run(self.run, request):
                if left == 0:
                    await context.abort(self.code, "cut")
                left -= 1
                yield message
        finally:
            self.let_go.set()


class Proxy:
    """A socket before another one. Each entry of ``cuts`` breaks one connection after so many bytes."""

    def __init__(self, cuts: list[int]) -> None:
        self._cuts = cuts
        self._calls: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self._target = ""

    async def start(self, path: Path, target: Path) -> None:
        self._target = str(target)
        self._server = await asyncio.start_unix_server(self._accept, str(path))

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
        for call in self._calls:
            call.cancel()
        await asyncio.gather(*self._calls, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        call = asyncio.current_task()
        assert call is not None
        self._calls.add(call)
        left = self._cuts.pop(0) if self._cuts else None
        there, back = await asyncio.open_unix_connection(self._target)
        try:
            async with asyncio.TaskGroup() as group:
                up = group.create_task(_copy(reader, back, None))
                await _copy(there, writer, left)
                up.cancel()
        finally:
            self._calls.discard(call)
            for each in (writer, back):
                each.close()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, left: int | None) -> None:
    try:
        while data := await reader.read(4096):
            if left is not None and len(data) >= left:
                writer.write(data[:left])
                await writer.drain()
                return
            left = None if left is None else left - len(data)
            writer.write(data)
            await writer.drain()
    except ConnectionError:
        return


def taken(messages: list[WatchRunResponse]) -> tuple[list[int], dict[int, bytes]]:
    """Numbers of events and output by rank, as a client would put them together; fails on a gap or repeat."""
    events: list[int] = []
    output: dict[int, bytes] = {}
    for message in messages:
        match message.WhichOneof("kind"):
            case "event":
                events.append(message.event.seq)
            case "output":
                block = message.output
                have = output.setdefault(block.rank, b"")

                assert len(have) == block.offset
                output[block.rank] = have + block.data
            case _:
                pass
    return events, output


@dataclass
class Served:
    """A service on a socket of its own, and a client's stub."""

    service: CutService
    socket: Path
    stub: RunServiceStub
    server: grpc.aio.Server | None = None

    async def start(self) -> None:
        self.server = make_server(ErrorInterceptor(logging.getLogger(__name__)))
        run_pb2_grpc.add_RunServiceServicer_to_server(self.service, self.server)
        bind_unix(self.server, self.socket)
        await self.server.start()

    async def stop(self, grace_s: float = 0) -> None:
        if self.server is not None:
            await self.server.stop(grace_s)


@asynccontextmanager
async def serving(service: CutService, proxy: Proxy | None = None) -> AsyncGenerator[Served]:
    """Serve; calls go through the proxy if there is one."""
    with tempfile.TemporaryDirectory(prefix="pol-") as folder:
        socket, front = Path(folder, "s.sock"), Path(folder, "p.sock")
        if proxy:
            await proxy.start(front, socket)
        channel = open_channel(f"unix:{front if proxy else socket}")
        served = Served(service, socket, RunServiceStub(channel))
        await served.start()
        try:
            yield served
        finally:
            await channel.close()
            if proxy:
                await proxy.close()
            await served.stop()
