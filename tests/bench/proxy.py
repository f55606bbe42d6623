"""A proxy before a server: adds latency, and counts requests and bytes of every client alike.

A process of its own, ``python -m bench.proxy PORT``, so that its work is nobody else's CPU time; with
``PORT HOST OWN`` for a server that does not speak HTTP, and an address of its own. It prints
its own port; each line on its standard input is a command, answered by a line of JSON: ``delay MS``
is the round trip that new connections get, ``counts`` tells what was counted. Bandwidth is not limited: what
comes in leaves half a round trip later, however much it is.
"""

from __future__ import annotations

import asyncio
import json
import socket
import sys
import time
from collections import Counter, deque

LOOPBACK = "127.0.0.1"
BLOCK = 256 * 1024
UNDER_WAY = 64 * 1024 * 1024
"""Most bytes that one connection has in the air: the window of a very good sender."""


class Tally:
    """What all connections did."""

    def __init__(self) -> None:
        self.round_trip_s = 0.0
        self.methods: Counter[str] = Counter()
        self.bodies = 0
        self.received = 0
        self.connections = 0
        self.puts_answered = 0
        self.put_answered_ns = 0
        self.turns = 0

    def shown(self) -> dict[str, object]:
        """As JSON has it."""
        return {
            "methods": dict(self.methods),
            "bodies": self.bodies,
            "received": self.received,
            "connections": self.connections,
            "puts_answered": self.puts_answered,
            "put_answered_ns": self.put_answered_ns,
            "turns": self.turns,
        }


class Requests:
    """Follows the requests of one connection: heads are read, bodies only counted."""

    def __init__(self, tally: Tally) -> None:
        self._tally = tally
        self._head = bytearray()
        self._body_left = 0
        self._method = ""

    def sent(self, data: memoryview) -> None:
        """The client sent this."""
        while data:
            if self._body_left:
                part = min(self._body_left, len(data))
                self._body_left -= part
                self._tally.bodies += part
                data = data[part:]
                continue
            before = len(self._head)
            self._head += data
            end = self._head.find(b"\r\n\r\n")
            if end < 0:
                return
            data = data[end + 4 - before :]
            self._begin(bytes(self._head[:end]))
            self._head.clear()

    def answered(self) -> None:
        """The server sent something: an answer, once all of the request was sent."""
        if self._method == "PUT" and not self._body_left:
            self._tally.puts_answered += 1
            self._tally.put_answered_ns = time.monotonic_ns()
            self._method = ""

    def _begin(self, head: bytes) -> None:
        self._method = head.partition(b" ")[0].decode("ascii", "replace")
        self._tally.methods[self._method] += 1
        for line in head.lower().split(b"\r\n"):
            if line.startswith(b"content-length:"):
                self._body_left = int(line[15:])


class Turns:
    """Follows a connection whose protocol is not known: counts how often an answer follows something sent."""

    def __init__(self, tally: Tally) -> None:
        self._tally = tally
        self._asked = False

    def sent(self, data: memoryview) -> None:
        """The client sent this."""
        self._tally.bodies += len(data)
        self._asked = True

    def answered(self) -> None:
        """The server sent something."""
        self._tally.turns += self._asked
        self._asked = False


class Late:
    """Bytes in the air: each leaves when its time has come."""

    def __init__(self, sink: socket.socket, delay_s: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._sink = sink
        self._delay_s = delay_s
        self._waiting: deque[tuple[float, bytes]] = deque()
        self._size = 0
        self._changed = asyncio.Event()
        self._taken = asyncio.Event()

    async def put(self, data: bytes) -> None:
        """Take bytes; an empty string is the end. Waits while too many are under way."""
        while self._size > UNDER_WAY:
            self._taken.clear()
            await self._taken.wait()
        self._size += len(data)
        self._waiting.append((self._loop.time() + self._delay_s, data))
        self._changed.set()

    async def deliver(self) -> None:
        """Send all, up to the end."""
        while True:
            while not self._waiting:
                self._changed.clear()
                await self._changed.wait()
            due, data = self._waiting.popleft()
            await asyncio.sleep(due - self._loop.time())
            if not data:
                return
            await self._loop.sock_sendall(self._sink, data)
            self._size -= len(data)
            self._taken.set()


class Connection:
    """One client's connection, and ours to the server for it."""

    def __init__(
        self, client: socket.socket, server: tuple[str, int], tally: Tally, requests: Requests | Turns
    ) -> None:
        self._client = client
        self._server = server
        self._tally = tally
        self._requests = requests
        self._loop = asyncio.get_running_loop()

    async def serve(self) -> None:
        """Until both sides have ended."""
        self._tally.connections += 1
        with self._client, socket.socket() as server:
            for each in (self._client, server):
                each.setblocking(False)
                each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            # The handshake takes a round trip as well.
            await asyncio.sleep(self._tally.round_trip_s)
            await self._loop.sock_connect(server, self._server)
            async with asyncio.TaskGroup() as both:
                both.create_task(self._carry(self._client, server, upwards=True))
                both.create_task(self._carry(server, self._client, upwards=False))

    async def _carry(self, source: socket.socket, sink: socket.socket, *, upwards: bool) -> None:
        try:
            if self._tally.round_trip_s:
                async with asyncio.TaskGroup() as both:
                    late = Late(sink, self._tally.round_trip_s / 2)
                    both.create_task(self._carry_late(source, late, upwards))
                    both.create_task(late.deliver())
            else:
                await self._carry_now(source, sink, upwards)
            sink.shutdown(socket.SHUT_WR)
        except* OSError:
            # One side broke off: the other must learn of it in both directions.
            for each in (source, sink):
                _end(each)

    async def _carry_now(self, source: socket.socket, sink: socket.socket, upwards: bool) -> None:
        block = memoryview(bytearray(BLOCK))
        while size := await self._loop.sock_recv_into(source, block):
            self._note(block[:size], upwards)
            await self._loop.sock_sendall(sink, block[:size])

    async def _carry_late(self, source: socket.socket, late: Late, upwards: bool) -> None:
        try:
            while data := await self._loop.sock_recv(source, BLOCK):
                self._note(memoryview(data), upwards)
                await late.put(data)
        finally:
            await late.put(b"")

    def _note(self, data: memoryview, upwards: bool) -> None:
        if upwards:
            self._requests.sent(data)
        else:
            self._tally.received += len(data)
            self._requests.answered()


def _end(end: socket.socket) -> None:
    try:
        end.shutdown(socket.SHUT_RDWR)
    except OSError:
        # It is not connected any more.
        return


async def obey(tally: Tally) -> None:
    """Answer commands until there are no more."""
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := await reader.readline():
        match line.decode().split():
            case ["delay", milliseconds]:
                tally.round_trip_s = float(milliseconds) / 1000
            case ["counts"]:
                pass
            case _:
                raise ValueError(f"no command: {line!r}")
        sys.stdout.write(json.dumps(tally.shown()) + "\n")
        sys.stdout.flush()


async def main(port: int, host: str = "", own: str = LOOPBACK) -> None:
    """Serve until standard input ends."""
    protocol = Turns if host else Requests
    tally = Tally()
    loop = asyncio.get_running_loop()
    with socket.create_server((own, 0), backlog=1024) as listener:
        listener.setblocking(False)
        sys.stdout.write(f"{listener.getsockname()[1]}\n")
        sys.stdout.flush()
        async with asyncio.TaskGroup() as tasks:
            accepting = tasks.create_task(
                _accept(tasks, loop, listener, (host or LOOPBACK, port), tally, protocol)
            )
            await obey(tally)
            accepting.cancel()


async def _accept(
    tasks: asyncio.TaskGroup,
    loop: asyncio.AbstractEventLoop,
    listener: socket.socket,
    server: tuple[str, int],
    tally: Tally,
    protocol: type[Requests | Turns],
) -> None:
    async with asyncio.TaskGroup() as connections:
        while True:
            client, _ = await loop.sock_accept(listener)
            connections.create_task(Connection(client, server, tally, protocol(tally)).serve())


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), *sys.argv[2:]))
