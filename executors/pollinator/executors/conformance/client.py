"""An executor under test: what a client asks of it, and what the tests may expect."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import grpc
import pytest

from pollinator.chunks.blobs import PeerStore
from pollinator.chunks.store import Store
from pollinator.executors.conformance.asking import make_spec, publish, read_results, start_request
from pollinator.executors.conformance.trees import Listing
from pollinator.v1.executor_pb2 import Capabilities, DescribeRequest, Executor
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

CALL_S = 30.0
FEATURES = frozenset({"memory_limit", "time_limit", "cancel", "secrets", "containers"})
"""What the protocol calls features; all else in the contract is for every executor."""


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
    """One executor, reached as every client reaches it.

    Args:
        address: where it listens.
        name: for the report.
        specs: what every spec says besides.
        without: features it does not have, each with the reason.
    """

    def __init__(self, address: str, name: str, specs: Mapping[str, Any], without: Mapping[str, str]) -> None:
        self.address = address
        self.name = name
        self.without = without
        self._specs = RunSpec(**specs)
        self._channel = open_channel(address)
        self.runs = RunServiceStub(self._channel)
        self.blobs = BlobServiceStub(self._channel)
        self.about = ExecutorServiceStub(self._channel)

    async def close(self) -> None:
        """Let go of it."""
        await self._channel.close()

    async def describe(self) -> Executor:
        """What it says about itself."""
        answer = await self.about.Describe(DescribeRequest(), timeout=CALL_S, wait_for_ready=True)
        return answer.executor

    async def limits(self) -> Capabilities:
        """What it offers, once it knows: a batch system has to be asked first."""
        async with asyncio.timeout(CALL_S):
            while not (found := (await self.describe()).capabilities).cpu_millis:  # noqa: ASYNC110 - far away
                await asyncio.sleep(0.05)
        return found

    def needs(self, feature: str) -> None:
        """Skip the test when this kind opts out of the feature."""
        assert feature in FEATURES
        if feature in self.without:
            pytest.skip(f"{self.name} opts out of {feature}: {self.without[feature]}")

    def secrets(self, **values: str) -> dict[str, str]:
        """These, where it takes secrets at all."""
        return {} if "secrets" in self.without else values

    async def process_id(self, run: str) -> str:
        """What the ranks of a run are told as the id of their process."""
        return run

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
        """One run as it is now. Asked again where the executor is killed while it answers."""
        async with asyncio.timeout(CALL_S):
            while True:
                try:
                    request = GetRunRequest(run_id=name)
                    return (await self.runs.GetRun(request, timeout=CALL_S, wait_for_ready=True)).run
                except grpc.aio.AioRpcError as cut:
                    if cut.code() is not grpc.StatusCode.UNAVAILABLE:
                        raise

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

    def here(self) -> None:
        """Skip the test unless its files and processes can be looked at."""
        self._unseen()

    def _unseen(self) -> NoReturn:
        pytest.skip(f"what {self.name} leaves on its machine cannot be seen from here")

    def process_exists(self, pid: int) -> bool:
        """A process that a run started still runs. Only for those who are here."""
        self._unseen()

    def holding(self, text: bytes) -> list[Path]:
        """Those of its files that hold this, its log included. Only for those who are here."""
        self._unseen()
