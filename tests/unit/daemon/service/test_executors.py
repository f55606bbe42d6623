"""What the daemon passes on to executors, and how it forgets one."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any, cast

import grpc
import pytest

from pollinator.daemon.registry import Registry
from pollinator.daemon.runs.crew import Crew
from pollinator.daemon.runs.log import RunLog
from pollinator.daemon.runs.output import OutputFiles
from pollinator.daemon.runs.start import RunStarter
from pollinator.daemon.service.executors import ExecutorRegistryServicer, ExecutorServicer
from pollinator.v1 import executor_pb2_grpc
from pollinator.v1.executor_pb2 import (
    DescribeRequest,
    DescribeResponse,
    ListImagesRequest,
    ListImagesResponse,
    PruneImagesRequest,
    PruneImagesResponse,
    RemoveExecutorRequest,
)
from pollinator.v1.run_pb2 import Run, StartRunRequest
from pollinator.wire.errors import WrongState
from pollinator.wire.serving import bind_unix
from support.scripted_executor import Ticks, moved, open_records

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


# Forgetting one


class Place:
    """A daemon's list of executors and of runs, and an ssh that reaches nobody."""

    def __init__(self, folder: Path) -> None:
        ssh = folder / "ssh"
        ssh.write_text(f"#!/bin/sh\necho x >> {folder}/calls\nexit 255\n")
        ssh.chmod(0o755)
        self.folder = folder
        self.records = open_records(folder)
        self.log = RunLog(self.records, OutputFiles(folder / "output"), Ticks())
        self.registry = Registry(folder / "executors", [str(ssh)])
        self._calls = ExecutorRegistryServicer(self.registry, self.log, cast("Crew", None))

    def add(self, address: str) -> None:
        self.registry.add("lumi", address, "", {})

    def ended(self, run_id: str, reason: str, executor: str = "lumi") -> None:
        self.log.accept(Run(id=run_id, request_id=run_id, executor=executor, attempt=1), StartRunRequest())
        for state in ("SNAPSHOTTING", "LAUNCHING", "RUNNING", "COLLECTING"):
            self.log.append(run_id, moved(state))
        self.log.append(run_id, moved("FAILED", reason))

    async def remove(self, *, force: bool = False) -> None:
        await self._calls.RemoveExecutor(RemoveExecutorRequest(name="lumi", force=force), NO_CONTEXT)

    def ssh_was_called(self) -> bool:
        return (self.folder / "calls").exists()


@pytest.fixture
async def place(tmp_path: Path) -> AsyncGenerator[Place]:
    place = Place(tmp_path)
    yield place
    await place.registry.close()
    place.records.close()


async def test_an_executor_with_results_that_are_nowhere_else_is_not_removed_unless_forced(
    place: Place,
) -> None:
    place.add("ssh://lumi")
    for run_id, reason in (("a", "COLLECT"), ("b", "EXIT_CODE"), ("c", "COLLECT")):
        place.ended(run_id, reason)
    place.ended("d", "COLLECT", executor="other")
    with pytest.raises(WrongState) as caught:
        await place.remove()
    untouched = not place.ssh_was_called()
    await place.remove(force=True)

    assert "results_left" == caught.value.reason
    assert "executor lumi has the only results of a, c" == caught.value.message
    assert "pollinator show a" in caught.value.hint
    assert caught.value.hint.endswith("pollinator executors remove --force lumi")
    assert untouched
    assert place.ssh_was_called()
    assert ["local"] == place.registry.names()


async def test_results_that_went_with_an_executor_hold_no_other_of_its_name(place: Place) -> None:
    place.add("ssh://lumi")
    place.ended("a", "COLLECT")
    await place.remove(force=True)
    place.add("ssh://lumi")
    await place.remove()

    assert ["local"] == place.registry.names()


async def test_a_run_that_goes_on_is_told_together_with_results_that_are_nowhere_else(place: Place) -> None:
    place.add("ssh://lumi")
    place.ended("a", "COLLECT")
    place.log.accept(Run(id="b", request_id="b", executor="lumi", attempt=1), StartRunRequest())
    with pytest.raises(WrongState) as caught:
        await place.remove()

    assert "executor_busy" == caught.value.reason
    assert "1 run that has not ended and the only results of a" in caught.value.message


async def test_an_executor_that_somebody_else_serves_keeps_its_results_and_may_be_removed(
    place: Place,
) -> None:
    place.add(f"unix:{place.folder}/x.sock")
    place.ended("a", "COLLECT")
    await place.remove()

    assert ["local"] == place.registry.names()
