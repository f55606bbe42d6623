"""What the client makes of answers that no good server gives, or gives only sometimes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from pollinator.executors.colonies import client as client_module
from pollinator.executors.colonies import rpc
from pollinator.executors.colonies.client import Client
from pollinator.executors.colonies.messages import ENDED, State
from pollinator.executors.colonies.refusals import Unanswered
from pollinator.wire.errors import Denied, NotFound, Unavailable
from support.scripted_colonies import (
    CUT,
    SILENT,
    Telling,
    envelope,
    http,
    refusal,
    said,
    serving,
    telling_of_states,
)

Method = Callable[[Client], Awaitable[object]]

FILES: list[Method] = [lambda client: client.file("/a", "b"), lambda client: client.file_by_id("f")]
OBJECTS: dict[str, Method] = {
    "submit": lambda client: client.submit({}),
    "process": lambda client: client.process("p"),
    "assign": lambda client: client.assign(-1),
    "add_file": lambda client: client.add_file({}),
    "create_snapshot": lambda client: client.create_snapshot("/a", "n"),
    "snapshot": lambda client: client.snapshot("s"),
}
CHANGES: list[Method] = [lambda client: client.add_log("p", "row"), lambda client: client.submit({})]
LISTS: dict[str, Method] = {
    "processes": lambda client: client.processes(State.WAITING),
    "logs": lambda client: client.logs("p"),
    "files": lambda client: client.files("/a"),
    "labels": lambda client: client.labels("/a"),
    "executors": lambda client: client.executors(),
}


async def told(method: Method, answer: bytes) -> object:
    """What a method makes of an answer."""
    async with serving(answer) as server:
        client = Client(server.colony())
        try:
            return await method(client)
        finally:
            await client.close()


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pauses are short."""
    monkeypatch.setattr(rpc, "FIRST_PAUSE_S", 0.001)


@pytest.mark.parametrize("method", OBJECTS)
@pytest.mark.parametrize("answer", [None, {}, [], "p", {"processid": None, "fileid": 7, "snapshotid": ""}])
async def test_an_answer_that_does_not_say_what_it_is_about_is_none(method: str, answer: object) -> None:
    with pytest.raises(Unanswered) as caught:
        await told(OBJECTS[method], said(answer))

    assert "colony_garbled" == caught.value.reason


@pytest.mark.parametrize("method", LISTS)
async def test_a_list_that_is_null_is_empty(method: str) -> None:
    assert [] == await told(LISTS[method], said(None))


@pytest.mark.parametrize("method", LISTS)
async def test_a_list_that_is_not_there_is_an_error(method: str) -> None:
    with pytest.raises(Unanswered):
        await told(LISTS[method], http(b""))


async def test_reading_is_repeated_and_submitting_is_not() -> None:
    for method, tries in (("process", rpc.TRIES), ("submit", 1), ("assign", 1), ("add_file", 1)):
        async with serving(CUT) as server:
            client = Client(server.colony())
            with pytest.raises(Unanswered):
                await OBJECTS[method](client)
            await client.close()

        assert (method, tries) == (method, len(server.asked))


@pytest.mark.parametrize(
    "answer",
    [
        refusal(404, "No process available for assignment"),
        refusal(408, "Assignment timeout: colony assignments are paused"),
    ],
)
async def test_when_there_is_no_work_none_is_taken(answer: bytes) -> None:
    assert await told(lambda client: client.assign(1), answer) is None


@pytest.mark.parametrize(
    "answer",
    [
        refusal(403, "Access denied, not member of colony"),
        refusal(500, "Failed to assign process, executor not found"),
    ],
)
async def test_who_may_not_work_is_told_so(answer: bytes) -> None:
    with pytest.raises(Denied):
        await told(lambda client: client.assign(1), answer)


async def test_waiting_for_work_takes_longer_than_the_server_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pollinator.executors.colonies.client.SLACK_S", 0.2)
    async with serving(SILENT) as server:
        client = Client(server.colony())
        with pytest.raises(Unanswered, match=r"for 1\.2 s"):
            await client.assign(1)
        with pytest.raises(Unanswered, match=r"for 0\.2 s"):
            await client.assign(-1)
        await client.close()

    assert [1, -1] == [each["timeout"] for each in server.asked]


async def test_labels_that_only_begin_alike_are_left_out() -> None:
    names = ["/pa", "/pa/b", "/pab", "/pa_", "/p", 7]
    found = await told(lambda client: client.labels("/pa"), said([{"name": name} for name in names]))

    assert ["/pa", "/pa/b"] == found


async def test_the_newest_of_several_revisions_is_taken() -> None:
    revisions = [{"fileid": f"f{number}", "sequencenr": number} for number in (2, 10, 9)]

    async with serving(said(revisions)) as server:
        client = Client(server.colony())
        assert "f10" == (await client.file("/a", "b")).id
        await client.close()


@pytest.mark.parametrize("method", FILES, ids=["by name", "by id"])
@pytest.mark.parametrize("answer", [said(None), said([]), said([None]), refusal(400, "Failed to get file")])
async def test_a_file_that_is_not_there_is_missing(method: Method, answer: bytes) -> None:
    with pytest.raises(NotFound) as caught:
        await told(method, answer)

    assert "colony_missing" == caught.value.reason


async def test_an_executor_is_registered_without_capabilities_where_none_are_given() -> None:
    async with serving(said({})) as server:
        client = Client(server.colony())
        await client.add_executor("identity", "name", "type")
        await client.add_executor("identity", "name", "type", {"software": []})
        await client.close()

    bare, full = (each["executor"] for each in server.asked)
    assert "capabilities" not in bare
    assert {"software": []} == full["capabilities"]


# Ends that are told


@pytest.fixture
async def telling() -> AsyncIterator[Telling]:
    async with telling_of_states() as server:
        yield server


@pytest.fixture
async def client(telling: Telling) -> AsyncIterator[Client]:
    client = Client(telling.colony())
    yield client
    await client.close()


async def test_an_end_is_told(telling: Telling, client: Client) -> None:
    telling.told = [envelope({"processid": "p", "state": 3})]

    assert await client.reached("p", ENDED, 20)
    assert len(ENDED) == telling.lines
    assert ENDED == {each["state"] for each in telling.asked}
    assert {"p"} == {each["processid"] for each in telling.asked}


async def test_other_states_are_no_end(telling: Telling, client: Client) -> None:
    telling.told = [envelope({"processid": "p", "state": state}) for state in (0, 1, 17)]

    assert not await client.reached("p", ENDED, 0.2)


async def test_no_end_is_told_when_there_is_none(client: Client) -> None:
    assert not await client.reached("p", ENDED, 0.1)


async def test_the_server_keeps_the_line_longer_than_we_wait(telling: Telling, client: Client) -> None:
    await client.reached("p", [State.SUCCESS], 0.1)

    assert [2] == [each["timeout"] for each in telling.asked]


async def test_a_cut_line_is_not_taken_for_silence(telling: Telling, client: Client) -> None:
    telling.cut = True

    with pytest.raises(Unavailable) as caught:
        await client.reached("p", ENDED, 20)

    assert "colony_cut" == caught.value.reason


async def test_a_process_that_is_none_is_missing(telling: Telling, client: Client) -> None:
    telling.told = [envelope({"status": 403, "message": "Invalid process with Id p"}, failed=True)]

    with pytest.raises(NotFound):
        await client.reached("p", ENDED, 20)


async def test_many_may_wait_beside_calls(telling: Telling, client: Client) -> None:
    count = rpc.MOST_CALLS + 4
    async with asyncio.timeout(20), asyncio.TaskGroup() as group:
        waiting = [group.create_task(client.reached(f"p{each}", [2], 10)) for each in range(count)]
        for _ in range(count):
            await telling.came.get()
        with pytest.raises(Unavailable):
            # The server has websockets alone, and says so at once.
            await client.version()
        for task in waiting:
            task.cancel()

    assert count == len({each["processid"] for each in telling.asked})


async def test_who_waits_can_be_cancelled(telling: Telling, client: Client) -> None:
    async with asyncio.TaskGroup() as group:
        waiting = group.create_task(client.reached("p", ENDED, 20))
        await telling.came.get()
        waiting.cancel()

    assert waiting.cancelled()


# Whoever is told to stop


async def asked(answer: Awaitable[object]) -> None:
    await answer


@pytest.mark.parametrize("method", CHANGES)
async def test_the_answer_to_what_changes_something_is_waited_for(method: Method) -> None:
    async with serving(said({"processid": "p"})) as server, asyncio.TaskGroup() as group:
        server.ready.clear()
        client = Client(server.colony())
        asking = group.create_task(asked(method(client)))
        await server.came.wait()
        asking.cancel()
        await asyncio.sleep(0.05)
        waited = not asking.done()
        server.ready.set()
        await asyncio.wait([asking])
        await client.version()
        await client.close()

    assert waited
    assert asking.cancelled()
    # Its line was not cut: it serves the next call.
    assert (1, 2) == (server.lines, len(server.asked))


async def test_a_server_that_is_silent_is_not_waited_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_module, "END_S", 0.05)
    async with serving(SILENT) as server, asyncio.TaskGroup() as group:
        client = Client(server.colony())
        adding = group.create_task(client.add_log("p", "row"))
        await server.came.wait()
        adding.cancel()
        async with asyncio.timeout(20):
            await asyncio.wait([adding])
        await client.close()

    assert adding.cancelled()


async def test_what_only_reads_is_left_at_once() -> None:
    async with serving(SILENT) as server, asyncio.TaskGroup() as group:
        client = Client(server.colony())
        reading = group.create_task(client.logs("p"))
        await server.came.wait()
        reading.cancel()
        async with asyncio.timeout(client_module.END_S / 2):
            await asyncio.wait([reading])
        await client.close()

    assert reading.cancelled()
