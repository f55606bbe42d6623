"""Files that are on their way to a far executor: nobody waits for them who wishes that the run ends."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from pollinator.daemon.link import ExecutorLink
from pollinator.v1.run_pb2 import Run, RunState, SnapshotSource
from pollinator.wire.errors import PollinatorError, Unavailable
from support.driving import World, world
from support.scripted_executor import moved, until

__all__ = ["world"]


class Slow:
    """A bridge on which files are for as long as a test says."""

    def __init__(self) -> None:
        self.begun = 0
        self.arrived = asyncio.Event()
        self.troubles: list[PollinatorError] = []
        self.wished: Callable[[], bool] = bool
        self.renewal: float | None = None

    async def source(self, run: Run, link: ExecutorLink, wished: Callable[[], bool]) -> SnapshotSource:
        self.begun += 1
        self.wished = wished
        if self.troubles:
            raise self.troubles.pop(0)
        await self.arrived.wait()
        return SnapshotSource(run_id=run.id, snapshot=run.snapshot, spec=run.spec)

    async def renewal_s(self, run: Run, link: ExecutorLink) -> float | None:
        return self.renewal


@pytest.fixture
def slow(world: World) -> Slow:
    world.wire.near = False
    world.bridge = slow = Slow()
    world.restart()
    world.daemon.accept("SNAPSHOTTING", "LAUNCHING")
    return slow


async def test_a_run_whose_files_are_on_their_way_is_cancelled_at_once(world: World, slow: Slow) -> None:
    async with world.driving():
        await until(lambda: slow.begun == 1, "its files are on their way")
        assert not slow.wished()

        world.wish_to_cancel()

        assert RunState.RUN_STATE_CANCELLED == (await world.ended()).state
        assert slow.wished()
        slow.arrived.set()
    assert [] == world.executor.started


async def test_files_that_cannot_be_sent_now_are_sent_later(world: World, slow: Slow) -> None:
    slow.troubles = [Unavailable("no answer", reason="peer_unreachable")]
    slow.arrived.set()

    async with world.driving():
        await until(lambda: bool(world.executor.started), "it was launched")

    assert 2 == slow.begun


async def test_an_executor_that_has_lost_a_run_gets_no_new_credentials_to_begin_it_again(
    world: World, slow: Slow
) -> None:
    world.daemon.log.append(world.run.id, moved("RUNNING"))
    world.executor.knows_it = False
    slow.renewal = 0.0
    slow.arrived.set()

    async with world.driving():
        assert RunState.RUN_STATE_LOST == (await world.ended()).state

    assert [] == world.executor.started


async def test_credentials_are_handed_on_again_to_an_executor_that_has_the_run(
    world: World, slow: Slow
) -> None:
    world.daemon.log.append(world.run.id, moved("RUNNING"))
    slow.renewal = 0.01
    slow.arrived.set()

    async with world.driving():
        await until(lambda: len(world.executor.started) > 1, "credentials were renewed twice")
