"""Being told of a process over a websocket. Of the double, and of a real server if there is one."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from support.colonies.asking import Member, envelope, stranger
from support.colonies.playing import CANCELLED, FAILED, RUNNING, SUCCESS, WAITING, Play
from support.colonies.sites import Site

pytestmark = pytest.mark.integration

Socket = aiohttp.ClientWebSocketResponse


@pytest.fixture
def play(colony: Site) -> Play:
    return Play(colony)


@pytest.fixture
async def socket(colony: Site) -> AsyncIterator[Socket]:
    where = f"http://{colony.line.host}:{colony.line.port}/pubsub"
    async with aiohttp.ClientSession() as session, session.ws_connect(where) as line:
        yield line


async def subscribe(
    socket: Socket, play: Play, process_id: str, state: int, lasts_s: int = 20, by: Member | None = None
) -> None:
    fields = {
        "colonyname": play.site.name,
        "processid": process_id,
        "executortype": "",
        "state": state,
        "timeout": lasts_s,
    }
    await socket.send_str(envelope(by or play.user, "subscribeprocessmsg", fields))


async def told(socket: Socket) -> tuple[str, Any]:
    message = await socket.receive_str(timeout=20.0)
    outer = json.loads(message)
    return outer["payloadtype"], json.loads(base64.b64decode(outer["payload"]))


async def hear(socket: Socket, play: Play, process_id: str, state: int) -> None:
    """Subscribe, and make sure that this is known: of a state that is there already one is told at once."""
    await subscribe(socket, play, process_id, state)
    await subscribe(socket, play, process_id, (await asyncio.to_thread(play.get, process_id))["state"])
    await told(socket)


async def test_a_state_that_is_there_is_told_at_once(socket: Socket, play: Play) -> None:
    process_id = play.submit()
    await subscribe(socket, play, process_id, WAITING)
    kind, process = await told(socket)

    assert ("subscribeprocessmsg", process_id, WAITING) == (kind, process["processid"], process["state"])


@pytest.mark.parametrize("state", [RUNNING, SUCCESS, FAILED, CANCELLED])
async def test_a_state_is_told_when_it_comes(socket: Socket, play: Play, state: int) -> None:
    process_id = play.submit() if state == RUNNING else play.run()
    await hear(socket, play, process_id, state)
    ends = {SUCCESS: play.close, FAILED: play.fail, CANCELLED: play.cancel}
    if state == RUNNING:
        play.assign()
    else:
        ends[state](process_id)
    _, process = await told(socket)

    assert (process_id, state) == (process["processid"], process["state"])


async def test_of_success_one_is_told_without_the_output(socket: Socket, play: Play) -> None:
    process_id = play.run()
    await hear(socket, play, process_id, SUCCESS)
    play.close(process_id, "output")
    _, process = await told(socket)

    assert ([], True) == (process["out"], process["endtime"].startswith("0001-"))


async def test_of_success_of_a_function_that_is_known_one_is_told_all(socket: Socket, play: Play) -> None:
    fun = {"executorname": play.executor.name, "colonyname": play.site.name, "funcname": "execute"}
    play.site.line.ask(play.executor, "addfunctionmsg", fun=fun)
    process_id = play.run()
    await hear(socket, play, process_id, SUCCESS)
    play.close(process_id, "output")
    _, process = await told(socket)

    assert ["output"] == process["out"]


async def test_of_failure_one_is_told_all(socket: Socket, play: Play) -> None:
    process_id = play.run()
    await hear(socket, play, process_id, FAILED)
    play.fail(process_id, "why")
    _, process = await told(socket)

    assert (["why"], False) == (process["errors"], process["endtime"].startswith("0001-"))


async def test_of_another_end_one_is_not_told(socket: Socket, play: Play) -> None:
    process_id = play.run()
    await hear(socket, play, process_id, SUCCESS)
    play.fail(process_id, "why")
    await subscribe(socket, play, process_id, FAILED)
    _, process = await told(socket)

    assert FAILED == process["state"]


async def test_of_a_process_that_waits_again_one_is_told(socket: Socket, play: Play) -> None:
    process_id = play.run(maxexectime=1)
    await hear(socket, play, process_id, WAITING)
    _, process = await told(socket)

    assert (process_id, WAITING, False) == (process["processid"], process["state"], process["isassigned"])
    # As it was before, in this.
    assert (play.executor.identity, 0) == (process["assignedexecutorid"], process["retries"])


async def test_the_server_hangs_up_after_the_timeout(socket: Socket, play: Play) -> None:
    start = time.monotonic()
    await subscribe(socket, play, play.submit(), SUCCESS, lasts_s=1)
    message = await socket.receive(timeout=20.0)

    assert message.type in (aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.CLOSED, aiohttp.WSMsgType.ERROR)
    assert 0.9 < time.monotonic() - start < 10


async def test_strangers_are_told_as_well(socket: Socket, play: Play) -> None:
    process_id = play.submit()
    await subscribe(socket, play, process_id, WAITING, by=stranger())
    _, process = await told(socket)

    assert process_id == process["processid"]


async def test_a_process_that_is_not_there_is_refused(socket: Socket, play: Play) -> None:
    await subscribe(socket, play, "nosuch", WAITING)

    assert ("error", {"status": 403, "message": "Invalid process with Id nosuch"}) == await told(socket)


async def test_a_signature_that_is_none_ends_the_line(socket: Socket, play: Play) -> None:
    await socket.send_str(envelope(play.user, "subscribeprocessmsg", {}, signature="00"))
    message = await socket.receive(timeout=20.0)

    assert message.type is not aiohttp.WSMsgType.TEXT


async def test_executors_are_told_of_any_process_of_a_type(socket: Socket, play: Play) -> None:
    fields = {"colonyname": play.site.name, "executortype": play.kind, "state": WAITING, "timeout": 20}
    other = play.submit()
    await socket.send_str(envelope(play.executor, "subscribeprocessesmsg", fields))
    await subscribe(socket, play, other, WAITING)
    await told(socket)
    process_id = play.submit()
    _, process = await told(socket)

    assert process_id == process["processid"]


async def test_users_are_not_told_of_any_process(socket: Socket, play: Play) -> None:
    fields = {"colonyname": play.site.name, "executortype": play.kind, "state": WAITING, "timeout": 20}
    await socket.send_str(envelope(play.user, "subscribeprocessesmsg", fields))

    assert ("error", {"status": 403, "message": "executor not found"}) == await told(socket)
