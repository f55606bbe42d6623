"""An executor's services on a real socket, over a backend and a store that a test directs."""

from __future__ import annotations

import asyncio
import logging
import os
import tempfile
from collections.abc import AsyncGenerator, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import pytest

from pollinator.chunks.digest import EMPTY
from pollinator.chunks.upload import Uploader
from pollinator.executors import host as host_module
from pollinator.executors import lifecycle as lifecycle_module
from pollinator.executors.base import Executor, Job, Observation
from pollinator.executors.conformance.trees import Listing, store_tree
from pollinator.executors.files import Files
from pollinator.executors.host import ExecutorServicer, RunServicer
from pollinator.executors.lifecycle import Lifecycle
from pollinator.executors.runlog import RunFolders
from pollinator.v1 import executor_pb2_grpc, run_pb2_grpc
from pollinator.v1.executor_pb2 import Capabilities
from pollinator.v1.executor_pb2_grpc import ExecutorServiceStub
from pollinator.v1.run_pb2 import (
    CancelRunRequest,
    GetRunRequest,
    Notice,
    Outcome,
    OutcomeReason,
    Run,
    RunEvent,
    RunState,
    Secret,
    StartRunRequest,
    StateChanged,
    WatchRunRequest,
)
from pollinator.v1.run_pb2_grpc import RunServiceStub
from pollinator.v1.spec_pb2 import RunSpec
from pollinator.v1.tree_pb2 import PackIndex, Snapshot, SnapshotRef, Tree
from pollinator.wire.channel import open_channel
from pollinator.wire.errors import InvalidInput, PollinatorError
from pollinator.wire.serving import ErrorInterceptor, bind_unix, make_server
from support.storing import MemoryStore, weight

PROJECT = "demo"
SECRET = "hunter2-never-at-rest"


class Directed(Executor):
    """A backend that shows what a test puts into ``now``; by default jobs wait."""

    kind = "directed"

    def __init__(self) -> None:
        self.now = Observation(RunState.RUN_STATE_QUEUED)
        self.submitted: list[tuple[str, dict[str, str]]] = []
        self.cancelled: list[str] = []
        self.forgotten: list[str] = []
        self.trouble: list[Exception] = []
        """Raised by the next looks, one each."""

    @classmethod
    def create(cls, state: Path, settings: Mapping[str, str]) -> Self:
        return cls()

    def capabilities(self) -> Capabilities:
        return Capabilities(cpu_millis=1000)

    def preflight(self, spec: RunSpec) -> list[Notice]:
        if spec.gpu.count:
            raise InvalidInput("no GPUs", reason="cannot_run_here")
        return [Notice(code="noted")] if spec.image else []

    def submit(self, job: Job, secrets: dict[str, str]) -> None:
        self.submitted.append((job.run_id, secrets))

    def observe(self, job: Job) -> Observation:
        if self.trouble:
            raise self.trouble.pop(0)
        return self.now

    def cancel(self, job: Job) -> None:
        (job.workspace / "cancel").touch()
        self.cancelled.append(job.run_id)
        self.now = Observation(RunState.RUN_STATE_CANCELLED, outcome=Outcome(exit_code=143, signal=15))

    def forget(self, job: Job) -> None:
        self.forgotten.append(job.run_id)

    def end(self, code: int = 0) -> None:
        """The ranks have ended."""
        state = RunState.RUN_STATE_FAILED if code else RunState.RUN_STATE_SUCCEEDED
        self.now = Observation(state, outcome=Outcome(exit_code=code))


@dataclass
class Place:
    """What outlives the executor's process: its folder, the backend and the store."""

    root: Path
    backend: Directed = field(default_factory=Directed)
    store: MemoryStore = field(default_factory=MemoryStore)
    opening: list[PollinatorError] = field(default_factory=list[PollinatorError])
    """Raised when the store is next opened, one each."""
    cache_bytes: int = 0
    """What is kept for later runs."""

    def publish(self, src: Listing) -> SnapshotRef:
        """A snapshot whose ``src`` holds these files."""
        rows: list[PackIndex] = []
        uploader = Uploader(self.store, on_stored=rows.append)
        try:
            tree = Tree(digest=store_tree(src, uploader), bytes=weight(src))
            snapshot = Snapshot(version=1, src=tree, data=Tree(digest=EMPTY), spec=RunSpec())
            return uploader.publish(snapshot, rows, [])
        finally:
            uploader.close()

    def request(self, run_id: str = "run1", src: Listing | None = None, **spec: object) -> StartRunRequest:
        """A request for a run of a new snapshot."""
        request = StartRunRequest(request_id=f"q-{run_id}", secrets=[Secret(name="TOKEN", value=SECRET)])
        request.snapshot.run_id = run_id
        request.snapshot.store.folder.path = "/the/test/opens/it"
        request.snapshot.snapshot.CopyFrom(self.publish({b"main.py": b"print(1)\n"} if src is None else src))
        wanted = RunSpec(project=PROJECT, command="python3", nodes=1, processes_per_node=1)
        for name, value in spec.items():
            setattr(wanted, name, value)
        request.snapshot.spec.CopyFrom(wanted)
        return request

    def folder(self, run_id: str = "run1") -> Path:
        return self.root / "runs" / run_id

    def open_store(self, request: StartRunRequest) -> MemoryStore:
        if self.opening:
            raise self.opening.pop(0)
        return self.store


@dataclass
class Host:
    """One life of the executor's process, and a client."""

    place: Place
    folders: RunFolders
    runs: RunServiceStub
    about: ExecutorServiceStub

    async def run(self, run_id: str = "run1") -> Run:
        return (await self.runs.GetRun(GetRunRequest(run_id=run_id))).run

    async def until(self, condition: Callable[[Run], bool], run_id: str = "run1") -> Run:
        """Follow a run until it is so."""
        async with asyncio.timeout(30):
            call = self.runs.WatchRun(WatchRunRequest(run_id=run_id, follow=True))
            try:
                async for _ in call:
                    if condition(run := await self.run(run_id)):
                        return run
            finally:
                # One that is not read to its end goes on until gRPC's object is collected.
                call.cancel()
        pytest.fail(f"it never comes true: {await self.run(run_id)}")

    async def state(self, state: RunState.ValueType, run_id: str = "run1") -> Run:
        return await self.until(lambda run: run.state == state, run_id)


@asynccontextmanager
async def hosting(place: Place) -> AsyncGenerator[Host]:
    """Serve until the end of the block, which is a kill as far as runs can tell."""
    threads = ThreadPoolExecutor(2)
    with tempfile.TemporaryDirectory(prefix="pol-") as folder:
        socket = Path(folder, "s.sock")
        folders = RunFolders(place.root / "runs")
        (place.root / "cache").mkdir(exist_ok=True)
        files = Files(place.open_store, place.root / "cache", place.cache_bytes)
        lifecycle = Lifecycle(place.backend, place.open_store, threads, files)
        server = make_server(ErrorInterceptor(logging.getLogger(__name__)))
        channel = open_channel(f"unix:{socket}")
        async with asyncio.TaskGroup() as group:
            servicer = RunServicer(place.backend, folders, lifecycle, group)
            run_pb2_grpc.add_RunServiceServicer_to_server(servicer, server)
            about = ExecutorServicer(place.backend, folders, threads, f"unix:{socket}", {})
            executor_pb2_grpc.add_ExecutorServiceServicer_to_server(about, server)
            servicer.recover()
            bind_unix(server, socket)
            await server.start()
            try:
                yield Host(place, folders, RunServiceStub(channel), ExecutorServiceStub(channel))
            finally:
                await channel.close()
                await server.stop(0)
                for task in asyncio.all_tasks():
                    if task.get_name().startswith("run "):
                        task.cancel()
    files.close()
    await asyncio.get_running_loop().run_in_executor(None, threads.shutdown)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    """An executor that loses no time."""
    monkeypatch.setattr(lifecycle_module, "LOOK_S", 0.001)
    monkeypatch.setattr(lifecycle_module, "FIRST_PAUSE_S", 0.001)
    monkeypatch.setattr(lifecycle_module, "LONGEST_PAUSE_S", 0.001)
    monkeypatch.setattr(host_module, "RETRY_S", 0.001)
    return Place(tmp_path)


async def story(host: Host) -> list[str]:
    """States that the run went through."""
    messages = [message async for message in host.runs.WatchRun(WatchRunRequest(run_id="run1"))]
    moves = [each.event.state_changed for each in messages if each.event.HasField("state_changed")]
    return [RunState.Name(move.state).removeprefix("RUN_STATE_") for move in moves]


async def cancel(host: Host) -> None:
    """Wish that the run ends."""
    await host.runs.CancelRun(CancelRunRequest(run_id="run1", by="me"))


def accepted(request: StartRunRequest) -> Run:
    """The run as the host writes it down."""
    source = request.snapshot
    return Run(id=source.run_id, project=source.spec.project, spec=source.spec, snapshot=source.snapshot)


def moved(state: RunState.ValueType) -> RunEvent:
    """A move of the run."""
    return RunEvent(state_changed=StateChanged(state=state))


def reason(outcome: Outcome) -> str:
    """Why it ended so."""
    return OutcomeReason.Name(outcome.reason).removeprefix("OUTCOME_REASON_")


def at_rest(place: Place) -> list[str]:
    """Files of the run that hold the secret."""
    files = [path for path in place.folder().rglob("*") if path.is_file()]
    return [path.name for path in files if SECRET.encode() in path.read_bytes()]


async def gone(folder: Path) -> None:
    """Wait until a folder is not there any more."""
    async with asyncio.timeout(20):
        while os.path.lexists(folder):  # noqa: ASYNC110, ASYNC240 - a folder rings no bell
            await asyncio.sleep(0.001)
