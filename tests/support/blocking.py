"""The event loop must not wait: in a test that has one, a call of ours that sleeps or uses a socket fails.

Not watched are files and SQLite: the daemon's own, small and local, are read and written on the loop on
purpose. Nor locks, for grpc.aio joins a thread of its own when the last channel goes.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import pytest_asyncio
from blockbuster import BlockBuster

import pollinator.chunks
import pollinator.cli
import pollinator.daemon
import pollinator.executors
import pollinator.model
import pollinator.wire

_OURS = [
    pollinator.chunks,
    pollinator.cli,
    pollinator.daemon,
    pollinator.executors,
    pollinator.model,
    pollinator.wire,
]
_WATCHED = ("time.sleep", "socket.", "ssl.", "builtins.input")


@pytest.fixture(autouse=True)
def _loop_never_waits(request: pytest.FixtureRequest) -> Iterator[None]:
    if not pytest_asyncio.is_async_test(request.node):
        yield
        return
    blockbuster = BlockBuster(_OURS)
    watched = [each for name, each in blockbuster.functions.items() if name.startswith(_WATCHED)]
    for function in watched:
        function.activate()
    yield
    for function in watched:
        function.deactivate()
