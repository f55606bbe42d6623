"""What the daemon knows, for completion: fast, silent, and never the reason that a daemon starts."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable

from pollinator.wire.presence import find_daemon

_PATIENCE_S = 1.0
_MOST = 50

Rows = list[tuple[str, str]]


def run_ids(prefix: str) -> Rows:
    """Ids of runs that begin so, newest first, each with its state and project."""

    async def ask(address: str) -> Rows:
        from pollinator.cli.words import state_word
        from pollinator.v1.run_pb2 import ListRunsRequest
        from pollinator.v1.run_pb2_grpc import RunServiceStub
        from pollinator.wire.channel import open_channel

        async with open_channel(address) as channel:
            request = ListRunsRequest(id_prefix=prefix, page_size=_MOST)
            answer = await RunServiceStub(channel).ListRuns(request, timeout=_PATIENCE_S)
        return [(run.id, f"{state_word(run.state)} {run.project}") for run in answer.runs]

    rows = _asked(ask)
    if (rows or prefix) and "latest".startswith(prefix):
        rows.insert(0, ("latest", "newest run of this project"))
    return rows


def executor_names(prefix: str) -> Rows:
    """Names of executors that begin so, each with its kind."""

    async def ask(address: str) -> Rows:
        from pollinator.v1.executor_pb2 import ListExecutorsRequest
        from pollinator.v1.executor_pb2_grpc import ExecutorRegistryServiceStub
        from pollinator.wire.channel import open_channel

        async with open_channel(address) as channel:
            stub = ExecutorRegistryServiceStub(channel)
            answer = await stub.ListExecutors(ListExecutorsRequest(), timeout=_PATIENCE_S)
        return [(each.name, each.kind) for each in answer.executors if each.name.startswith(prefix)]

    return _asked(ask)


def _asked(ask: Callable[[str], Awaitable[Rows]]) -> Rows:
    path = find_daemon()
    if path is None:
        return []
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    import grpc

    async def bounded() -> Rows:
        async with asyncio.timeout(_PATIENCE_S):
            return await ask(f"unix:{path}")

    try:
        return asyncio.run(bounded())
    except (grpc.aio.AioRpcError, TimeoutError):
        return []
