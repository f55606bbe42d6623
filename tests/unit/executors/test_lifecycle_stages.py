"""The life of a run at a backend that has files of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from dataclasses import dataclass, field

import grpc
import pytest

from pollinator.chunks.capture import capture
from pollinator.chunks.keeping import read_lease
from pollinator.chunks.read import SnapshotReader
from pollinator.chunks.store import Store
from pollinator.executors.base import Fetched, Job, Observation, Tell
from pollinator.v1.colony_pb2 import Colony
from pollinator.v1.executor_pb2 import PreflightRequest
from pollinator.v1.run_pb2 import Notice, Outcome, OutcomeReason, RunState, StartRunRequest
from pollinator.v1.spec_pb2 import RunSpec
from pollinator.v1.tree_pb2 import SnapshotRef
from pollinator.wire.errors import Denied, InvalidInput, PollinatorError, Unavailable
from support.hosting import Directed, Place, cancel, gone, hosting, place, reason

__all__ = ["place"]

KEY = "c" * 64
QUEUED = RunState.RUN_STATE_QUEUED
FAILED = RunState.RUN_STATE_FAILED
CANCELLED = RunState.RUN_STATE_CANCELLED
SUCCEEDED = RunState.RUN_STATE_SUCCEEDED


@dataclass(eq=False)
class Staging(Directed):
    """It takes files where only it knows, and brings back what a test says."""

    stages = True
    staged: list[list[bytes]] = field(default_factory=list[list[bytes]])
    staging: list[PollinatorError] = field(default_factory=list[PollinatorError])
    """Raised when it is asked to, one each."""
    fetching: list[PollinatorError] = field(default_factory=list[PollinatorError])
    stored: SnapshotRef | None = None
    """Where results are already."""
    surveyed: list[tuple[str, list[str]]] = field(default_factory=list[tuple[str, list[str]]])
    held: asyncio.Event | None = None

    def __post_init__(self) -> None:
        super().__init__()

    async def survey(self, spec: RunSpec, colony: Colony, secrets: Collection[str]) -> list[Notice]:
        self.surveyed.append((colony.name, list(secrets)))
        if colony.name == "wrong":
            raise InvalidInput("nobody there can run it", reason="cannot_run_here")
        await asyncio.sleep(0)
        return [Notice(code="surveyed")]

    async def stage(self, job: Job, store: Store, tell: Tell) -> list[Notice]:
        if self.staging:
            raise self.staging.pop(0)
        while self.held is not None:
            tell(1)
            await asyncio.sleep(0.001)
        reader = SnapshotReader(store)
        snapshot = reader.open(job.source.snapshot)
        self.staged.append([path for path, _ in reader.walk(snapshot.src)])
        return [Notice(code="not_sent", text="a link")]

    async def fetch(self, job: Job, tell: Tell) -> Fetched:
        if self.fetching:
            raise self.fetching.pop(0)
        assert KEY == job.source.colony.private_key
        if self.stored is None:
            (job.work / "result" / "r.txt").write_text("fetched")
        return Fetched(self.stored, [Notice(code="not_collected", text="x")] if self.stored else [])


@pytest.fixture
def staging(place: Place) -> Staging:
    place.backend = Staging()
    return place.backend


def request_of(place: Place, colony: str = "dev") -> StartRunRequest:
    request = place.request(src={b"main.py": b"x"})
    request.snapshot.colony.CopyFrom(Colony(name=colony, private_key=KEY))
    return request


def files_with_the_key(place: Place) -> list[str]:
    files = [path for path in place.folder().rglob("*") if path.is_file()]
    return [path.name for path in files if KEY.encode() in path.read_bytes()]


async def test_its_files_are_staged_and_not_laid_out_and_its_results_fetched(
    place: Place, staging: Staging
) -> None:
    async with hosting(place) as host:
        await host.runs.StartRun(request_of(place))
        await host.state(QUEUED)
        laid_out = sorted(path.name for path in (place.folder() / "work").iterdir())
        holding = files_with_the_key(place)
        staging.end()
        run = await host.state(SUCCEEDED)
        await gone(place.folder() / "work")

    assert [[b"main.py"]] == staging.staged
    assert ["result"] == laid_out
    assert ["a link"] == [notice.text for notice in run.notices]
    result = SnapshotReader(place.store).open(run.result).result
    assert (1, len("fetched")) == (result.files, result.bytes)
    assert (["private.pb"], []) == (holding, files_with_the_key(place))


async def test_results_that_are_in_the_store_are_not_stored_again(
    place: Place, staging: Staging, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("result")
    (folder / "there").write_text("there")
    staging.stored = capture(folder, place.store).ref
    async with hosting(place) as host:
        await host.runs.StartRun(request_of(place))
        await host.state(QUEUED)
        staging.end(3)
        run = await host.state(FAILED)

    assert (staging.stored, 3) == (run.result, run.outcome.exit_code)
    assert "not_collected" == run.notices[-1].code
    assert staging.stored == read_lease(place.store, "l/run1").result


async def test_what_does_not_answer_is_waited_for(place: Place, staging: Staging) -> None:
    down = Unavailable("the colony does not answer", reason="colony_down")
    staging.staging, staging.fetching = [down], [down]
    async with hosting(place) as host:
        await host.runs.StartRun(request_of(place))
        await host.state(QUEUED)
        staging.end()
        run = await host.state(SUCCEEDED)

    assert ["backend_unreachable", "not_sent", "backend_unreachable"] == [each.code for each in run.notices]


async def test_files_that_cannot_be_staged_are_why_a_run_fails(place: Place, staging: Staging) -> None:
    staging.staging = [Denied("no member", reason="colony_denied", hint="see COLONIES_PRVKEY")]
    async with hosting(place) as host:
        await host.runs.StartRun(request_of(place))
        run = await host.state(FAILED)

    assert ("MATERIALISE", "no member\nsee COLONIES_PRVKEY") == (reason(run.outcome), run.outcome.detail)
    assert [] == staging.submitted


async def test_results_that_cannot_be_fetched_are_why_a_run_fails(place: Place, staging: Staging) -> None:
    staging.fetching = [Denied("no member", reason="colony_denied")]
    async with hosting(place) as host:
        await host.runs.StartRun(request_of(place))
        await host.state(QUEUED)
        staging.now = Observation(SUCCEEDED, outcome=Outcome())
        run = await host.state(FAILED)

    assert OutcomeReason.OUTCOME_REASON_COLLECT == run.outcome.reason
    assert (
        "the results could not be brought here: no member\nthey stay where the run was" == run.outcome.detail
    )


async def test_a_run_that_is_cancelled_while_it_is_staged_is_not_handed_over(
    place: Place, staging: Staging
) -> None:
    staging.held = asyncio.Event()
    async with hosting(place) as host:
        await host.runs.StartRun(request_of(place))
        await host.state(RunState.RUN_STATE_LAUNCHING)
        await cancel(host)
        await host.state(CANCELLED)

    assert [] == staging.submitted


async def test_who_would_run_it_is_asked_before_a_run_is_accepted(place: Place, staging: Staging) -> None:
    async with hosting(place) as host:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await host.runs.StartRun(request_of(place, "wrong"))
        asked = PreflightRequest(spec=request_of(place).snapshot.spec, colony=Colony(name="dev"))
        answer = await host.about.Preflight(asked)

    assert grpc.StatusCode.INVALID_ARGUMENT == caught.value.code()
    assert ["surveyed"] == [notice.code for notice in answer.notices]
    assert [("wrong", ["TOKEN"]), ("dev", [])] == staging.surveyed


async def test_requests_that_come_twice_while_others_are_asked_lead_to_one_run(
    place: Place, staging: Staging
) -> None:
    request = request_of(place)
    async with hosting(place) as host:
        answers = await asyncio.gather(*(host.runs.StartRun(request) for _ in range(10)))
        await host.state(QUEUED)

    assert {"run1"} == {answer.run.id for answer in answers}
    assert [[b"main.py"]] == staging.staged
