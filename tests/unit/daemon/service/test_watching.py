"""WatchProject through a real socket: all of it first, then what changes, also after a cut."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import pytest

from pollinator.daemon.service import watching as under_test
from pollinator.v1.project_pb2 import Project, WatchProjectRequest, WatchProjectResponse
from pollinator.v1.project_pb2_grpc import ProjectServiceStub
from pollinator.v1.run_pb2 import Run, RunState, StartRunRequest
from pollinator.wire.errors import NotFound
from pollinator.wire.status import to_error
from support.opening import Place, Watcher
from support.scripted_executor import moved

PATIENCE_S = 20


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


class Client:
    """One call, read message by message."""

    def __init__(self, call: AsyncIterator[WatchProjectResponse]) -> None:
        self._call = call
        self.project = Project()
        self.cursor = ""

    async def message(self) -> WatchProjectResponse:
        async with asyncio.timeout(PATIENCE_S):
            message = await anext(self._call)
        self.project, self.cursor = message.project, message.cursor
        return message

    async def to_the_end(self) -> None:
        while True:
            await self.message()

    async def runs(self) -> list[str]:
        """Ids in the next message that has runs."""
        while not (message := await self.message()).runs:
            pass
        return [run.id for run in message.runs]


@asynccontextmanager
async def watching(
    stub: ProjectServiceStub, place: Place, *, runs: bool = True, cursor: str = "", limit: int = 0
) -> AsyncGenerator[Client]:
    request = WatchProjectRequest(root=str(place.root), runs=runs, cursor=cursor, limit=limit)
    call = stub.WatchProject(request, wait_for_ready=True)
    try:
        yield Client(aiter(call))
    finally:
        call.cancel()


def accept(daemon: Watcher, place: Place, name: str, *states: str, root: str = "") -> None:
    run = Run(id=name, request_id=name, root=root or str(place.root), attempt=1)
    daemon.log.accept(run, StartRunRequest())
    for state in states:
        daemon.log.append(name, moved(state))


async def test_without_runs_only_the_project_is_told(place: Place) -> None:
    async with place.daemon() as daemon, daemon.served() as stub:
        await daemon.projects.open(place.root, place.store("s"))
        accept(daemon, place, "a")
        async with watching(stub, place, runs=False) as client:
            first = await client.message()

    assert ("p", False, "") == (first.project.name, first.complete, first.cursor)
    assert not first.runs


async def test_the_first_message_has_the_newest_runs_and_all_that_go_on_and_none_of_other_projects(
    place: Place,
) -> None:
    async with place.daemon() as daemon, daemon.served() as stub:
        await daemon.projects.open(place.root, place.store("s"))
        accept(daemon, place, "a")
        for name in ("b", "c", "d"):
            accept(daemon, place, name, "FAILED")
        accept(daemon, place, "e", root="/elsewhere")
        async with watching(stub, place, limit=2) as client:
            first = await client.message()

    assert first.complete
    assert ["a", "c", "d"] == [run.id for run in first.runs]
    assert RunState.RUN_STATE_FAILED == first.runs[1].state


async def test_then_each_run_is_told_that_is_new_or_has_changed(place: Place) -> None:
    async with place.daemon() as daemon, daemon.served() as stub:
        await daemon.projects.open(place.root, place.store("s"))
        accept(daemon, place, "a")
        async with watching(stub, place) as client:
            told = [await client.runs()]
            accept(daemon, place, "b")
            told.append(await client.runs())
            daemon.log.append("a", moved("FAILED"))
            told.append(await client.runs())
            daemon.pins.ids.add("b")
            daemon.log.changes.note(str(place.root), "b")
            message = await client.message()
            while not message.runs:
                message = await client.message()

    assert [["a"], ["b"], ["a"]] == told
    assert [("b", True)] == [(run.id, run.pinned) for run in message.runs]
    assert not message.complete


async def test_with_its_cursor_a_client_hears_only_of_what_happened_meanwhile(place: Place) -> None:
    async with place.daemon() as daemon, daemon.served() as stub:
        await daemon.projects.open(place.root, place.store("s"))
        for name in ("a", "b"):
            accept(daemon, place, name)
        async with watching(stub, place) as client:
            await client.runs()
        accept(daemon, place, "c")
        daemon.log.append("a", moved("FAILED"))
        async with watching(stub, place, cursor=client.cursor) as again:
            first = await again.message()
        async with watching(stub, place, cursor=again.cursor) as once_more:
            nothing = await once_more.message()

    assert (False, ["a", "c"]) == (first.complete, [run.id for run in first.runs])
    assert (False, again.cursor) == (nothing.complete, nothing.cursor)
    assert not nothing.runs


async def test_much_that_happened_meanwhile_comes_in_several_messages(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(under_test, "AT_ONCE", 2)
    async with place.daemon() as daemon, daemon.served() as stub:
        await daemon.projects.open(place.root, place.store("s"))
        async with watching(stub, place) as client:
            await client.message()
        for name in ("e", "d", "c", "b", "a"):
            accept(daemon, place, name)
        told: list[list[str]] = []
        cursor = client.cursor
        for _ in range(3):
            async with watching(stub, place, cursor=cursor) as again:
                told.append(await again.runs())
                cursor = again.cursor

    assert [["d", "e"], ["b", "c"], ["a"]] == told


@pytest.mark.parametrize(
    "cursor", ["nonsense", "-", "0-1", "{life}-", "{life}-99", "{life}-\u0663", "{life}--1"]
)
async def test_a_cursor_that_this_daemon_never_gave_is_none(place: Place, cursor: str) -> None:
    async with place.daemon() as daemon, daemon.served() as stub:
        await daemon.projects.open(place.root, place.store("s"))
        accept(daemon, place, "a")
        life = daemon.log.changes.cursor(0).partition("-")[0]
        async with watching(stub, place, cursor=cursor.format(life=life)) as client:
            first = await client.message()

    assert (True, ["a"]) == (first.complete, [run.id for run in first.runs])


async def test_after_a_restart_all_is_told_once_more(place: Place) -> None:
    async with place.daemon() as daemon, daemon.served() as stub:
        await daemon.projects.open(place.root, place.store("s"))
        accept(daemon, place, "a", "FAILED")
        async with watching(stub, place) as client:
            await client.runs()
    async with (
        place.daemon() as daemon,
        daemon.served() as stub,
        watching(stub, place, cursor=client.cursor) as again,
    ):
        first = await again.message()

    assert (True, ["a"]) == (first.complete, [run.id for run in first.runs])


async def test_silence_is_broken_by_a_message_without_runs(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(under_test, "HEARTBEAT_S", 0.05)
    async with place.daemon() as daemon, daemon.served() as stub:
        await daemon.projects.open(place.root, place.store("s"))
        accept(daemon, place, "a")
        async with watching(stub, place) as client:
            await client.runs()
            messages = [await client.message() for _ in range(3)]

    assert [[], [], []] == [list(message.runs) for message in messages]


async def test_a_project_that_is_not_open_cannot_be_watched(place: Place) -> None:
    async with place.daemon() as daemon, daemon.served() as stub, watching(stub, place) as client:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await client.message()
    error = to_error(caught.value)

    assert isinstance(error, NotFound)
    assert "project_missing" == error.reason


async def test_a_project_that_is_closed_or_gets_another_store_is_told_at_once(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(under_test, "HEARTBEAT_S", 1000.0)
    async with place.daemon() as daemon, daemon.served() as stub:
        await daemon.projects.open(place.root, place.store("s"))
        async with watching(stub, place) as client:
            first = await client.message()
            await daemon.projects.open(place.root, place.store("t"))
            while client.project.store == first.project.store:
                await client.message()
            await daemon.close(place.root)
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await client.to_the_end()

    assert "project_missing" == to_error(caught.value).reason


async def test_what_is_saved_is_told_with_its_paths(place: Place) -> None:
    async with place.daemon() as daemon, daemon.served() as stub:
        await daemon.projects.open(place.root, place.store("s"))
        async with watching(stub, place) as client:
            first = await client.message()
            while not first.edits.number:
                first = await client.message()
            (place.root / "cfs/src/new.py").touch()
            message = await client.message()
            while not message.edits.paths:
                message = await client.message()

    assert [b"cfs/src/new.py"] == list(message.edits.paths)
    assert first.edits.number < message.edits.number


async def test_first_runs_that_are_too_large_for_one_message_come_in_several(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(under_test, "MESSAGE_BYTES", 1)
    async with place.daemon() as daemon, daemon.served() as stub:
        await daemon.projects.open(place.root, place.store("s"))
        for name in ("a", "b", "c"):
            accept(daemon, place, name)
        told: list[tuple[bool, list[str], bool]] = []
        async with watching(stub, place) as client:
            while not client.cursor:
                message = await client.message()
                told.append((message.complete, [run.id for run in message.runs], bool(message.cursor)))
        for name in ("b", "a"):
            daemon.log.append(name, moved("FAILED"))
        async with watching(stub, place, cursor=client.cursor) as again:
            later = [await again.runs(), await again.runs()]

    assert [(True, ["a"], False), (False, ["b"], False), (False, ["c"], True)] == told
    assert [["b"], ["a"]] == later
