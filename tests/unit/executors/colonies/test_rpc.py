"""Calls over real sockets: what is sent, what is repeated, and what is said of every way it can go wrong."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import pytest

from pollinator.executors.colonies import rpc
from pollinator.executors.colonies.identity import Key
from pollinator.executors.colonies.refusals import Unanswered
from pollinator.executors.colonies.rpc import Rpc
from pollinator.v1.colony_pb2 import Colony
from pollinator.wire.errors import (
    Denied,
    Exhausted,
    InvalidInput,
    NotFound,
    PollinatorError,
    Unavailable,
)
from support.scripted_colonies import (
    CLOSE,
    CUT,
    KEY,
    SILENT,
    Telling,
    ask,
    closed_port,
    envelope,
    failure,
    http,
    refusal,
    said,
    serving,
    telling_of_states,
)

GARBAGE = {
    "nothing": http(b""),
    "text": http(b"hello"),
    "html": http(b"<html>502 Bad Gateway</html>", 502),
    "a number": http(b"7"),
    "a list": http(b"[]"),
    "no payload": http(b"{}"),
    "a payload of no text": http(b'{"payload": 7}'),
    "no base64": http(b'{"payload": "%%"}'),
    "no JSON in it": http(b'{"payload": "aGVsbG8="}'),
    "no text": http(b'{"payload": "\xff"}'),
    "half of it": http(envelope({"processid": "p"})[:-5]),
    "depth": http(b"[" * 100_000),
}


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pauses are short."""
    monkeypatch.setattr(rpc, "FIRST_PAUSE_S", 0.001)


async def test_a_call_is_signed_and_answered() -> None:
    async with serving(said({"processid": "p", "of": None})) as server:
        answer = await ask(server.colony())

    [asked] = server.asked
    assert {"processid": "p", "of": None} == answer
    assert {"msgtype": "somemsg", "processid": "p", "sent": asked["sent"]} == asked
    assert "somemsg" == asked["sent"]["payloadtype"]
    assert Key(KEY).sign(asked["sent"]["payload"].encode()) == asked["sent"]["signature"]


@pytest.mark.parametrize("payload", [None, [], {}, [1, "ä"], "text"])
async def test_any_payload_is_an_answer(payload: object) -> None:
    async with serving(said(payload)) as server:
        assert payload == await ask(server.colony())


async def test_one_connection_is_kept() -> None:
    async with serving(said({})) as server, Rpc(server.colony()) as line:
        for _ in range(5):
            await line.call("somemsg", {})

    assert (1, 5) == (server.lines, len(server.asked))


async def test_after_it_was_closed_a_line_is_opened_again() -> None:
    async with serving(said({})) as server, Rpc(server.colony()) as line:
        await line.call("somemsg", {})
        await line.close()
        await line.close()
        await line.call("somemsg", {})

    assert 2 == server.lines


async def test_of_two_answers_the_first_counts() -> None:
    first, second = ({"status": status, "message": "no such file"} for status in (404, 500))
    both = envelope(first, failed=True) + envelope(second, failed=True)
    async with serving(http(both, 404)) as server:
        error = await failure(server.colony())

    assert isinstance(error, NotFound)


async def test_text_that_is_none_is_refused_here() -> None:
    async with serving(said({})) as server, Rpc(server.colony()) as line:
        with pytest.raises(InvalidInput, match="udcff"):
            await line.call("somemsg", {"name": b"\xff".decode(errors="surrogateescape")})

    assert [] == server.asked


@pytest.mark.parametrize("name", GARBAGE)
async def test_garbage_may_mean_that_it_was_done(name: str) -> None:
    async with serving(GARBAGE[name]) as server:
        error = await failure(server.colony())

    assert (Unanswered, "colony_garbled") == (type(error), error.reason)
    assert "COLONIES_SERVER_PORT" in error.hint
    assert "COLONIES_TLS" in error.hint


@pytest.mark.parametrize(
    "answer", [CUT, f"HTTP/1.1 200 X\r\nContent-Length: 50\r\n{CLOSE}\r\nhalf".encode(), b"SSH-2.0-x\r\n\r\n"]
)
async def test_a_cut_line_may_mean_that_it_was_done(answer: bytes) -> None:
    async with serving(answer) as server:
        error = await failure(server.colony())

    assert (Unanswered, "colony_cut") == (type(error), error.reason)


async def test_silence_may_mean_that_it_was_done() -> None:
    async with serving(SILENT) as server:
        error = await failure(server.colony(), timeout_s=0.5)

    assert (Unanswered, "colony_silent") == (type(error), error.reason)
    assert "0.5 s" in error.message


async def test_where_nobody_listens_nothing_was_done() -> None:
    error = await failure(Colony(host="127.0.0.1", port=closed_port(), private_key=KEY))

    assert (Unavailable, "colony_down") == (type(error), error.reason)
    assert "Connection refused" in error.message


async def test_a_name_that_nobody_has_is_named() -> None:
    error = await failure(Colony(host="nobody.invalid", port=80, private_key=KEY))

    assert (Unavailable, "colony_down") == (type(error), error.reason)
    assert "nobody.invalid:80" in error.message


async def test_an_address_of_version_6_is_reached() -> None:
    error = await failure(Colony(host="::1", port=closed_port(), private_key=KEY))

    assert "[::1]:" in error.message
    assert "Connection refused" in error.message


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("bad", [CUT, refusal(500, "out of luck"), GARBAGE["html"]])
async def test_what_is_harmless_is_asked_again(bad: bytes) -> None:
    async with serving(bad, bad, bad, said({"a": 1})) as server:
        assert {"a": 1} == await ask(server.colony(), repeat=True)


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("bad", [CUT, refusal(500, "out of luck"), GARBAGE["html"]])
async def test_what_changes_something_is_asked_once(bad: bytes) -> None:
    async with serving(bad) as server:
        error = await failure(server.colony())

    assert isinstance(error, Unanswered)
    assert 1 == len(server.asked)


@pytest.mark.usefixtures("quick")
async def test_asking_again_ends() -> None:
    async with serving(CUT) as server:
        await failure(server.colony(), repeat=True)

    assert rpc.TRIES == len(server.asked)


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(("status", "kind"), [(403, Denied), (404, NotFound), (400, InvalidInput)])
async def test_a_refusal_is_final(status: int, kind: type[PollinatorError]) -> None:
    async with serving(refusal(status, "no")) as server:
        error = await failure(server.colony(), repeat=True)

    assert kind is type(error)
    assert 1 == len(server.asked)


async def test_all_tries_together_take_no_longer_than_allowed() -> None:
    started = asyncio.get_running_loop().time()
    async with serving(CUT, SILENT) as server:
        error = await failure(server.colony(), timeout_s=1.0, repeat=True)

    assert "colony_silent" == error.reason
    assert 2 == len(server.asked)
    assert 10 > asyncio.get_running_loop().time() - started


async def test_no_redirection_is_followed() -> None:
    async with serving(said({})) as other:
        away = http(b"", 307, f"Location: http://127.0.0.1:{other.port}/api\r\n")
        async with serving(away) as server:
            error = await failure(server.colony())

    assert "colony_garbled" == error.reason
    assert [] == other.asked


async def test_an_answer_without_end_is_not_read_to_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rpc, "MOST_BYTES", 1000)
    async with serving(http(b"x" * 100_000)) as server:
        error = await failure(server.colony(), repeat=True)

    assert isinstance(error, Exhausted)
    assert 1 == len(server.asked)


async def test_calls_take_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rpc, "MOST_CALLS", 2)
    async with serving(said({})) as server, Rpc(server.colony()) as line, asyncio.TaskGroup() as group:
        for _ in range(10):
            group.create_task(line.call("somemsg", {}))

    assert (2, 10) == (server.lines, len(server.asked))


# Over a websocket


@pytest.fixture
async def telling() -> AsyncIterator[Telling]:
    async with telling_of_states() as server:
        yield server


async def heard(colony: Colony) -> list[Any]:
    async with Rpc(colony) as line, aclosing(line.heard("somemsg", {"processid": "p"})) as payloads:
        return [payload async for payload in payloads]


async def test_what_is_told_is_heard_until_the_line_is_closed(telling: Telling) -> None:
    telling.told, telling.cut = [envelope({"state": 2}), envelope({"state": 3})], True

    assert [{"state": 2}, {"state": 3}] == await heard(telling.colony())
    assert ["somemsg"] == [each["msgtype"] for each in telling.asked]


async def test_a_refusal_is_heard_as_well(telling: Telling) -> None:
    telling.told = [envelope({"status": 403, "message": "Invalid process with Id p"}, failed=True)]

    with pytest.raises(NotFound):
        await heard(telling.colony())


@pytest.mark.parametrize("status", [400, 404, 502])
async def test_where_there_is_no_websocket_nothing_is_heard(status: int) -> None:
    async with serving(http(b"no", status)) as server:
        with pytest.raises(Unavailable) as caught:
            await heard(server.colony())

    assert "colony_down" == caught.value.reason
