"""A Unix socket that leads to another one over a long and narrow line, and counts what passes."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path

BLOCK = 16 * 1024


class _Direction:
    """Bytes on their way: all connections share the rate, and each byte takes half a round trip."""

    def __init__(self, delay_s: float, rate: float) -> None:
        self._delay_s = delay_s
        self._rate = rate
        self._free_at = 0.0
        self.passed = 0

    async def carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Everything that comes, up to the end."""
        air: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()
        async with asyncio.TaskGroup() as group:
            group.create_task(self._arrive(air, writer))
            loop = asyncio.get_running_loop()
            while True:
                data = await reader.read(BLOCK)
                self.passed += len(data)
                self._free_at = max(self._free_at, loop.time()) + len(data) / self._rate
                air.put_nowait((self._free_at + self._delay_s, data))
                if not data:
                    return
                # The sender is held back as by a narrow line.
                await asyncio.sleep(max(0.0, self._free_at - loop.time()))

    @staticmethod
    async def _arrive(air: asyncio.Queue[tuple[float, bytes]], writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            while True:
                due, data = await air.get()
                await asyncio.sleep(max(0.0, due - asyncio.get_running_loop().time()))
                if not data:
                    writer.close()
                    return
                writer.write(data)
                await writer.drain()


class SlowLine:
    """The line.

    Args:
        socket: where it begins.
        target: where it leads.
        round_trip_s: how long an answer takes at least.
        rate: bytes in a second, each way.
    """

    def __init__(self, socket: Path, target: Path, round_trip_s: float, rate: float) -> None:
        self._target = target
        self._there = _Direction(round_trip_s / 2, rate)
        self._back = _Direction(round_trip_s / 2, rate)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._listen(socket), self._loop).result(10)

    @property
    def sent(self) -> int:
        """Bytes that went there."""
        return self._there.passed

    @property
    def received(self) -> int:
        """Bytes that came back."""
        return self._back.passed

    async def _listen(self, socket: Path) -> None:
        self._server = await asyncio.start_unix_server(self._serve, socket)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_unix_connection(self._target)
        # A task of asyncio's own, which would be told of an end by force.
        with suppress(ExceptionGroup, asyncio.CancelledError):
            async with asyncio.TaskGroup() as group:
                group.create_task(self._there.carry(reader, back))
                group.create_task(self._back.carry(there, writer))
        writer.close()
        back.close()

    def stop(self) -> None:
        """Cut it."""
        asyncio.run_coroutine_threadsafe(self._stop(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _stop(self) -> None:
        self._server.close()
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@contextmanager
def slow_line(socket: Path, target: Path, *, round_trip_s: float, rate: float) -> Generator[SlowLine]:
    """A line that is there for the length of the block."""
    made = SlowLine(socket, target, round_trip_s, rate)
    try:
        yield made
    finally:
        made.stop()
