"""What the daemon passes on to executors, and how it forgets one."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any, cast

import grpc
import pytest

from pollinator.daemon.registry import Registry
from pollinator.daemon.runs.log import RunLog
from pollinator.daemon.runs.start import RunStarter
from pollinator.daemon.service.executors import ExecutorServicer
from pollinator.v1 import executor_pb2_grpc
from pollinator.v1.executor_pb2 import (
    DescribeRequest,
    DescribeResponse,
    ListImagesRequest,
    ListImagesResponse,
    PruneImagesRequest,
    PruneImagesResponse,
)
from pollinator.wire.serving import bind_unix

Context = grpc.aio.ServicerContext[Any, Any]
NO_CONTEXT = cast("Context", None)


class Asked(executor_pb2_grpc.ExecutorServiceServicer):
    """An executor that notes how long it has for an answer."""

    def __init__(self) -> None:
        self.time_s: dict[str, float | None] = {}

    async def Describe(  # noqa: N802 - the protocol's name
        self, request: DescribeRequest, context: Context
    ) -> DescribeResponse:
        return DescribeResponse()

    async def ListImages(  # noqa: N802
        self, request: ListImagesRequest, context: Context
    ) -> ListImagesResponse:
        self.time_s["list"] = context.time_remaining()
        return ListImagesResponse()

    async def PruneImages(  # noqa: N802
        self, request: PruneImagesRequest, context: Context
    ) -> PruneImagesResponse:
        self.time_s["prune"] = context.time_remaining()
        return PruneImagesResponse()


@pytest.fixture
async def asked(tmp_path: Path) -> AsyncGenerator[Asked]:
    server, asked = grpc.aio.server(), Asked()
    executor_pb2_grpc.add_ExecutorServiceServicer_to_server(asked, server)
    bind_unix(server, tmp_path / "x.sock")
    await server.start()
    yield asked
    await server.stop(0)


async def test_an_executor_has_time_to_remove_much_and_little_to_look_something_up(
    tmp_path: Path, asked: Asked
) -> None:
    registry = Registry(tmp_path / "executors")
    registry.add("mine", f"unix:{tmp_path}/x.sock", "", {})
    calls = ExecutorServicer(registry, cast("RunLog", None), cast("RunStarter", None))
    await calls.ListImages(ListImagesRequest(executor="mine"), NO_CONTEXT)
    await calls.PruneImages(PruneImagesRequest(executor="mine"), NO_CONTEXT)
    await registry.close()

    assert asked.time_s["list"] is not None
    assert asked.time_s["prune"] is not None
    assert asked.time_s["list"] < 20
    assert 3600 < asked.time_s["prune"] < 7 * 3600
