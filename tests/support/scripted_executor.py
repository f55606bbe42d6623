"""An executor that does what a test says, on a wire that breaks when a test says so.

The server's and the client's side of WatchRun are the real ones; only what lies between them is played.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import grpc

from pollinator.daemon.app import MIGRATIONS
from pollinator.daemon.link import ExecutorLink
from pollinator.daemon.pool import Pool
from pollinator.daemon.records import Records
from pollinator.daemon.registry import Registry
from pollinator.daemon.runs.bridge import Bridge
from pollinator.daemon.runs.colonies import ColonyKeeper
from pollinator.daemon.runs.crew import Crew
from pollinator.daemon.runs.driver import RunDriver
from pollinator.daemon.runs.forgetting import Forgetting
from pollinator.daemon.runs.home import ResultsHome
from pollinator.daemon.runs.log import RunLog
from pollinator.daemon.runs.output import OutputFiles
from pollinator.daemon.runs.secrets import SecretFiles
from pollinator.daemon.sync.projects import Projects
from pollinator.daemon.sync.stores import DEFAULT, StoreKeeper
from pollinator.model.run import apply, is_requeue
from pollinator.v1.run_pb2 import (
    CancelRunRequest,
    CancelRunResponse,
    ForgetRunRequest,
    ForgetRunResponse,
    GetRunRequest,
    GetRunResponse,
    Notice,
    Outcome,
    OutcomeReason,
    Progress,
    Run,
    RunEvent,
    RunState,
    StartRunRequest,
    StartRunResponse,
    StateChanged,
    WatchRunRequest,
    WatchRunResponse,
)
from pollinator.v1.spec_pb2 import RunSpec
from pollinator.v1.tree_pb2 import SnapshotRef
from pollinator.wire.errors import NotFound, PollinatorError
from pollinator.wire.progress import Teller
from pollinator.wire.watching import watch_run
from support.rpc_errors import rpc_error, to_unavailable

RUN_ID = "01m0000000000000000000test"
STORE_ID = "store"


def moved(state: str, reason: str = "", exit_code: int = 0) -> RunEvent:
    """A move as an executor records it."""
    move = StateChanged(state=RunState.Value(f"RUN_STATE_{state}"))
    if reason or exit_code:
        why = OutcomeReason.Value(f"OUTCOME_REASON_{reason or 'UNSPECIFIED'}")
        move.outcome.CopyFrom(Outcome(reason=why, exit_code=exit_code))
    return RunEvent(state_changed=move)


class ScriptedExecutor:
    """Its own log and output of one run; a ``RunSource``."""

    def __init__(self, run: Run) -> None:
        self.started: list[StartRunRequest] = []
        self.cancelled: list[CancelRunRequest] = []
        self.knows_it = True
        self.forgotten: list[str] = []
        self.defect: PollinatorError | None = None
        """Raised when its output is read."""
        self.log: list[RunEvent] = []
        self.run = Run()
        self.printed: dict[int, bytearray] = {}
        self.moving: Progress | None = None
        self._version = 1
        self._bell = asyncio.Event()
        self.record(RunEvent(accepted=run))

    def record(self, event: RunEvent) -> None:
        """Append to its log."""
        event.seq = self.run.last_seq + 1
        if event.HasField("state_changed") and is_requeue(self.run.state, event.state_changed.state):
            event.state_changed.attempt = self.run.attempt + 1
        self.run = apply(self.run, event)
        self.log.append(event)
        self._ring()

    def move(self, progress: Progress | None) -> None:
        """Bytes are on their way, or no longer."""
        self.moving = progress
        self._ring()

    def print(self, rank: int, data: bytes) -> None:
        """A rank prints."""
        self.printed.setdefault(rank, bytearray()).extend(data)
        self._ring()

    def end(self, state: str = "SUCCEEDED", reason: str = "", exit_code: int = 0) -> None:
        """The run comes to its end."""
        if self.run.state == RunState.RUN_STATE_ACCEPTED:
            self.record(moved("LAUNCHING"))
        self.record(moved("COLLECTING", reason, exit_code))
        self.record(moved(state, reason, exit_code))

    def _ring(self) -> None:
        self._version += 1
        self._bell.set()
        self._bell = asyncio.Event()

    # RunSource

    def get(self, run_id: str) -> Run:
        if not self.knows_it:
            raise NotFound(f"this executor does not know run {run_id!r}", reason="run_missing")
        return self.run

    def events(self, run_id: str, after_seq: int) -> Sequence[RunEvent]:
        return self.log[after_seq:]

    def ranks(self, run_id: str) -> Sequence[int]:
        return sorted(self.printed)

    def output_size(self, run_id: str, rank: int) -> int:
        return len(self.printed.get(rank, b""))

    def read_output(self, run_id: str, rank: int, offset: int, limit: int) -> bytes:
        if self.defect is not None:
            raise self.defect
        return bytes(self.printed[rank][offset : offset + limit])

    def output_complete(self, run_id: str) -> bool:
        return True

    def progress(self, run_id: str) -> Progress | None:
        return self.moving

    def version(self, run_id: str) -> int:
        return self._version

    async def changed(self, run_id: str, seen: int, timeout_s: float) -> None:
        if self._version <= seen:
            async with asyncio.timeout(timeout_s):
                await self._bell.wait()


class Wire:
    """What the daemon has of an executor: stubs that reach it, and a way to start it."""

    def __init__(self, executor: ScriptedExecutor) -> None:
        self.executor = executor
        self.up = True
        self.near = True
        self.refusal: PollinatorError | None = None
        self.repeats = 0
        """So much of what was sent before is sent again after the next cut."""
        self.starts = 0
        self.watched = 0
        self._cut = asyncio.Event()

    @property
    def runs(self) -> Wire:
        """It is its own stub."""
        return self

    def cut(self) -> None:
        """Every call that is under way ends."""
        self._cut.set()
        self._cut = asyncio.Event()

    async def ensure(self) -> None:
        """Start the executor."""
        self.starts += 1
        if not self.up:
            raise to_unavailable()

    async def StartRun(  # noqa: N802 - the protocol's name
        self, request: StartRunRequest, **options: float
    ) -> StartRunResponse:
        """Hand a run over."""
        self._check()
        self.executor.started.append(request)
        return StartRunResponse(run=self.executor.run)

    async def GetRun(self, request: GetRunRequest, **options: float) -> GetRunResponse:  # noqa: N802
        """Ask whether it has the run."""
        self._check()
        if not self.executor.knows_it:
            raise rpc_error(NotFound("no such run", reason="run_missing"))
        return GetRunResponse(run=self.executor.run)

    async def CancelRun(  # noqa: N802
        self, request: CancelRunRequest, **options: float
    ) -> CancelRunResponse:
        """Tell it that somebody wishes the end."""
        self._check()
        if not self.executor.knows_it:
            raise rpc_error(NotFound("no such run", reason="run_missing"))
        self.executor.cancelled.append(request)
        return CancelRunResponse(run=self.executor.run)

    async def ForgetRun(  # noqa: N802
        self, request: ForgetRunRequest, **options: float
    ) -> ForgetRunResponse:
        """Tell it that everything was taken over."""
        self._check()
        if not self.executor.knows_it:
            raise rpc_error(NotFound("no such run", reason="run_missing"))
        self.executor.forgotten.append(request.run_id)
        return ForgetRunResponse()

    def WatchRun(self, request: WatchRunRequest) -> Watching:  # noqa: N802
        self.watched += 1
        wanted = WatchRunRequest()
        wanted.CopyFrom(request)
        wanted.after_seq = max(0, wanted.after_seq - self.repeats)
        for each in wanted.offsets:
            each.offset = max(0, each.offset - self.repeats)
        self.repeats = 0
        return Watching(self, wanted, self._cut)

    def _check(self) -> None:
        if not self.up:
            raise rpc_error(None)
        if self.refusal is not None:
            raise rpc_error(self.refusal)


class Watching:
    """One call of WatchRun."""

    def __init__(self, wire: Wire, request: WatchRunRequest, cut: asyncio.Event) -> None:
        self._wire = wire
        self._cut = cut
        self._messages = watch_run(wire.executor, request)
        self._closing: asyncio.Task[None] | None = None

    async def read(self) -> WatchRunResponse | object:
        """The next message, or the end of the stream."""
        if not self._wire.up:
            raise rpc_error(None)
        async with asyncio.TaskGroup() as group:
            message = group.create_task(_next(self._messages))
            broken = group.create_task(self._cut.wait())
            await asyncio.wait((message, broken), return_when=asyncio.FIRST_COMPLETED)
            message.cancel()
            broken.cancel()
        if self._cut.is_set() or message.cancelled():
            raise rpc_error(None)
        result = message.result()
        if isinstance(result, PollinatorError):
            raise rpc_error(result)
        return result

    def cancel(self) -> None:
        """The client is gone, and so the server stops."""
        self._closing = asyncio.get_running_loop().create_task(_closed(self._messages))


async def _closed(messages: AsyncIterator[WatchRunResponse]) -> None:
    assert isinstance(messages, AsyncGenerator)
    await messages.aclose()


async def _next(messages: AsyncIterator[WatchRunResponse]) -> WatchRunResponse | PollinatorError | object:
    try:
        return await anext(messages)
    except StopAsyncIteration:
        return grpc.aio.EOF
    except PollinatorError as error:
        return error


@dataclass
class Home:
    """Where results go; ``troubles`` are raised first."""

    pool: Pool
    troubles: list[Exception] = field(default_factory=list[Exception])
    brought: list[str] = field(default_factory=list[str])

    async def bring(self, run: Run, teller: Teller) -> list[Notice]:
        """Bring the results of a run."""
        if self.troubles:
            raise self.troubles.pop(0)
        self.brought.append(run.result.key)
        return []


class Daemon:
    """The part of a daemon that drives runs, on files that outlive it."""

    def __init__(
        self, folder: Path, wire: Wire, home: Home, projects: object = None, bridge: object = None
    ) -> None:
        self.records = open_records(folder)
        self.output = OutputFiles(folder / "output")
        self.log = RunLog(self.records, self.output, Ticks())
        self.secrets = SecretFiles(folder / "secrets")
        keeper = StoreKeeper(folder / "stores")
        (folder / "stores" / STORE_ID).write_bytes(DEFAULT.SerializeToString())
        self.pool = home.pool
        registry = cast("Registry", OneExecutor(cast("ExecutorLink", wire)))
        self.forgetting = Forgetting(self.log, registry)
        # To an executor that is near it only tells the store.
        group, colonies = asyncio.TaskGroup(), ColonyKeeper(folder / "colonies")
        near = Bridge(keeper, colonies, cast("ResultsHome", home), folder / "far", group, self.log.tell)
        self.driver = RunDriver(
            self.log,
            self.output,
            cast("Projects", projects),
            registry,
            self.secrets,
            cast("ResultsHome", home),
            cast("Bridge", bridge or near),
        )

    def crew(self, group: asyncio.TaskGroup) -> Crew:
        """Whoever drives its runs."""
        return Crew(self.log, self.driver, self.forgetting, group, self.pool)

    def accept(self, *states: str) -> Run:
        """A run on its way; with LAUNCHING among the states it is sealed as well."""
        run = Run(
            id=RUN_ID, request_id="r", project="p", root="/p", store_id=STORE_ID, attempt=1, executor="lumi"
        )
        run.spec.CopyFrom(RunSpec(project="p", nodes=1, processes_per_node=1))
        run.accept_time.FromSeconds(1)
        accepted = self.log.accept(run, StartRunRequest(request_id="r"))
        for state in states:
            if state == "LAUNCHING":
                self.log.append(RUN_ID, RunEvent(sealed=SnapshotRef(digest=b"d", key="s/ab/abc")))
            accepted = self.log.append(RUN_ID, moved(state))
        return accepted

    def close(self) -> None:
        """As if it were killed: nothing is told to anybody."""
        self.records.close()


@dataclass
class OneExecutor:
    """A registry of one."""

    link: ExecutorLink

    def get(self, name: str) -> ExecutorLink:
        """It has every name."""
        return self.link


class Ticks:
    """A clock that goes on by a second whenever it is looked at."""

    def __init__(self, start_s: int = 1_000_000) -> None:
        self.now_ns = start_s * 1_000_000_000

    def __call__(self) -> int:
        self.now_ns += 1_000_000_000
        return self.now_ns


def open_records(folder: Path) -> Records:
    """The daemon's list of runs and projects in a folder."""
    return Records(folder / "daemon.db", MIGRATIONS)


async def until(condition: Callable[[], bool], what: str, timeout_s: float = 20.0) -> None:
    """Let others go on until a condition holds."""
    try:
        async with asyncio.timeout(timeout_s):
            while not condition():  # noqa: ASYNC110 - conditions of any kind
                await asyncio.sleep(0.001)
    except TimeoutError:
        raise AssertionError(f"not within {timeout_s:g} s: {what}") from None
