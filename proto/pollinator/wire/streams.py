"""The client's side of WatchRun and WatchProject: streams that survive the server's restart."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from typing import Any, TypeVar

import grpc

from pollinator.v1.project_pb2 import WatchProjectRequest, WatchProjectResponse
from pollinator.v1.project_pb2_grpc import ProjectServiceStub
from pollinator.v1.run_pb2 import OutputOffset, WatchRunRequest, WatchRunResponse
from pollinator.v1.run_pb2_grpc import RunServiceStub
from pollinator.wire.errors import PollinatorError, Unavailable
from pollinator.wire.status import to_error

OnCut = Callable[[PollinatorError], Awaitable[None]]
Message = TypeVar("Message", WatchRunResponse, WatchProjectResponse)

SILENCE_S = 30.0
"""A server that is alive sends at least a heartbeat within this time."""


class _Cursor:
    """Where to go on after a cut."""

    def __init__(self, request: WatchRunRequest) -> None:
        self.request = WatchRunRequest()
        self.request.CopyFrom(request)
        self._offsets = {each.rank: each.offset for each in request.offsets}

    def next_request(self) -> WatchRunRequest:
        del self.request.offsets[:]
        for rank, offset in sorted(self._offsets.items()):
            self.request.offsets.append(OutputOffset(rank=rank, offset=offset))
        return self.request

    def note(self, message: WatchRunResponse) -> None:
        match message.WhichOneof("kind"):
            case "event":
                self.request.after_seq = message.event.seq
            case "output":
                self._offsets[message.output.rank] = message.output.offset + len(message.output.data)
            case "heartbeat":
                # All that was there has come: of a rank that is silent so far, nothing may be left out.
                self.request.tail_lines = 0
            case _:
                pass


async def follow_run(
    stub: RunServiceStub,
    request: WatchRunRequest,
    *,
    patience_s: float,
    on_cut: OnCut | None = None,
) -> AsyncGenerator[WatchRunResponse]:
    """Follow a run, going on by sequence number and offset after a cut: no gap, no repeat.

    The first message is the run as it is now, and another such message follows each cut. A stream that ends
    by itself has delivered everything.

    Args:
        stub: the daemon's or executor's service.
        request: from where on to follow.
        patience_s: how long without any word from the server until the error is raised.
        on_cut: awaited after each cut before the next try, for example to start the daemon again.

    Raises:
        PollinatorError: what the server said, or ``Unavailable`` after ``patience_s`` of silence.
    """
    cursor = _Cursor(request)

    def call() -> AsyncGenerator[WatchRunResponse]:
        return _messages(stub.WatchRun(cursor.next_request()), WatchRunResponse)

    async with aclosing(_going_on(call, patience_s, on_cut)) as messages:
        async for message in messages:
            cursor.note(message)
            yield message


async def follow_project(
    stub: ProjectServiceStub,
    request: WatchProjectRequest,
    *,
    patience_s: float,
    on_cut: OnCut | None = None,
) -> AsyncGenerator[WatchProjectResponse]:
    """Follow the state of a project, and with ``runs`` that of its runs, going on by cursor after a cut.

    No change of a run is missed. A message that is ``complete`` takes the place of all that was told before:
    the first one does, and any that comes from a daemon that does not know how far the one before had told.

    Args:
        stub: the daemon's service.
        request: which project, and from where on.
        patience_s: how long without any word from the daemon until the error is raised.
        on_cut: awaited after each cut before the next try.

    Raises:
        PollinatorError: what the daemon said, or ``Unavailable`` after ``patience_s`` of silence.
    """
    onward = WatchProjectRequest()
    onward.CopyFrom(request)

    def call() -> AsyncGenerator[WatchProjectResponse]:
        return _messages(stub.WatchProject(onward), WatchProjectResponse)

    async with aclosing(_going_on(call, patience_s, on_cut)) as messages:
        async for message in messages:
            onward.cursor = message.cursor or onward.cursor
            yield message


async def _going_on(
    call: Callable[[], AsyncGenerator[Message]], patience_s: float, on_cut: OnCut | None
) -> AsyncGenerator[Message]:
    """The messages of one call after another, until one ends by itself."""
    last_word = time.monotonic()
    pause_s = 0.02
    while True:
        try:
            async with aclosing(call()) as messages:
                async for message in messages:
                    yield message
                    # Only now: what the consumer does with it is no silence of the server.
                    last_word, pause_s = time.monotonic(), 0.02
            return
        except grpc.aio.AioRpcError as cut:
            error = to_error(cut)
        except TimeoutError:
            error = Unavailable(f"no word for {SILENCE_S:.0f} s", reason="silent")
        if not error.retryable or time.monotonic() - last_word > patience_s:
            raise error
        if on_cut is not None:
            await on_cut(error)
        await asyncio.sleep(pause_s)
        pause_s = min(1.0, pause_s * 2)


async def _messages(
    call: grpc.aio.UnaryStreamCall[Any, Message], kind: type[Message]
) -> AsyncGenerator[Message]:
    try:
        while True:
            async with asyncio.timeout(SILENCE_S):
                message = await call.read()
            if not isinstance(message, kind):
                return
            yield message
    finally:
        call.cancel()
