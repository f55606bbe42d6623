"""The server: messages over HTTP, subscriptions over websockets."""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
import ssl
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from aiohttp import WSMsgType, web

from support.colonies import files, logs, members, processes
from support.colonies.answers import KINDS
from support.colonies.decoding import Unreadable, message, text
from support.colonies.faults import Fault
from support.colonies.queue import PAUSE_STATUS, check_deadlines, remove_stale
from support.colonies.refusing import Refusal
from support.colonies.signing import signer
from support.colonies.subscriptions import subscribe
from support.colonies.world import World

_MODULES = (files, logs, members, processes)
"""They have added their answers."""
_ENVELOPE = message(payloadtype=text, payload=text, signature=text)
_UNSIGNED: dict[str, Any] = {
    "versionmsg": {"buildversion": "double", "buildtime": "", "msgtype": "versionmsg"},
    "getserverinfomsg": {"buildversion": "double", "buildtime": "", "backends": []},
}
_ASSIGN = "assignprocessmsg"
_DEADLINES_S = 1.0
_MOST_BYTES = 1 << 30
_REPLIES = {"getpausestatusmsg": PAUSE_STATUS}
"""Types of replies that are not that of the question."""
_NO_KEY = (
    "empty (this usually means the client is misconfigured - check that COLONIES_PRVKEY and other "
    "environment variables are set correctly)"
)


@dataclass(frozen=True)
class Asked:
    """A message that came in."""

    kind: str
    caller: str
    """Identity; empty where nobody signed."""


class Server:
    """Answers on one port of this machine. Belongs to one event loop."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.faults: list[Fault] = []
        self.asked: list[Asked] = []
        self.port = 0
        self._runner: web.AppRunner | None = None
        self._sweeps: list[asyncio.Task[None]] = []
        self._tasks: set[asyncio.Task[web.Response]] = set()

    async def start(self) -> None:
        """Begin to answer, on the port that it had before if it had one."""
        application = web.Application(client_max_size=_MOST_BYTES)
        application.router.add_post("/api", self._api)
        application.router.add_get("/health", self._health)
        application.router.add_get("/pubsub", self._pubsub)
        # As in Go: who goes away is not given a process any more.
        runner = web.AppRunner(
            application,
            handler_cancellation=True,
            access_log=None,
            shutdown_timeout=0.1,
            keepalive_timeout=3600,
        )
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", self.port, ssl_context=self._tls())
        await site.start()
        self.port = runner.addresses[0][1]
        self._runner = runner
        sweeps = ((self._deadlines, "deadlines"), (self._stale, "stale executors"))
        self._sweeps = [asyncio.get_running_loop().create_task(each(), name=name) for each, name in sweeps]

    async def stop(self) -> None:
        """Answer no more: every line is cut, and nothing else happens either."""
        runner, self._runner = self._runner, None
        under_way: list[asyncio.Task[Any]] = [*self._sweeps, *self._tasks]
        for each in under_way:
            each.cancel()
        await asyncio.gather(*under_way, return_exceptions=True)
        self._sweeps = []
        if runner is None:
            return
        for site in list(runner.sites):
            await site.stop()
        if runner.server is not None:
            for connection in list(runner.server.connections):
                if connection.transport is not None:
                    connection.transport.abort()
        await runner.cleanup()

    def _tls(self) -> ssl.SSLContext | None:
        certificate, key = self.world.settings.certificate, self.world.settings.key
        if not certificate:
            return None
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(certificate, key)
        return context

    async def _deadlines(self) -> None:
        while True:
            await asyncio.sleep(_DEADLINES_S)
            await check_deadlines(self.world)

    async def _stale(self) -> None:
        slept = 0.0
        while True:
            await asyncio.sleep(0.05)
            slept += 0.05
            if slept >= self.world.settings.sweep_s:
                slept = 0.0
                remove_stale(self.world)

    async def _health(self, request: web.Request) -> web.Response:
        return web.Response()

    async def _api(self, request: web.Request) -> web.StreamResponse:
        try:
            outer = _envelope(await request.text())
            kind, payload = outer["payloadtype"], outer["payload"]
            caller = "" if kind in _UNSIGNED else signer(payload, outer["signature"])
        except Refusal as refusal:
            return _refused(refusal)
        self.asked.append(Asked(kind, caller))
        fault = next((each for each in self.faults if each.hits(kind, caller)), None)
        work = self._done(request, fault, kind, caller, _decoded(payload))
        if kind == _ASSIGN:
            return await work
        # What was asked is done, also for those who do not wait for it.
        task = asyncio.get_running_loop().create_task(work, name=kind)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return await asyncio.shield(task)

    async def _done(
        self, request: web.Request, fault: Fault | None, kind: str, caller: str, payload: str
    ) -> web.Response:
        try:
            await self._before(request, fault)
            reply = await self._answered(kind, caller, payload)
        except Refusal as refusal:
            reply = _refused(refusal)
        await self._after(request, fault)
        return reply

    async def _before(self, request: web.Request, fault: Fault | None) -> None:
        match fault.how if fault else "":
            case "cut":
                _cut(request)
                raise Refusal(500, "nobody reads this")
            case "delay" if fault:
                await asyncio.sleep(fault.seconds)
            case "refuse" if fault:
                raise Refusal(fault.status, fault.text)
            case _:
                pass

    async def _after(self, request: web.Request, fault: Fault | None) -> None:
        match fault.how if fault else "":
            case "drop":
                _cut(request)
            case "late" if fault:
                await asyncio.sleep(fault.seconds)
            case _:
                pass

    async def _answered(self, kind: str, caller: str, payload: str) -> web.Response:
        if kind in _UNSIGNED:
            return _reply(kind, _UNSIGNED[kind])
        found = KINDS.get(kind)
        if found is None:
            raise Refusal(403, f"invalid rpcMsg.PayloadType: {kind or _NO_KEY}")
        answer = found.answer(self.world, caller, found.read(payload, kind))
        if asyncio.iscoroutine(answer):
            answer = await answer
        return _reply(_REPLIES.get(kind, kind), answer)

    async def _pubsub(self, request: web.Request) -> web.StreamResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        async with asyncio.TaskGroup() as group:
            subscriptions: list[asyncio.Task[None]] = []
            async for each in socket:
                if each.type is not WSMsgType.TEXT or not await self._subscribed(
                    request, socket, each.data, group, subscriptions
                ):
                    break
            for task in subscriptions:
                task.cancel()
        await socket.close()
        return socket

    async def _subscribed(
        self,
        request: web.Request,
        socket: web.WebSocketResponse,
        data: str,
        group: asyncio.TaskGroup,
        subscriptions: list[asyncio.Task[None]],
    ) -> bool:
        """Take one message; False ends the line."""
        try:
            outer = _envelope(data)
            caller = signer(outer["payload"], outer["signature"])
        except Refusal:
            # It is refused over HTTP, which this is no longer.
            return False
        kind = outer["payloadtype"]
        self.asked.append(Asked(kind, caller))
        fault = next((each for each in self.faults if each.hits(kind, caller)), None)
        if fault is not None and fault.how == "cut":
            _cut(request)
            return False
        if fault is not None and fault.how == "drop":
            return True
        try:
            news = subscribe(self.world, kind, caller, _decoded(outer["payload"]))
        except Refusal as refusal:
            await socket.send_str(_refused(refusal).text or "")
            return True
        if news is not None:
            subscriptions.append(group.create_task(_tell(socket, news), name=kind))
        return True


async def _tell(socket: web.WebSocketResponse, news: Any) -> None:
    with suppress(ConnectionError):
        async for process in news:
            await socket.send_str(_reply("subscribeprocessmsg", process).text or "")
        await socket.close()


def _cut(request: web.Request) -> None:
    if request.transport is not None:
        request.transport.abort()


def _envelope(body: str) -> Any:
    try:
        return _ENVELOPE(json.loads(body))
    except ValueError as error:
        raise Refusal(400, "unexpected end of JSON input") from error
    except Unreadable as error:
        raise Refusal(400, "json: cannot unmarshal") from error


def _decoded(payload: str) -> str:
    try:
        return base64.b64decode(payload, validate=True).decode(errors="replace")
    except binascii.Error:
        return ""


def _reply(kind: str, payload: Any) -> web.Response:
    return web.Response(text=_outer(kind, payload, error=False))


def _refused(refusal: Refusal) -> web.Response:
    once = _outer("error", {"status": refusal.status, "message": refusal.text}, error=True)
    return web.Response(status=refusal.status, text=once * (2 if refusal.twice else 1))


def _outer(kind: str, payload: Any, *, error: bool) -> str:
    inner = base64.b64encode(json.dumps(payload).encode()).decode()
    return json.dumps({"payloadtype": kind, "payload": inner, "error": error})
