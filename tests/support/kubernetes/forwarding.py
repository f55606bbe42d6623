"""Connections to ports of pods, through the API server: a websocket with a channel each way."""

from __future__ import annotations

import asyncio
import struct

from aiohttp import WSMsgType, web

from support.kubernetes.kinds import Obj
from support.kubernetes.refusals import bad_request

_PROTOCOL = "v4.channel.k8s.io"
_DATA, _ERROR = b"\0", b"\1"
_BLOCK = 1 << 15


async def forward(request: web.Request, pod: Obj) -> web.StreamResponse:
    """Carry bytes until one side ends.

    Raises:
        Refusal: it is asked for in another way than this one.
    """
    port = int(request.query.get("ports", "0"))
    if not port:
        raise bad_request("you must specify at least 1 port")
    if pod["status"].get("phase") != "Running":
        raise bad_request(
            f"unable to forward port because pod is not running. Current status={pod['status']['phase']}"
        )
    socket = web.WebSocketResponse(protocols=[_PROTOCOL], heartbeat=30.0)
    await socket.prepare(request)
    for channel in (_DATA, _ERROR):
        await socket.send_bytes(channel + struct.pack("<H", port))
    try:
        reader, writer = await asyncio.open_connection(pod["status"]["podIP"], port)
    except OSError as error:
        why = f"error forwarding port {port} to pod {pod['metadata']['uid']}: {error}"
        await socket.send_bytes(_ERROR + why.encode())
        await socket.close()
        return socket
    try:
        async with asyncio.TaskGroup() as group:
            back = group.create_task(_back(reader, socket), name="from a pod")
            await _there(socket, writer)
            back.cancel()
    finally:
        writer.close()
    return socket


async def _back(reader: asyncio.StreamReader, socket: web.WebSocketResponse) -> None:
    try:
        while data := await reader.read(_BLOCK):
            await socket.send_bytes(_DATA + data)
    except ConnectionError:
        pass
    await socket.close()


async def _there(socket: web.WebSocketResponse, writer: asyncio.StreamWriter) -> None:
    async for message in socket:
        if message.type is not WSMsgType.BINARY or message.data[:1] != _DATA:
            continue
        try:
            writer.write(message.data[1:])
            await writer.drain()
        except ConnectionError:
            return
