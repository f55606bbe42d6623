"""The services of an executor, over a real socket."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable
from typing import Any

import grpc
import pytest

from pollinator.executors.base import Observation
from pollinator.v1.colony_pb2 import Colony
from pollinator.v1.executor_pb2 import DescribeRequest, ExplainRequest, PreflightRequest
from pollinator.v1.run_pb2 import (
    CancelRunRequest,
    GetRunRequest,
    ListRunsRequest,
    PendingReason,
    RunState,
    StartRunRequest,
)
from pollinator.v1.spec_pb2 import Gpu, RunSpec
from pollinator.wire.errors import PollinatorError
from pollinator.wire.status import to_error
from support.hosting import Host, Place, hosting, place

__all__ = ["place"]

QUEUED = RunState.RUN_STATE_QUEUED
SUCCEEDED = RunState.RUN_STATE_SUCCEEDED


async def refusal(call: Awaitable[object]) -> PollinatorError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return to_error(caught.value)


async def test_a_run_is_accepted_and_known(place: Place) -> None:
    request = place.request()
    async with hosting(place) as host:
        run = (await host.runs.StartRun(request)).run

        assert ("run1", "q-run1", "demo", "directed", 1) == (
            run.id,
            run.request_id,
            run.project,
            run.executor,
            run.attempt,
        )
        assert request.snapshot.spec == run.spec
        assert request.snapshot.snapshot == run.snapshot
        assert run.HasField("accept_time")
        assert "run1" == (await host.run("ru")).id
        await host.state(QUEUED)


async def test_asking_again_answers_with_the_same_run(place: Place) -> None:
    request = place.request()
    async with hosting(place) as host:
        first = (await host.runs.StartRun(request)).run
        await host.state(QUEUED)
        second = (await host.runs.StartRun(request)).run

    assert first.accept_time == second.accept_time
    async with hosting(place) as host:
        third = (await host.runs.StartRun(request)).run
        await host.state(QUEUED)
    assert first.accept_time == third.accept_time
    assert 1 == len(host.folders.all())


async def test_two_that_ask_at_once_start_one_run(place: Place) -> None:
    request = place.request()
    async with hosting(place) as host:
        answers = await asyncio.gather(*[host.runs.StartRun(request) for _ in range(8)])
        await host.state(QUEUED)

    assert 1 == len({answer.run.accept_time.ToNanoseconds() for answer in answers})
    assert ["run1"] == [run_id for run_id, _ in place.backend.submitted]


async def test_asking_again_for_a_run_that_has_ended_runs_nothing(place: Place) -> None:
    request = place.request()
    place.backend.end()
    async with hosting(place) as host:
        await host.runs.StartRun(request)
        await host.state(SUCCEEDED)
        answer = await host.runs.StartRun(request)

    assert SUCCEEDED == answer.run.state
    assert 1 == len(place.backend.submitted)


def without(request: StartRunRequest, what: str) -> StartRunRequest:
    match what:
        case "a run id":
            request.snapshot.run_id = ""
        case "a snapshot":
            request.snapshot.snapshot.key = ""
        case "a store":
            request.snapshot.ClearField("store")
        case _:
            request.snapshot.ClearField("spec")
    return request


@pytest.mark.parametrize("what", ["a run id", "a snapshot", "a store", "a spec"])
async def test_a_request_without_what_it_takes_is_refused(place: Place, what: str) -> None:
    request = without(place.request(), what)
    async with hosting(place) as host:
        error = await refusal(host.runs.StartRun(request))

    assert "source_incomplete" == error.reason
    assert [] == host.folders.all()


@pytest.mark.parametrize("run_id", ["../x", "a/b", "a b", ".", "a\0", "\u00e9", "a-b", "x" * 65])
async def test_an_id_that_could_be_a_path_is_refused(place: Place, run_id: str) -> None:
    request = place.request()
    request.snapshot.run_id = run_id
    async with hosting(place) as host:
        error = await refusal(host.runs.StartRun(request))

    assert "bad_run_id" == error.reason
    assert [] == list((place.root / "runs").iterdir())


@pytest.mark.parametrize(
    ("changes", "where"),
    [
        ({"nodes": 0}, "conditions.nodes"),
        ({"command": "a 'b"}, "environment.cmd"),
        ({"command": ""}, "environment.cmd"),
        ({"source": "../x"}, "environment.source"),
    ],
)
async def test_a_spec_that_cannot_be_meant_is_refused(
    place: Place, changes: dict[str, Any], where: str
) -> None:
    request = place.request(**changes)
    async with hosting(place) as host:
        for call in (
            host.runs.StartRun(request),
            host.about.Preflight(PreflightRequest(spec=request.snapshot.spec)),
        ):
            error = await refusal(call)

            assert [where] == [each.where for each in error.violations]
    assert [] == host.folders.all()


async def test_what_the_backend_refuses_leaves_no_run(place: Place) -> None:
    request = place.request()
    request.snapshot.spec.gpu.CopyFrom(Gpu(count=1))
    async with hosting(place) as host:
        error = await refusal(host.runs.StartRun(request))

    assert "cannot_run_here" == error.reason
    assert [] == list((place.root / "runs").iterdir())


async def test_preflight_says_what_will_be_different(place: Place) -> None:
    spec = RunSpec(project="p", command="a", nodes=1, processes_per_node=1, image="i")
    async with hosting(place) as host:
        answer = await host.about.Preflight(PreflightRequest(spec=spec))

    assert ["noted"] == [notice.code for notice in answer.notices]


@pytest.mark.parametrize(("colony", "codes"), [("", ["not_known_there"]), ("dev", [])])
async def test_a_place_means_something_in_a_colony_only(place: Place, colony: str, codes: list[str]) -> None:
    spec = RunSpec(project="p", command="a", nodes=1, processes_per_node=1, location="Lund")
    async with hosting(place) as host:
        answer = await host.about.Preflight(PreflightRequest(spec=spec, colony=Colony(name=colony)))

    assert codes == [notice.code for notice in answer.notices]


async def listed(host: Host, request: ListRunsRequest) -> list[list[str]]:
    """Ids on each page."""
    pages: list[list[str]] = []
    while True:
        answer = await host.runs.ListRuns(request)
        pages.append([run.id for run in answer.runs])
        if not answer.next_page_token:
            return pages
        request.page_token = answer.next_page_token


async def test_runs_are_listed_newest_first_in_pages(place: Place) -> None:
    async with hosting(place) as host:
        for number in range(5):
            await host.runs.StartRun(place.request(f"a{number}"))
        await host.runs.StartRun(place.request("b1"))

        assert [["b1", "a4"], ["a3", "a2"], ["a1", "a0"]] == await listed(host, ListRunsRequest(page_size=2))
        assert [["a4", "a3", "a2"], ["a1", "a0"]] == await listed(
            host, ListRunsRequest(page_size=3, id_prefix="a")
        )
        assert 6 == len((await listed(host, ListRunsRequest(active=True)))[0])
        place.backend.end()
        await host.until(lambda run: run.state == SUCCEEDED, "a0")
        assert "a0" not in (await listed(host, ListRunsRequest(active=True)))[0]


async def test_a_run_that_is_not_known_is_not_found(place: Place) -> None:
    async with hosting(place) as host:
        for call in (
            host.runs.GetRun(GetRunRequest(run_id="x")),
            host.runs.CancelRun(CancelRunRequest(run_id="x")),
            host.about.Explain(ExplainRequest(run_id="x")),
        ):
            assert "run_missing" == (await refusal(call)).reason


async def test_a_prefix_of_several_runs_is_refused(place: Place) -> None:
    async with hosting(place) as host:
        for run_id in ("aa1", "aa2"):
            await host.runs.StartRun(place.request(run_id))

        assert "run_ambiguous" == (await refusal(host.runs.CancelRun(CancelRunRequest(run_id="aa")))).reason


async def test_why_a_run_waits_is_explained(place: Place) -> None:
    place.backend.now = Observation(QUEUED, pending=PendingReason(code="cpu", text="no cores"))
    async with hosting(place) as host:
        await host.runs.StartRun(place.request())
        await host.until(lambda run: run.HasField("pending"))
        answer = await host.about.Explain(ExplainRequest(run_id="run1"))

        assert "no cores" == answer.pending.text
        place.backend.now = Observation(RunState.RUN_STATE_RUNNING)
        await host.state(RunState.RUN_STATE_RUNNING)
        answer = await host.about.Explain(ExplainRequest(run_id="run1"))
    assert not answer.HasField("pending")


async def test_the_executor_describes_itself_and_its_load(place: Place) -> None:
    async with hosting(place) as host:
        await host.runs.StartRun(place.request())
        about = (await host.about.Describe(DescribeRequest())).executor

    assert ("directed", "directed", True, 1, 1000) == (
        about.name,
        about.kind,
        about.healthy,
        about.active_runs,
        about.capabilities.cpu_millis,
    )
    assert about.version
    assert about.address.startswith("unix:")


@pytest.mark.parametrize("trouble", [OSError(28, "No space left"), KeyError("a defect")])
async def test_trouble_with_one_run_is_logged_and_met_again_and_harms_no_other(
    place: Place, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, trouble: Exception
) -> None:
    place.backend.trouble = [trouble, trouble]
    with caplog.at_level(logging.ERROR):
        async with hosting(place) as host:
            for run_id in ("run1", "run2"):
                await host.runs.StartRun(place.request(run_id))
            await host.state(QUEUED, "run1")
            await host.state(QUEUED, "run2")

    assert 2 == len([record for record in caplog.records if "trying again" in record.getMessage()])
