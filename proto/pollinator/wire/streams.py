"""The client's side of WatchRun: a stream that survives the server's restart."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing

import grpc

from pollinator.v1.run_pb2 import OutputOffset, WatchRunRequest, WatchRunResponse
from pollinator.v1.run_pb2_grpc import RunServiceStub
from pollinator.wire.errors import PollinatorError, Unavailable
from pollinator.wire.status import to_error

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
    on_cut: Callable[[PollinatorError], Awaitable[None]] | None = None,
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
    last_word = time.monotonic()
    pause_s = 0.02
    while True:
        try:
            async with aclosing(_messages(stub, cursor.next_request())) as messages:
                async for message in messages:
                    cursor.note(message)
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


async def _messages(stub: RunServiceStub, request: WatchRunRequest) -> AsyncGenerator[WatchRunResponse]:
    call = stub.WatchRun(request)
    try:
        while True:
            async with asyncio.timeout(SILENCE_S):
                message = await call.read()
            if not isinstance(message, WatchRunResponse):
                return
            yield message
    finally:
        call.cancel()
