"""A proxy in front of a real S3 server, which does what bad networks and bad servers do."""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Self


class Trouble(StrEnum):
    """What may happen to a request, or to its answer."""

    CUT_BEFORE = "the connection is cut before anything is sent on"
    CUT_REQUEST = "the connection is cut in the middle of the request"
    UNANSWERED = "the request takes effect and the connection is cut"
    CUT_ANSWER = "the connection is cut in the middle of the answer"
    DELAY = "the answer takes its time"
    STALL = "no answer comes, and the connection stays"
    STALL_ANSWER = "the answer stops in the middle, and the connection stays"
    INTERNAL = "500"
    BUSY = "503 with Retry-After"
    TOO_MANY = "429"
    TRUNCATED = "fewer bytes come than Content-Length says"
    SHORTER = "the answer and its Content-Length are too short"
    EMPTY = "the answer is a success without a body"
    FLIP_ANSWER = "one bit of the answer is another"
    FLIP_REQUEST = "one bit of what is stored is another"
    WRONG_RANGE = "the bytes beside those that were asked for"
    WHOLE = "all of the object instead of a range"
    NO_LENGTH = "no Content-Length: the end of the connection is the end of the answer"
    TWICE = "every header that may do so comes twice"
    BARE = "no header but Content-Length"
    GARBAGE = "the answer is no HTTP"


@dataclass(frozen=True)
class Message:
    """A request or an answer."""

    start: bytes
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes = b""

    @property
    def method(self) -> str:
        """Of a request."""
        return self.start.split(b" ")[0].decode()

    @property
    def path(self) -> str:
        """Of a request, with its query."""
        return self.start.split(b" ")[1].decode()

    def get(self, name: bytes) -> bytes:
        """The value of a header; empty when it is not there."""
        return next((value for each, value in self.headers if each.lower() == name), b"")

    def without(self, *names: bytes) -> Message:
        """The same without some headers."""
        return replace(self, headers=tuple(each for each in self.headers if each[0].lower() not in names))

    def having(self, name: bytes, value: bytes) -> Message:
        """The same with another value of a header."""
        kept = self.without(name.lower())
        return replace(kept, headers=(*kept.headers, (name, value)))

    def holding(self, body: bytes) -> Message:
        """The same with another body of its true length."""
        return replace(self.having(b"Content-Length", b"%d" % len(body)), body=body)

    @property
    def head(self) -> bytes:
        """As it is sent."""
        lines = [self.start, *(name + b": " + value for name, value in self.headers)]
        return b"\r\n".join([*lines, b"", b""])


Target = Callable[[Message], bool]


@dataclass
class Fault:
    """A trouble, the requests it meets, and how many of them."""

    trouble: Trouble
    target: Target
    left: float
    struck: int = 0


class FaultyProxy:
    """Serves on loopback, on a thread of its own. One request at a time goes over each connection."""

    def __init__(self, server: str) -> None:
        self._host, _, port = server.partition("://")[2].partition(":")
        self._server_port = int(port)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy")
        self._fault: Fault | None = None
        self._objects: dict[str, bytes] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self.port = 0

    def __enter__(self) -> Self:
        self._thread.start()
        self._listener = self._wait(asyncio.start_server(self._accepted, self._host, 0))
        self.port = self._listener.sockets[0].getsockname()[1]
        return self

    def __exit__(self, *_error: object) -> None:
        self._wait(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    @property
    def endpoint(self) -> str:
        """Stands for the server's."""
        return f"http://{self._host}:{self.port}"

    @contextmanager
    def making(self, trouble: Trouble, target: Target, times: float = float("inf")) -> Generator[Fault]:
        """Meanwhile so many of the requests that are ``target`` meet a trouble."""
        self._fault = Fault(trouble, target, times)
        try:
            yield self._fault
        finally:
            self._fault = None

    def _wait(self, work: object) -> asyncio.Server:
        assert asyncio.iscoroutine(work)
        found: asyncio.Server = asyncio.run_coroutine_threadsafe(work, self._loop).result(20)
        return found

    async def _end(self) -> None:
        self._listener.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        # Whoever hangs up is part of the play.
        with suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            while await self._served(reader, writer):
                pass
        writer.close()
        self._tasks.discard(task)

    async def _served(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Serve the next request; False when the connection is over."""
        request = _parse(await reader.readuntil(b"\r\n\r\n"))
        trouble = self._trouble(request)
        if trouble is Trouble.CUT_BEFORE:
            return _cut(writer)
        if request.get(b"expect"):
            writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        request = await _with_body(request.without(b"expect"), reader)
        if request.method == "PUT":
            self._objects[request.path] = request.body
        if trouble is Trouble.STALL:
            return not await reader.read(1)
        refused = _REFUSALS.get(trouble) if trouble else None
        answer = refused or await self._asked(request, trouble)
        if answer is None or trouble is Trouble.UNANSWERED:
            return _cut(writer)
        if trouble:
            return await self._troubled(request, answer, trouble, reader, writer)
        writer.write(answer.head + answer.body)
        await writer.drain()
        return True

    def _trouble(self, request: Message) -> Trouble | None:
        fault = self._fault
        if fault is None or fault.struck >= fault.left or not fault.target(request):
            return None
        fault.struck += 1
        return fault.trouble

    async def _asked(self, request: Message, trouble: Trouble | None) -> Message | None:
        """Ask the server; None when the request is cut on its way there."""
        reader, writer = await asyncio.open_connection(self._host, self._server_port)
        try:
            body = _flipped(request.body) if trouble is Trouble.FLIP_REQUEST else request.body
            message = request.having(b"Connection", b"close").head + body
            if trouble is Trouble.CUT_REQUEST:
                writer.write(message[: (len(message) + 1 - len(body) // 2)])
                await writer.drain()
                _cut(writer)
                return None
            writer.write(message)
            answer = _parse(await reader.readuntil(b"\r\n\r\n"))
            if request.method == "HEAD" or b" 204 " in answer.start:
                return answer.without(b"connection")
            return (await _with_body(answer, reader)).without(b"connection")
        finally:
            writer.close()

    async def _troubled(
        self,
        request: Message,
        answer: Message,
        trouble: Trouble,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> bool:
        """Send a spoilt answer."""
        match trouble:
            case Trouble.DELAY:
                await asyncio.sleep(0.1)
            case Trouble.CUT_ANSWER | Trouble.TRUNCATED | Trouble.STALL_ANSWER:
                message = answer.head + answer.body
                writer.write(message[: -(len(answer.body) // 2 or 2)])
                await writer.drain()
                if trouble is Trouble.STALL_ANSWER:
                    return not await reader.read(1)
                return trouble is Trouble.CUT_ANSWER and _cut(writer)
            case Trouble.NO_LENGTH:
                writer.write(answer.without(b"content-length").having(b"Connection", b"close").head)
                writer.write(answer.body)
                await writer.drain()
                return False
            case Trouble.GARBAGE:
                writer.write(b"\0\1\2 is no HTTP\r\n\r\n")
                await writer.drain()
                return False
            case Trouble.WHOLE if request.method == "GET":
                answer = answer.holding(self._objects.get(request.path, answer.body))
                answer = replace(answer.without(b"content-range"), start=b"HTTP/1.1 200 OK")
            case _:
                answer = _spoilt(answer, trouble)
        writer.write(answer.head + (b"" if request.method == "HEAD" else answer.body))
        await writer.drain()
        return True


def _refusal(status: bytes, code: bytes, *headers: tuple[bytes, bytes]) -> Message:
    body = b"<Error><Code>%s</Code><Message>no</Message></Error>" % code
    return Message(b"HTTP/1.1 " + status, headers).holding(body)


_REFUSALS = {
    Trouble.INTERNAL: _refusal(b"500 Internal Server Error", b"InternalError"),
    Trouble.BUSY: _refusal(b"503 Service Unavailable", b"SlowDown", (b"Retry-After", b"1")),
    Trouble.TOO_MANY: _refusal(b"429 Too Many Requests", b"TooManyRequests"),
}


def _spoilt(answer: Message, trouble: Trouble) -> Message:
    body = answer.body
    match trouble:
        case Trouble.SHORTER:
            return answer.holding(body[: len(body) // 2])
        case Trouble.EMPTY:
            return answer.holding(b"")
        case Trouble.FLIP_ANSWER:
            return replace(answer, body=_flipped(body))
        case Trouble.WRONG_RANGE:
            return replace(answer, body=body[1:] + body[:1])
        case Trouble.TWICE:
            return replace(
                answer, headers=answer.headers + answer.without(b"last-modified", b"content-length").headers
            )
        case Trouble.BARE:
            return Message(answer.start, ()).holding(body)
        case _:
            return answer


def _flipped(data: bytes) -> bytes:
    at = len(data) // 2
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :] if data else data


def _parse(head: bytes) -> Message:
    start, *lines = head.rstrip(b"\r\n").split(b"\r\n")
    return Message(
        start, tuple((name, value.strip()) for name, _, value in (each.partition(b":") for each in lines))
    )


async def _with_body(message: Message, reader: asyncio.StreamReader) -> Message:
    if message.get(b"transfer-encoding") == b"chunked":
        body = b""
        while size := int((await reader.readline()).strip(), 16):
            body += (await reader.readexactly(size + 2))[:-2]
        await reader.readline()
        return message.without(b"transfer-encoding").holding(body)
    length = message.get(b"content-length")
    if length:
        return replace(message, body=await reader.readexactly(int(length)))
    # An answer without a length ends with its connection.
    return message.holding(await reader.read()) if message.start.startswith(b"HTTP/") else message


def _cut(writer: asyncio.StreamWriter) -> bool:
    """Reset the connection as a failing network does; it is over."""
    found: socket.socket = writer.get_extra_info("socket")
    found.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
    return False
