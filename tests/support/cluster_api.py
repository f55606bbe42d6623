"""The API of a cluster as far as a line to it is concerned: who may ask, and answers that a test decides."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from aiohttp import WSMsgType, web

from pollinator.wire.certificates import Pair
from pollinator.wire.forwarding import PROTOCOL

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]
Talk = Callable[[web.WebSocketResponse], Awaitable[None]]


class Api:
    """What is asked is kept; who may ask is in ``tokens``, and everybody where that is empty."""

    def __init__(self) -> None:
        self.url = ""
        self.tokens = set[str]()
        self.asked: list[str] = []
        self.agents = set[str]()
        self.answers: dict[str, Answer] = {}
        self.talk: Talk | None = None
        self.sockets = set[web.WebSocketResponse]()
        self.refused = 0
        self.refusing = 0
        """With what status ports are refused, if they are."""

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answer one request."""
        self.asked.append(f"{request.method} {request.path_qs}")
        self.agents.add(request.headers.get("User-Agent", ""))
        token = request.headers.get("Authorization", "").removeprefix("Bearer ")
        if self.tokens and token not in self.tokens:
            self.refused += 1
            return said(401, "Unauthorized", reason="Unauthorized")
        if request.path.endswith("/portforward") and self.refusing:
            return said(self.refusing, "no")
        if request.path.endswith("/portforward"):
            return await self._forwarded(request)
        answer = self.answers.get(f"{request.method} {request.path}")
        return said(404, f"no {request.path}", reason="NotFound") if answer is None else await answer(request)

    async def _forwarded(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse(protocols=(PROTOCOL,))
        await socket.prepare(request)
        port = int(request.query["ports"]).to_bytes(2, "little")
        for channel in (b"\0", b"\1"):
            await socket.send_bytes(channel + port)
        assert self.talk is not None
        self.sockets.add(socket)
        try:
            await self.talk(socket)
        finally:
            self.sockets.discard(socket)
        return socket


def said(status: int, message: str, **more: object) -> web.Response:
    """A ``Status``, as servers refuse."""
    about = {"kind": "Status", "status": "Failure", "message": message, "code": status, **more}
    return web.json_response(about, status=status)


def gives(value: object) -> Answer:
    """Answer with JSON."""

    async def answer(request: web.Request) -> web.StreamResponse:
        return web.json_response(value)

    return answer


def streams(*parts: object) -> Answer:
    """Answer with one line of JSON after the other; bytes are sent as they are."""

    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        for each in parts:
            await response.write(each if isinstance(each, bytes) else json.dumps(each).encode() + b"\n")
        await response.write_eof()
        return response

    return answer


async def echo(socket: web.WebSocketResponse) -> None:
    """A port that gives back what it gets."""
    async for message in socket:
        if message.type is WSMsgType.BINARY:
            await socket.send_bytes(message.data)


def leads_to(port: int) -> Talk:
    """A port that is one of this machine."""

    async def talk(socket: web.WebSocketResponse) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)

        async def back() -> None:
            while data := await reader.read(65536):
                await socket.send_bytes(b"\0" + data)
            await socket.close()

        try:
            async with asyncio.TaskGroup() as group:
                task = group.create_task(back(), name="from a port")
                async for message in socket:
                    writer.write(message.data[1:])
                    await writer.drain()
                task.cancel()
        finally:
            writer.close()

    return talk


@asynccontextmanager
async def serving(
    pair: Pair | None = None, *, wants_certificate: bool = False, port: int = 0
) -> AsyncGenerator[Api]:
    """A server; with a pair over TLS."""
    api = Api()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", api.handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1, handler_cancellation=True)
    await runner.setup()
    context = None
    if pair is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pair.server.certificate, pair.server.key)
        context.load_verify_locations(pair.server.authority)
        context.verify_mode = ssl.CERT_REQUIRED if wants_certificate else ssl.CERT_NONE
    site = web.TCPSite(runner, "127.0.0.1", port, ssl_context=context)
    await site.start()
    host, port = runner.addresses[0][:2]
    api.url = f"{'https' if pair else 'http'}://{host}:{port}"
    try:
        yield api
    finally:
        await runner.cleanup()


def in_pod(folder: Path, api: Api, token: str, authority: str = "") -> dict[str, str]:
    """The account of a pod in a folder; returns the environment."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in (("token", token), ("ca.crt", authority), ("namespace", "of-the-pod")):
        (folder / name).write_text(text)
    host, port = api.url.rpartition("/")[2].split(":")
    return {"KUBERNETES_SERVICE_HOST": host, "KUBERNETES_SERVICE_PORT": port}
