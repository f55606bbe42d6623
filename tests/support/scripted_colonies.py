"""A server that answers calls of a Colonies client with the bytes that a test asks for."""

from __future__ import annotations

import asyncio
import base64
import json
import re
import socket
import ssl
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import pytest
from aiohttp import web

from pollinator.executors.colonies.rpc import Rpc
from pollinator.v1.colony_pb2 import Colony
from pollinator.wire.errors import PollinatorError

KEY = "6d2fb6f546bacfd98c68769e61e0b44a697a30596c018a50e28200aa59b01c0a"


def http(body: bytes, status: int = 200, headers: str = "") -> bytes:
    """A whole answer."""
    return f"HTTP/1.1 {status} X\r\nContent-Length: {len(body)}\r\n{headers}\r\n".encode() + body


def envelope(payload: Any, *, failed: bool = False) -> bytes:
    """What a server puts around a payload."""
    text = base64.b64encode(json.dumps(payload).encode()).decode()
    return json.dumps({"payloadtype": "x", "payload": text, "error": failed}).encode()


def said(payload: Any) -> bytes:
    return http(envelope(payload))


def refusal(status: int, message: str) -> bytes:
    return http(envelope({"status": status, "message": message}, failed=True), status)


CUT = b""
"""The line is cut instead."""
SILENT = b"silent"
"""It says nothing, and keeps the line."""

CLOSE = "Connection: close\r\n"
"""Header after which the line is closed."""


@dataclass
class Scripted:
    """One server, and what it was asked."""

    answers: list[bytes]
    port: int = 0
    asked: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    lines: int = 0
    """Connections that were made."""
    came: asyncio.Event = field(default_factory=asyncio.Event)
    """It was asked something."""
    ready: asyncio.Event = field(default_factory=asyncio.Event)
    """It answers; set, unless a test takes that away."""

    def __post_init__(self) -> None:
        self.ready.set()

    def colony(self, **fields: Any) -> Colony:
        """How to reach it."""
        return Colony(host="127.0.0.1", port=self.port, name="dev", private_key=KEY, **fields)

    def answer(self) -> bytes:
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.lines += 1
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                if found := re.search(r"(?i)content-length: (\d+)", head):
                    sent = json.loads(await reader.readexactly(int(found[1])))
                    self.asked.append(json.loads(base64.b64decode(sent["payload"])) | {"sent": sent})
                self.came.set()
                await self.ready.wait()
                answer = self.answer()
                if answer == SILENT:
                    await reader.read()
                if answer in (CUT, SILENT):
                    break
                writer.write(answer)
                await writer.drain()
                if CLOSE.encode() in answer:
                    break
        writer.close()


@asynccontextmanager
async def serving(*answers: bytes, tls: ssl.SSLContext | None = None) -> AsyncGenerator[Scripted]:
    """A server that gives these answers, one to each call; the last is repeated."""
    scripted = Scripted(list(answers))
    server = await asyncio.start_server(scripted.serve, "127.0.0.1", 0, ssl=tls)
    scripted.port = server.sockets[0].getsockname()[1]
    async with server:
        yield scripted


@dataclass
class Telling:
    """A server that tells of states over websockets: to each message the same, and then it waits."""

    told: list[bytes] = field(default_factory=list[bytes])
    cut: bool = False
    """Cut the line then."""
    lines: int = 0
    """Connections that were made."""
    asked: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    came: asyncio.Queue[object] = field(default_factory=asyncio.Queue[object])
    """Gets something for each message."""
    port: int = 0

    def colony(self) -> Colony:
        """How to reach it."""
        return Colony(host="127.0.0.1", port=self.port, name="dev", private_key=KEY)

    async def tell(self, request: web.Request) -> web.WebSocketResponse:
        self.lines += 1
        line = web.WebSocketResponse()
        await line.prepare(request)
        async for message in line:
            sent = json.loads(message.data)
            self.asked.append(json.loads(base64.b64decode(sent["payload"])))
            self.came.put_nowait(sent)
            for each in self.told:
                await line.send_str(each.decode())
            if self.cut and request.transport is not None:
                request.transport.abort()
        return line


@asynccontextmanager
async def telling_of_states() -> AsyncGenerator[Telling]:
    """Such a server."""
    server = Telling()
    app = web.Application()
    app.router.add_get("/pubsub", server.tell)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    server.port = runner.addresses[0][1]
    try:
        yield server
    finally:
        await runner.cleanup()


def closed_port() -> int:
    """A port at which nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


async def ask(colony: Colony, **how: Any) -> Any:
    """What one call gives."""
    async with Rpc(colony) as line:
        return await line.call("somemsg", {"processid": "p"}, **how)


async def failure(colony: Colony, **how: Any) -> PollinatorError:
    """Why one call fails."""
    with pytest.raises(PollinatorError) as caught:
        await ask(colony, **how)

    assert KEY not in f"{caught.value} {caught.value.hint}"
    return caught.value
