"""Those who want to be told of a process, or of any of a type, over a websocket."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

from support.colonies.decoding import Unreadable, message, text, whole
from support.colonies.refusing import Refusal
from support.colonies.signals import Listener
from support.colonies.world import World

_MESSAGE = message(msgtype=text, processid=text, executortype=text, state=whole, timeout=whole)
_FAILED = {
    "subscribeprocessmsg": "Failed to subscribe to process, msg.msgType does not match rpcMsg.PayloadType",
    "subscribeprocessesmsg": (
        "Failed to subscribe to processes, msg.msgType does not match rpcMsg.PayloadType"
    ),
}


def subscribe(world: World, kind: str, caller: str, payload: str) -> AsyncIterator[Any] | None:
    """What one subscription gives until its time is over; None for what is not known, which gets no answer.

    A defect of the server: whoever knows the id of a process may subscribe to it.

    Raises:
        Refusal: it is refused.
    """
    if kind not in _FAILED:
        return None
    try:
        asked = _MESSAGE(json.loads(payload))
    except (ValueError, Unreadable):
        return None
    if asked["msgtype"] != kind:
        raise Refusal(403, _FAILED[kind])
    if kind == "subscribeprocessesmsg":
        if world.executor_by_id(caller) is None:
            raise Refusal(403, "executor not found")
        listener = world.signals.listen(asked["executortype"], asked["state"])
    else:
        process = world.processes.get(asked["processid"])
        if process is None:
            raise Refusal(403, f"Invalid process with Id {asked['processid']}")
        wanted = asked["executortype"] or process.spec["conditions"]["executortype"]
        listener = world.signals.listen(wanted, asked["state"], process.id)
        if process.state == asked["state"]:
            listener.told.put_nowait(world.shown(process))
    return _news(world, listener, asked["timeout"])


async def _news(world: World, listener: Listener, timeout_s: int) -> AsyncIterator[Any]:
    deadline = asyncio.get_running_loop().time() + timeout_s
    try:
        while True:
            try:
                async with asyncio.timeout_at(deadline):
                    process = await listener.told.get()
            except TimeoutError:
                return
            yield process
    finally:
        world.signals.leave(listener)
