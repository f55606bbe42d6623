"""How long the daemon keeps the secrets of a run: as long as it may have to launch it, and no longer."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import pytest

from pollinator.daemon.registry import Registry
from pollinator.daemon.runs.colonies import ColonyKeeper
from pollinator.daemon.runs.start import RunStarter
from pollinator.daemon.sync.projects import Projects
from pollinator.daemon.sync.stores import StoreKeeper
from pollinator.v1.run_pb2 import Secret, StartRunRequest
from pollinator.v1.spec_pb2 import RunSpec
from pollinator.v1.tree_pb2 import SnapshotRef
from pollinator.wire.errors import Exhausted, InvalidInput, PollinatorError, Unavailable
from support.disk import full_disk
from support.driving import World, hurry, world
from support.scripted_executor import RUN_ID, moved, until

__all__ = ["hurry", "world"]

TOKEN = Secret(name="TOKEN", value="hunter2")


def kept(world: World) -> list[str]:
    return [path.name for path in (world.folder / "secrets").iterdir()]


async def test_an_executor_that_lost_a_run_it_had_accepted_gets_the_secrets_again(world: World) -> None:
    world.daemon.accept("SNAPSHOTTING", "LAUNCHING")
    world.daemon.secrets.keep(RUN_ID, [TOKEN])
    async with world.driving():
        await until(lambda: world.daemon.log.executor_seq(RUN_ID) > 0, "the executor has it")
    world.restart()
    async with world.driving():
        await until(lambda: len(world.executor.started) > 1, "it is launched again")

    assert [[TOKEN], [TOKEN]] == [list(request.secrets) for request in world.executor.started]


async def test_they_are_gone_when_the_run_has_moved_on_at_its_executor(world: World) -> None:
    world.daemon.accept("SNAPSHOTTING", "LAUNCHING")
    world.daemon.secrets.keep(RUN_ID, [TOKEN])
    for state in ("LAUNCHING", "QUEUED"):
        world.executor.record(moved(state))
    async with world.driving():
        await until(lambda: not kept(world), "they are gone")


async def test_they_are_gone_after_a_kill_between_the_record_of_that_and_their_removal(world: World) -> None:
    world.daemon.accept("SNAPSHOTTING", "LAUNCHING", "QUEUED")
    world.daemon.secrets.keep(RUN_ID, [TOKEN])
    world.restart()
    async with world.driving():
        await until(lambda: not kept(world), "they are gone")


@pytest.mark.parametrize("states", [(), ("SNAPSHOTTING",), ("SNAPSHOTTING", "LAUNCHING")])
async def test_they_are_gone_when_a_run_is_cancelled_before_it_is_launched(
    world: World, states: tuple[str, ...]
) -> None:
    world.daemon.accept(*states)
    world.daemon.secrets.keep(RUN_ID, [TOKEN])
    world.wish_to_cancel()
    async with world.driving() as task:
        await until(task.done, "it has ended")

    assert ([], []) == (kept(world), world.executor.started)


@pytest.mark.parametrize(
    ("known", "refusal"), [(True, InvalidInput("cannot run here", reason="cannot_run_here")), (False, None)]
)
async def test_they_are_gone_when_a_launch_is_refused_or_the_run_is_lost(
    world: World, known: bool, refusal: PollinatorError | None
) -> None:
    world.daemon.accept("SNAPSHOTTING", "LAUNCHING")
    world.daemon.secrets.keep(RUN_ID, [TOKEN])
    world.executor.knows_it, world.wire.refusal = known, refusal
    async with world.driving() as task:
        await until(task.done, "it has ended")

    assert [] == kept(world)


class Nobody:
    """An executor that is never up, by the only name there is."""

    name = kind = "local"

    @property
    def place(self) -> Nobody:
        return self

    def names(self) -> list[str]:
        return [self.name]

    def get(self, name: str) -> Nobody:
        return self

    def for_run(self, asked: str, spec: RunSpec, *, colony: bool) -> Nobody:
        return self

    async def ensure(self) -> None:
        raise Unavailable("down", reason="executor_down")


async def test_they_are_gone_when_the_run_could_not_be_recorded(world: World, tmp_path: Path) -> None:
    request = StartRunRequest(request_id="r", secrets=[TOKEN])
    request.snapshot.run_id = RUN_ID
    request.snapshot.spec.CopyFrom(RunSpec(project="p"))
    request.snapshot.snapshot.CopyFrom(SnapshotRef(key="s/ab/abc", digest=b"d"))
    async with world.crew() as crew:
        starter = RunStarter(
            world.daemon.log,
            cast("Projects", None),
            cast("Registry", Nobody()),
            StoreKeeper(tmp_path / "stores"),
            ColonyKeeper(tmp_path / "colonies"),
            world.daemon.secrets,
            crew,
        )
        with full_disk(200), pytest.raises(Exhausted):
            await starter.start(request)

    assert [] == kept(world)
