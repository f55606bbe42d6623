"""Whoever serves the protocol, an executor or the daemon, and what its refusals carry."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo  # type: ignore[import-untyped]
from google.rpc.status_pb2 import Status  # type: ignore[import-untyped]
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_reflection.v1alpha.reflection_pb2 import ServerReflectionRequest, ServerReflectionResponse

from pollinator.v1.executor_pb2_grpc import ExecutorServiceStub
from pollinator.v1.run_pb2_grpc import RunServiceStub
from pollinator.v1.store_pb2_grpc import BlobServiceStub
from pollinator.wire.channel import open_channel
from support.executing import KINDS, started
from support.sandbox import Sandbox

SHARED = ("BlobService", "ExecutorService", "RunService")
OF_THE_DAEMON = ("DaemonService", "ExecutorRegistryService", "ProjectService")


class Server:
    """Whoever serves the protocol."""

    def __init__(self, address: str, services: tuple[str, ...]) -> None:
        self.address = address
        self.services = [f"pollinator.v1.{name}" for name in services]
        self.channel = open_channel(address)
        self.runs = RunServiceStub(self.channel)
        self.blobs = BlobServiceStub(self.channel)
        self.about = ExecutorServiceStub(self.channel)
        # The stubs that come with gRPC are not typed for asyncio.
        self.health = self.channel.unary_unary(
            "/grpc.health.v1.Health/Check",
            HealthCheckRequest.SerializeToString,
            HealthCheckResponse.FromString,
        )
        self.reflection = self.channel.stream_stream(
            "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
            ServerReflectionRequest.SerializeToString,
            ServerReflectionResponse.FromString,
        )


@pytest.fixture(scope="module", params=[*KINDS, "daemon"])
async def server(request: pytest.FixtureRequest) -> AsyncIterator[Server]:
    if request.param != "daemon":
        async with started(request.param) as executor:
            made = Server(executor.address, SHARED)
            yield made
            await made.channel.close()
        return
    box = Sandbox(Path(tempfile.mkdtemp(prefix="pol-")))
    try:
        answer = await asyncio.to_thread(box.cli, "daemon", "start", cwd=box.folder)
        assert answer.returncode == 0, answer.stderr
        made = Server(f"unix:{box.socket}", (*SHARED, *OF_THE_DAEMON))
        yield made
        await made.channel.close()
        assert "failed, reference" not in (box.state / "log" / "daemon.log").read_text()
    finally:
        box.close()


@dataclass
class Refusal:
    """What an error of a call carries."""

    code: grpc.StatusCode
    reason: str = ""
    domain: str = ""
    fields: tuple[str, ...] = ()


async def refused(call: Any) -> Refusal:
    """The error of a call of any kind, read as any gRPC client reads it."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await (call.read() if isinstance(call, grpc.aio.UnaryStreamCall) else call)
    refusal = Refusal(caught.value.code())
    status = Status()
    for key, value in caught.value.trailing_metadata() or ():
        if key == "grpc-status-details-bin" and isinstance(value, bytes):
            status.ParseFromString(value)
    info, bad = ErrorInfo(), BadRequest()
    for detail in status.details:
        if detail.Unpack(info):
            refusal.reason, refusal.domain = info.reason, info.domain
        elif detail.Unpack(bad):
            refusal.fields = tuple(each.field for each in bad.field_violations)
    return refusal
