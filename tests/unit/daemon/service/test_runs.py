"""RunService of the daemon: pages of runs, and what a follower hears while the files are sealed."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import grpc
import pytest

from pollinator.daemon.records import Records
from pollinator.daemon.runs.log import RunLog
from pollinator.daemon.runs.output import OutputFiles
from pollinator.daemon.runs.start import RunStarter
from pollinator.daemon.service import runs as under_test
from pollinator.daemon.service.runs import RunServicer
from pollinator.daemon.sync.projects import Projects
from pollinator.v1.run_pb2 import (
    CancelRunRequest,
    GetRunRequest,
    ListRunsRequest,
    Run,
    RunState,
    StartRunRequest,
    WatchRunRequest,
    WatchRunResponse,
)
from support.scripted_executor import Ticks, moved, open_records

CONTEXT = cast("grpc.aio.ServicerContext[object, object]", None)


@dataclass
class Sealing:
    """A project whose files are being sealed, so far."""

    progress: tuple[int, int] = (0, 0)

    @property
    def worker(self) -> Sealing:
        return self

    def get(self, root: str) -> Sealing:
        return self


class Service:
    """The service on a log of its own."""

    def __init__(self, records: Records, folder: Path) -> None:
        self.log = RunLog(records, OutputFiles(folder / "output"), Ticks())
        self.sealing = Sealing()
        self.pinned: set[str] = set()
        self.calls = RunServicer(
            self.log, cast("RunStarter", None), cast("Projects", self.sealing), lambda: self.pinned
        )

    def accept(self, name: str, *states: str) -> None:
        self.log.accept(Run(id=name, request_id=name, root="/p", attempt=1), StartRunRequest())
        for state in states:
            self.log.append(name, moved(state))

    def watch(self, name: str) -> AsyncGenerator[WatchRunResponse]:
        messages = self.calls.WatchRun(WatchRunRequest(run_id=name, follow=True), CONTEXT)
        return cast("AsyncGenerator[WatchRunResponse]", messages)

    async def first_word(self, name: str) -> WatchRunResponse:
        async with aclosing(self.watch(name)) as messages:
            return await anext(messages)


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    with open_records(tmp_path) as records:
        yield Service(records, tmp_path)


@pytest.mark.parametrize("size", [1, 2, 3, 7, 8])
async def test_pages_lead_through_all_runs_and_the_last_says_that_it_is_the_last(
    service: Service, size: int
) -> None:
    for number in range(7):
        service.accept(f"run{number}")
    pages: list[list[str]] = []
    request = ListRunsRequest(page_size=size)
    while True:
        answer = await service.calls.ListRuns(request, CONTEXT)
        pages.append([run.id for run in answer.runs])
        if not answer.next_page_token:
            break
        request.page_token = answer.next_page_token

    assert [f"run{number}" for number in reversed(range(7))] == [name for page in pages for name in page]
    assert -(-7 // size) == len(pages)


async def test_a_page_is_never_larger_than_the_server_likes(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(under_test, "MAX_PAGE", 2)
    for number in range(3):
        service.accept(f"run{number}")

    answer = await service.calls.ListRuns(ListRunsRequest(page_size=1 << 31), CONTEXT)

    assert (["run2", "run1"], "run1") == ([run.id for run in answer.runs], answer.next_page_token)


async def test_a_follower_hears_bytes_and_otherwise_that_the_daemon_lives_until_the_run_is_sealed(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(under_test, "HEARTBEAT_S", 0.0)
    service.accept("a", "SNAPSHOTTING")
    heard: list[str] = []
    async with aclosing(service.watch("a")) as messages:
        async for message in messages:
            kind = str(message.WhichOneof("kind"))
            heard += [kind] if kind not in heard else []
            if kind == "heartbeat":
                service.sealing.progress = (1, 2)
            if kind == "progress":
                service.log.append("a", moved("FAILED"))

    assert ["run", "heartbeat", "progress", "event"] == heard


async def test_a_run_that_ended_long_ago_is_told_at_once_and_as_a_whole(service: Service) -> None:
    service.accept("a", "SNAPSHOTTING", "FAILED")

    messages = [message async for message in service.watch("a")]

    assert RunState.RUN_STATE_FAILED == messages[0].run.state
    assert [1, 2, 3] == [message.event.seq for message in messages[1:]]


async def test_a_wish_to_cancel_is_recorded_once_and_changes_nothing_after_the_end(service: Service) -> None:
    service.accept("a", "SNAPSHOTTING")
    service.accept("b", "SNAPSHOTTING", "FAILED")

    for name in ("a", "a", "b"):
        await service.calls.CancelRun(CancelRunRequest(run_id=name), CONTEXT)

    kinds = {name: [event.WhichOneof("kind") for event in service.log.events(name, 0)] for name in "ab"}
    assert ["accepted", "state_changed", "cancel_requested"] == kinds["a"]
    assert ["accepted", "state_changed", "state_changed"] == kinds["b"]


async def test_a_run_that_is_ended_for_a_newer_one_is_told_as_such(service: Service) -> None:
    for name in ("a", "b"):
        service.accept(name, "SNAPSHOTTING")
        await service.calls.CancelRun(CancelRunRequest(run_id=name, superseded=name == "a"), CONTEXT)

    answer = await service.calls.ListRuns(ListRunsRequest(), CONTEXT)

    assert {"a": True, "b": False} == {run.id: run.superseded for run in answer.runs}


async def test_whether_a_run_is_pinned_is_told_wherever_it_is_told_of_and_never_recorded(
    service: Service,
) -> None:
    for name in ("a", "b"):
        service.accept(name, "SNAPSHOTTING")
    service.pinned.add("a")
    answers = {
        name: [
            (await service.calls.CancelRun(CancelRunRequest(run_id=name), CONTEXT)).run.pinned,
            (await service.calls.GetRun(GetRunRequest(run_id=name), CONTEXT)).run.pinned,
            (await service.first_word(name)).run.pinned,
        ]
        for name in "ab"
    }
    listed = (await service.calls.ListRuns(ListRunsRequest(), CONTEXT)).runs

    assert {"a": [True] * 3, "b": [False] * 3} == answers
    assert [("b", False), ("a", True)] == [(run.id, run.pinned) for run in listed]
    assert not service.log.append("a", moved("FAILED")).pinned
