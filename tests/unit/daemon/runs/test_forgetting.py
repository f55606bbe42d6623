"""An executor hears of every run that it need not keep, also after the daemon was killed at its end."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from pollinator.daemon.app import MIGRATIONS
from pollinator.daemon.pool import Pool
from pollinator.daemon.records import Records
from pollinator.v1.run_pb2 import Run, RunEvent, StartRunRequest
from pollinator.v1.tree_pb2 import SnapshotRef
from pollinator.wire.errors import WrongState
from support.driving import World
from support.scripted_executor import RUN_ID, Daemon, Home, ScriptedExecutor, Wire, moved


class Killed(World):
    """A daemon that is killed and started again."""

    def killed_at_the_end(
        self, *states: str, run_id: str = RUN_ID, reason: str = "", stored: bool = False
    ) -> None:
        """The end of a run was recorded, and nothing more came to be done."""
        log = self.daemon.log
        log.accept(Run(id=run_id, request_id=run_id, root="/p", attempt=1), StartRunRequest())
        for state in states:
            log.append(run_id, moved(state))
        if stored:
            log.append(run_id, RunEvent(collected=SnapshotRef(key="s")))
        log.append(run_id, moved("FAILED", reason))

    async def start_again(self) -> None:
        """Be killed again when there is nothing more to do."""
        self.restart()
        async with self.crew() as crew:
            crew.reconcile()
            (telling,) = (task for task in asyncio.all_tasks() if task.get_name() == "forget")
            await asyncio.wait([telling], timeout=20)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[Killed]:
    world = Killed(tmp_path)
    yield world
    world.close()


async def test_a_run_whose_end_was_recorded_before_a_kill_is_forgotten_after_the_restart(
    world: Killed,
) -> None:
    world.killed_at_the_end("SNAPSHOTTING", "LAUNCHING", "RUNNING")
    await world.start_again()

    assert ([RUN_ID], 1) == (world.executor.forgotten, world.wire.starts)


async def test_it_is_said_once_and_no_executor_is_started_for_nothing(world: Killed) -> None:
    world.killed_at_the_end("SNAPSHOTTING", "LAUNCHING", "RUNNING")
    for _ in range(3):
        await world.start_again()

    assert ([RUN_ID], 1) == (world.executor.forgotten, world.wire.starts)


async def test_an_executor_is_not_asked_about_a_run_that_was_never_handed_to_it(world: Killed) -> None:
    world.killed_at_the_end("SNAPSHOTTING")
    await world.start_again()

    assert ([], 0) == (world.executor.forgotten, world.wire.starts)


async def test_an_executor_that_is_down_is_asked_once_and_hears_of_all_runs_at_the_next_start(
    world: Killed,
) -> None:
    for run_id in ("a", "b", "c"):
        world.killed_at_the_end("LAUNCHING", run_id=run_id)
    world.wire.up = False
    await world.start_again()
    asked = world.wire.starts
    world.wire.up = True
    await world.start_again()

    assert (1, ["a", "b", "c"]) == (asked, world.executor.forgotten)


async def test_a_run_that_its_executor_does_not_know_is_not_asked_about_again(world: Killed) -> None:
    world.killed_at_the_end("LAUNCHING")
    world.executor.knows_it = False
    for _ in range(2):
        await world.start_again()

    assert 1 == world.wire.starts


async def test_a_run_that_goes_on_at_its_executor_is_asked_about_again(world: Killed) -> None:
    for run_id in ("a", "b"):
        world.killed_at_the_end("LAUNCHING", run_id=run_id)
    world.wire.refusal = WrongState("it has not ended", reason="run_active")
    await world.start_again()
    world.wire.refusal = None
    await world.start_again()

    assert ["a", "b"] == world.executor.forgotten


async def test_an_executor_keeps_a_run_whose_results_are_nowhere_else(world: Killed) -> None:
    world.killed_at_the_end("LAUNCHING", "RUNNING", "COLLECTING", reason="COLLECT")
    await world.start_again()

    assert ([], 0) == (world.executor.forgotten, world.wire.starts)
    assert [RUN_ID] == world.daemon.log.held()


async def test_a_run_whose_results_are_in_its_store_is_forgotten_although_they_are_not_home(
    world: Killed,
) -> None:
    world.killed_at_the_end("LAUNCHING", "RUNNING", "COLLECTING", reason="COLLECT", stored=True)
    await world.start_again()

    assert [RUN_ID] == world.executor.forgotten


async def test_a_run_that_is_driven_on_is_forgotten_at_its_end_alone(world: Killed) -> None:
    world.daemon.accept("SNAPSHOTTING", "LAUNCHING")
    await world.start_again()

    assert ([], True) == (world.executor.forgotten, world.daemon.log.is_held(RUN_ID))


def test_of_runs_from_before_it_was_noted_an_executor_may_have_any(tmp_path: Path) -> None:
    with Records(tmp_path / "daemon.db", MIGRATIONS[:3]) as records, records.change() as database:
        database.execute("INSERT INTO run VALUES ('a', 'a', '/p', 0, 1, '', '', 0)")
    daemon = Daemon(tmp_path, Wire(ScriptedExecutor(Run())), Home(Pool("test", 1)))

    assert ["a"] == daemon.log.held()
    daemon.close()
    daemon.pool.close()
