"""Channels at the end of long lines."""

from __future__ import annotations

import logging
from pathlib import Path

from pollinator.v1.executor_pb2 import DescribeRequest, DescribeResponse, Executor
from pollinator.v1.executor_pb2_grpc import (
    ExecutorServiceServicer,
    ExecutorServiceStub,
    add_ExecutorServiceServicer_to_server,
)
from pollinator.wire.channel import open_channel
from pollinator.wire.serving import ErrorInterceptor, bind_unix, make_server
from support.slow_line import slow_line


class About(ExecutorServiceServicer):
    async def Describe(self, request: DescribeRequest, context: object) -> DescribeResponse:  # noqa: N802
        return DescribeResponse(executor=Executor(kind="far"))


async def test_the_first_word_from_the_end_of_a_long_line_is_waited_for(tmp_path: Path) -> None:
    server = make_server(ErrorInterceptor(logging.getLogger(__name__)))
    add_ExecutorServiceServicer_to_server(About(), server)
    bind_unix(server, tmp_path / "far.sock")
    await server.start()
    try:
        with slow_line(tmp_path / "line.sock", tmp_path / "far.sock", round_trip_s=2.0, rate=1e6):
            async with open_channel(f"unix:{tmp_path}/line.sock", long_line=True) as channel:
                answer = await ExecutorServiceStub(channel).Describe(DescribeRequest(), timeout=20)
    finally:
        await server.stop(0)

    assert "far" == answer.executor.kind
