"""A daemon that drives one run, an executor that does what a test says, and the wire between them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from pollinator.daemon.pool import Pool
from pollinator.daemon.runs import crew, driver
from pollinator.daemon.runs.crew import Crew
from pollinator.model.run import is_terminal
from pollinator.v1.run_pb2 import CancelRequested, Run, RunEvent
from support.scripted_executor import RUN_ID, Daemon, Home, ScriptedExecutor, Wire, until


@pytest.fixture(autouse=True)
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    for module, name in ((driver, "RETRY_S"), (crew, "RETRY_S")):
        monkeypatch.setattr(module, name, 0.01)


class World:
    """A daemon, an executor and the wire between them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.executor = ScriptedExecutor(Run(id=RUN_ID))
        self.wire = Wire(self.executor)
        self.home = Home(Pool("test", 1))
        self.projects: object = None
        self.bridge: object = None
        self.daemon = self.started()

    def started(self) -> Daemon:
        return Daemon(self.folder, self.wire, self.home, self.projects, self.bridge)

    def restart(self) -> None:
        self.daemon.close()
        self.daemon = self.started()

    @property
    def run(self) -> Run:
        return self.daemon.log.get(RUN_ID)

    def wish_to_cancel(self) -> None:
        self.daemon.log.append(RUN_ID, RunEvent(cancel_requested=CancelRequested()))

    @asynccontextmanager
    async def crew(self) -> AsyncGenerator[Crew]:
        """Whoever drives runs, until the end of the block."""
        async with asyncio.TaskGroup() as group:
            crew = self.daemon.crew(group)
            yield crew
            await crew.stop()

    @asynccontextmanager
    async def driving(self) -> AsyncGenerator[asyncio.Task[None]]:
        """The run is driven meanwhile, and let go at the end if it has not ended."""
        async with self.crew() as working:
            working.drive(RUN_ID)
            yield next(task for task in asyncio.all_tasks() if task.get_name() == f"run {RUN_ID}")

    async def ended(self) -> Run:
        await until(lambda: is_terminal(self.run.state), "the run has ended")
        return self.run

    def notes(self) -> list[str]:
        """Kinds of the events, in order."""
        return [str(event.WhichOneof("kind")) for event in self.daemon.log.events(RUN_ID, 0)]

    def close(self) -> None:
        self.daemon.close()
        self.home.pool.close()


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path)
    yield world
    world.close()
