"""Executors under test, each in a process of its own, reached with the code of the daemon's clients.

A new executor is one entry in ``PROFILES``. What it cannot do is named there with the reason, so that the
report of a test run says which parts of the contract were left out, and why.
"""

from __future__ import annotations

import asyncio
import importlib.metadata
import os
import resource
import signal
import subprocess
import tempfile
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Mapping
from contextlib import aclosing, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import pytest

from pollinator.chunks.blobs import PeerStore
from pollinator.chunks.store import Store
from pollinator.v1.executor_pb2 import DescribeRequest, Executor
from pollinator.v1.executor_pb2_grpc import ExecutorServiceStub
from pollinator.v1.run_pb2 import (
    CancelRunRequest,
    GetRunRequest,
    OutputOffset,
    Run,
    RunEvent,
    RunState,
    WatchRunRequest,
    WatchRunResponse,
)
from pollinator.v1.run_pb2_grpc import RunServiceStub
from pollinator.v1.spec_pb2 import RunSpec
from pollinator.v1.store_pb2 import StoreSettings
from pollinator.v1.store_pb2_grpc import BlobServiceStub
from pollinator.v1.tree_pb2 import SnapshotRef
from pollinator.wire.channel import open_channel
from pollinator.wire.streams import follow_run
from support.asking import make_spec, publish, read_results, start_request
from support.sandbox import BIN, Sandbox
from support.storing import Listing

CALL_S = 15.0
KEPT_OUT = {"AWS_SECRET_ACCESS_KEY": "keep-out", "COLONIES_PRVKEY": "keep-out"}
"""What an executor's environment may hold and a rank must not see."""

FEATURES = frozenset({"memory_limit", "time_limit", "cancel", "secrets", "containers"})
"""What the protocol calls features; all else in the contract is for every executor."""


@dataclass(frozen=True)
class Profile:
    """What the suite has to know about an executor. There may be several of one kind."""

    kind: str = ""
    """Its kind, where that is not the name of the profile."""
    settings: Mapping[str, str] = field(default_factory=dict[str, str])
    """It is started with these."""
    specs: Callable[[], Mapping[str, Any]] = dict[str, Any]
    """What every spec says besides. Asked for before the start: skips what cannot run here."""
    without: Mapping[str, str] = field(default_factory=dict[str, str])
    """Features it does not have, each with the reason."""
    crash_points: tuple[str, ...] = ()
    """Points of its own at which its process may be killed while it hands a run over."""


PROFILES = {
    "local": Profile(
        without={"containers": "it runs commands on the host"},
        crash_points=("before_supervisor", "after_supervisor"),
    )
}
CRASH_POINTS = (
    "before_lay_out",
    "after_lay_out",
    "before_exit_event",
    "before_collect",
    "after_collect",
    "before_clean",
)
"""Points at which the process of any executor may be killed in the course of a run."""

_REGISTERED = {point.name for point in importlib.metadata.entry_points(group="pollinator.executors")}
KINDS = sorted(_REGISTERED | PROFILES.keys())
"""Every kind there is has a profile of this name, and may have more."""


@dataclass
class Followed:
    """What a stream of one run brought."""

    events: list[RunEvent]
    output: dict[int, bytes]
    run: Run

    @property
    def states(self) -> list[str]:
        """The states it went through, in order, without the prefix."""
        moves = [each.state_changed for each in self.events if each.WhichOneof("kind") == "state_changed"]
        return [RunState.Name(move.state).removeprefix("RUN_STATE_") for move in moves]


class ExecutorUnderTest:
    """One executor: its process, its client, and what the tests may expect of it."""

    def __init__(self, name: str, box: Sandbox) -> None:
        self.box = box
        self.profile = PROFILES[name]
        self.kind = self.profile.kind or name
        self._specs = RunSpec(**self.profile.specs())
        self.state = box.folder / "x"
        self.socket = box.folder / "r" / "x" / "x.sock"
        self.log = box.folder / "executor.log"
        self._process: subprocess.Popen[bytes] | None = None
        self._channel = open_channel(self.address)
        self.runs = RunServiceStub(self._channel)
        self.blobs = BlobServiceStub(self._channel)
        self.about = ExecutorServiceStub(self._channel)

    @property
    def address(self) -> str:
        """Where it listens."""
        return f"unix:{self.socket}"

    # Its process

    async def start(self, *, dies_at: str = "", **environment: str) -> None:
        """Start the process, which may be killed at a named point, and wait for its first answer."""
        if self._process is not None:
            await self.ended()
        if dies_at:
            environment["POLLINATOR_CRASH_AT"] = dies_at
        self._process = self._spawn(environment)
        async with asyncio.timeout(CALL_S):
            # The first call may be sent to the process that was killed.
            while not await self._answers():
                pass

    async def start_another(self) -> int:
        """Start a second process on the same state; its exit code."""
        return await asyncio.to_thread(self._spawn({}).wait, CALL_S)

    async def _answers(self) -> bool:
        try:
            await self.describe()
        except grpc.aio.AioRpcError as cut:
            if cut.code() is not grpc.StatusCode.UNAVAILABLE:
                raise
            return False
        return True

    def _spawn(self, environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
        # Paths may be relative.
        command = [str(BIN / "pollinator-executor"), self.kind, "--socket", "r/x/x.sock", "--state", "x"]
        for name, value in self.profile.settings.items():
            command += ["--set", f"{name}={value}"]
        with self.log.open("ab") as log:
            return subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.box.folder,
                env=self.box.env | KEPT_OUT | dict(environment),
                start_new_session=True,
            )

    def ask_to_end(self) -> None:
        """As a service manager would."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)

    @contextmanager
    def full_disk(self) -> Generator[None]:
        """None of its files can grow: the kernel answers as for a full disk."""
        assert self._process is not None
        limits = resource.prlimit(self._process.pid, resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
        try:
            yield
        finally:
            resource.prlimit(self._process.pid, resource.RLIMIT_FSIZE, limits)

    def kill(self) -> None:
        """As a crash would."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    async def ended(self) -> int:
        """The exit code of the process, once it has ended."""
        assert self._process is not None
        return await asyncio.to_thread(self._process.wait, CALL_S)

    async def restart(self, **environment: str) -> None:
        """Kill it and start it again."""
        self.kill()
        await self.start(**environment)

    async def close(self) -> None:
        """End it in peace, and everything it started."""
        assert self._process is not None
        try:
            if self._process.poll() is None:
                self.ask_to_end()
                assert await self.ended() == 0
            # gRPC complains in its own name when a client goes while it is answered.
            assert [] == [line for line in self.log.read_text().splitlines() if " ERROR pollinator" in line]
        finally:
            await self._channel.close()
            self.box.close()

    async def describe(self) -> Executor:
        """What it says about itself."""
        answer = await self.about.Describe(DescribeRequest(), timeout=CALL_S, wait_for_ready=True)
        return answer.executor

    def needs(self, feature: str) -> None:
        """Skip the test when this kind opts out of the feature."""
        assert feature in FEATURES
        if feature in self.profile.without:
            pytest.skip(f"{self.kind} opts out of {feature}: {self.profile.without[feature]}")

    # Snapshots and results

    def store(self, project: str = "demo") -> Store:
        """Its own store, as it lends it."""
        return PeerStore(grpc.insecure_channel(self.address), project, self.address)

    async def publish(
        self, src: Listing, data: Listing | None = None, *, store: Store | None = None
    ) -> SnapshotRef:
        """Put a snapshot of these trees into its own store or another."""
        return await asyncio.to_thread(publish, store or self.store(), src, data or {})

    async def results(self, run: Run, *, store: Store | None = None) -> dict[bytes, tuple[str, int, bytes]]:
        """What the run left, read back from the store: path to (kind, permission bits, content)."""
        return await asyncio.to_thread(read_results, store or self.store(), run.result)

    # Runs

    def spec(self, spec: RunSpec) -> RunSpec:
        """The spec as it is meant here."""
        whole = RunSpec()
        whole.CopyFrom(self._specs)
        whole.MergeFrom(spec)
        return whole

    async def launch(
        self,
        spec: RunSpec,
        snapshot: SnapshotRef,
        *,
        settings: StoreSettings | None = None,
        secrets: Mapping[str, str] | None = None,
    ) -> Run:
        """Start a run."""
        request = start_request(self.spec(spec), snapshot, settings=settings, secrets=secrets)
        return (await self.runs.StartRun(request, timeout=CALL_S)).run

    async def begin(self, program: str, *, secrets: Mapping[str, str] | None = None, **changes: Any) -> Run:
        """Start a run of one small program."""
        snapshot = await self.publish({b"main.py": program.encode()})
        return await self.launch(make_spec(**changes), snapshot, secrets=secrets)

    async def run(
        self, program: str, *, secrets: Mapping[str, str] | None = None, **changes: Any
    ) -> Followed:
        """Run one small program to its end."""
        return await self.follow((await self.begin(program, secrets=secrets, **changes)).id)

    async def get(self, name: str) -> Run:
        """One run as it is now."""
        answer = await self.runs.GetRun(GetRunRequest(run_id=name), timeout=CALL_S, wait_for_ready=True)
        return answer.run

    async def cancel(self, name: str) -> Run:
        """Wish that a run ends."""
        return (await self.runs.CancelRun(CancelRunRequest(run_id=name, by="a test"), timeout=CALL_S)).run

    async def messages(self, name: str, **fields: Any) -> AsyncGenerator[WatchRunResponse]:
        """Follow a run as every client does."""
        wanted: dict[str, Any] = {"output": True, "follow": True, **fields}
        request = WatchRunRequest(run_id=name, **wanted)
        async with aclosing(follow_run(self.runs, request, patience_s=CALL_S)) as messages:
            async for message in messages:
                yield message

    async def follow(
        self, name: str, *, after_seq: int = 0, offsets: Mapping[int, int] | None = None, **fields: Any
    ) -> Followed:
        """Follow a run to the end of the stream, checking that nothing is missing or sent twice."""
        wanted = [OutputOffset(rank=rank, offset=at) for rank, at in (offsets or {}).items()]
        seq, positions = after_seq, dict(offsets or {})
        events: list[RunEvent] = []
        output: dict[int, bytearray] = {}
        async for message in self.messages(name, after_seq=after_seq, offsets=wanted, **fields):
            match message.WhichOneof("kind"):
                case "event":
                    seq += 1
                    assert seq == message.event.seq
                    events.append(message.event)
                case "output":
                    block = message.output
                    assert positions.get(block.rank, 0) == block.offset
                    assert 0 < len(block.data) <= 64 * 1024
                    positions[block.rank] = block.offset + len(block.data)
                    output.setdefault(block.rank, bytearray()).extend(block.data)
                case _:
                    pass
        texts = {rank: bytes(text) for rank, text in output.items()}
        return Followed(events, texts, await self.get(name))

    async def printed(self, name: str, text: bytes, *, rank: int = 0) -> bytes:
        """What a rank has printed, once this text is in it."""
        seen = b""
        async with aclosing(self.messages(name)) as messages:
            async for message in messages:
                if message.WhichOneof("kind") == "output" and message.output.rank == rank:
                    seen += message.output.data
                    if text in seen:
                        return seen
        pytest.fail(f"run {name} never printed {text!r} but {seen!r}: {await self.get(name)}")

    async def reached(self, name: str, state: RunState.ValueType) -> Run:
        """The run, once it has moved to this state."""
        async with aclosing(self.messages(name, output=False)) as messages:
            async for message in messages:
                if message.WhichOneof("kind") == "event" and message.event.state_changed.state == state:
                    return await self.get(name)
        pytest.fail(f"run {name} never was {RunState.Name(state)}: {await self.get(name)}")

    # Its machine

    @staticmethod
    def process_exists(pid: int) -> bool:
        """A process that a run started still runs."""
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except FileNotFoundError:
            return False
        return state != "Z"

    def files(self) -> list[Path]:
        """Every file that it keeps for runs: not its store, not its cache. Some may be on their way out."""
        walked = os.walk(self.state / "runs")
        return [Path(folder, name) for folder, _, files in walked for name in files]

    def holding(self, text: bytes) -> list[Path]:
        """Those of its files that hold this."""
        found: list[Path] = []
        for path in self.files():
            with suppress(FileNotFoundError):
                if text in path.read_bytes():
                    found.append(path)
        return found


@asynccontextmanager
async def started(kind: str, *, dies_at: str = "", **environment: str) -> AsyncGenerator[ExecutorUnderTest]:
    """An executor of this kind in a sandbox of its own."""
    under_test = ExecutorUnderTest(kind, Sandbox(Path(tempfile.mkdtemp(prefix="pol-"))))
    try:
        await under_test.start(dies_at=dies_at, **environment)
        yield under_test
    finally:
        await under_test.close()


@pytest.fixture(scope="module", params=KINDS)
async def executor(request: pytest.FixtureRequest) -> AsyncIterator[ExecutorUnderTest]:
    """One of each kind for all tests of a module."""
    async with started(request.param) as under_test:
        yield under_test
