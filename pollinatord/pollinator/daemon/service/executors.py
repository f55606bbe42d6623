"""ExecutorService (forwarded by name) and ExecutorRegistryService at the daemon."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, TypeVar

import grpc

from pollinator.daemon.link import ExecutorLink
from pollinator.daemon.registry import Registry
from pollinator.daemon.runs.crew import Crew
from pollinator.daemon.runs.forgetting import left_there
from pollinator.daemon.runs.log import RunLog
from pollinator.daemon.runs.start import RunStarter
from pollinator.v1 import executor_pb2_grpc
from pollinator.v1.executor_pb2 import (
    AddExecutorRequest,
    AddExecutorResponse,
    ConfigureExecutorRequest,
    ConfigureExecutorResponse,
    ConnectExecutorRequest,
    ConnectExecutorResponse,
    DescribeRequest,
    DescribeResponse,
    Executor,
    ExplainRequest,
    ExplainResponse,
    ListExecutorsRequest,
    ListExecutorsResponse,
    ListImagesRequest,
    ListImagesResponse,
    PreflightRequest,
    PreflightResponse,
    PruneImagesRequest,
    PruneImagesResponse,
    PullImageRequest,
    PullImageResponse,
    RemoveExecutorRequest,
    RemoveExecutorResponse,
)
from pollinator.v1.executor_pb2_grpc import ExecutorServiceStub
from pollinator.v1.run_pb2 import CancelRunRequest, PendingReason, Run
from pollinator.wire.errors import PollinatorError, WrongState

_Answer = TypeVar("_Answer")
FORWARD_S = 10.0
CLEAN_S = 6 * 3600.0
"""The same where much may have to be removed; clients wait so long."""
CANCEL_S = 10.0
"""How long an executor that is removed may take to end its runs."""


class ExecutorServicer(executor_pb2_grpc.ExecutorServiceServicer):
    """Passes questions on to the executor they are about."""

    def __init__(self, registry: Registry, log: RunLog, starter: RunStarter) -> None:
        self._registry = registry
        self._runs = log
        self._starter = starter

    async def Describe(  # noqa: N802 - the protocol's name
        self, request: DescribeRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> DescribeResponse:
        """What an executor is and can do; starts it when it does not run."""
        link = self._registry.get(request.executor)
        link.transport.hurry()
        await link.ensure()
        return DescribeResponse(executor=await link.describe(FORWARD_S))

    async def Explain(  # noqa: N802
        self, request: ExplainRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> ExplainResponse:
        """Why a run waits, as its executor sees it."""
        run = self._runs.find(request.run_id)
        link = self._registry.get(run.executor)
        try:
            await link.ensure()
        except PollinatorError as error:
            if not error.retryable:
                raise
            return ExplainResponse(
                pending=PendingReason(code=error.reason, text=error.message, action=error.hint)
            )
        try:
            return await link.executor.Explain(
                ExplainRequest(run_id=run.id, estimate=request.estimate), timeout=FORWARD_S
            )
        except grpc.aio.AioRpcError as error:
            raise link.meant(error) from error

    async def Preflight(  # noqa: N802
        self, request: PreflightRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> PreflightResponse:
        """Check a spec without running it, or that of a project."""
        if request.HasField("project"):
            return await self._starter.preflight(request)
        return await self._asked(
            request.executor, lambda executor: executor.Preflight(request, timeout=FORWARD_S)
        )

    async def ListImages(  # noqa: N802
        self, request: ListImagesRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> ListImagesResponse:
        """Images that are ready at an executor."""
        return await self._asked(
            request.executor, lambda executor: executor.ListImages(request, timeout=FORWARD_S)
        )

    async def PullImage(  # noqa: N802
        self, request: PullImageRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> AsyncIterator[PullImageResponse]:
        """Make an image ready at an executor."""
        link = self._registry.get(request.executor)
        await link.ensure()
        call = link.executor.PullImage(request)
        try:
            async for answer in call:
                yield answer
        except grpc.aio.AioRpcError as error:
            raise link.meant(error) from error
        finally:
            call.cancel()

    async def PruneImages(  # noqa: N802
        self, request: PruneImagesRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> PruneImagesResponse:
        """Remove images at an executor."""
        return await self._asked(
            request.executor, lambda executor: executor.PruneImages(request, timeout=CLEAN_S)
        )

    async def _asked(self, name: str, ask: Callable[[ExecutorServiceStub], Awaitable[_Answer]]) -> _Answer:
        link = self._registry.get(name)
        await link.ensure()
        try:
            return await ask(link.executor)
        except grpc.aio.AioRpcError as error:
            raise link.meant(error) from error


class ExecutorRegistryServicer(executor_pb2_grpc.ExecutorRegistryServiceServicer):
    """The daemon's list of executors."""

    def __init__(self, registry: Registry, log: RunLog, crew: Crew) -> None:
        self._registry = registry
        self._runs = log
        self._crew = crew

    async def ListExecutors(  # noqa: N802
        self, request: ListExecutorsRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> ListExecutorsResponse:
        """All executors, reachable or not; none is started for this."""
        links = [self._registry.get(name) for name in self._registry.names()]
        return ListExecutorsResponse(executors=await asyncio.gather(*(link.look() for link in links)))

    async def AddExecutor(  # noqa: N802
        self, request: AddExecutorRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> AddExecutorResponse:
        """Remember one."""
        link = self._registry.add(request.name, request.address, request.kind, request.settings)
        return AddExecutorResponse(executor=await link.look())

    async def ConfigureExecutor(  # noqa: N802
        self, request: ConfigureExecutorRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> ConfigureExecutorResponse:
        """Change settings of one."""
        link = await self._registry.configure(request.name, request.settings, request.unset)
        return ConfigureExecutorResponse(executor=await link.look())

    async def RemoveExecutor(  # noqa: N802
        self, request: RemoveExecutorRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> RemoveExecutorResponse:
        """Forget one, unless runs of it go on or results would go with it."""
        link = self._registry.get(request.name)
        name = link.place.name
        going = self._going(name)
        if not request.force:
            self._refuse_to_lose(link, going)
        await self._give_up(name)
        busy = not await _ended(link, going)
        left = await self._registry.remove(name, busy=busy)
        # Those that were accepted meanwhile have no executor any more.
        await self._give_up(name)
        for run in self._held(name):
            self._runs.let_go(run.id)
        return RemoveExecutorResponse(left_behind=left)

    def _refuse_to_lose(self, link: ExecutorLink, going: list[str]) -> None:
        name = link.place.name
        left = [run.id for run in self._held(name) if left_there(run)] if link.transport.owned else []
        have = list[str]()
        steps = list[str]()
        if going:
            have.append(
                "1 run that has not ended" if len(going) == 1 else f"{len(going)} runs that have not ended"
            )
            steps.append("end them first")
        if left:
            have.append(f"the only results of {', '.join(left)}")
            steps.append(f"fetch the results from where 'pollinator show {left[0]}' says that they are")
        if have:
            raise WrongState(
                f"executor {name} has {' and '.join(have)}",
                reason="executor_busy" if going else "results_left",
                hint=f"{', '.join(steps)}, or lose them: pollinator executors remove --force {name}",
            )

    def _held(self, name: str) -> list[Run]:
        runs = [self._runs.get(run_id) for run_id in self._runs.held()]
        return [run for run in runs if run.executor == name]

    def _going(self, name: str) -> list[str]:
        return [run.id for run in self._runs.active() if run.executor == name]

    async def _give_up(self, name: str) -> None:
        for run_id in self._going(name):
            await self._crew.give_up(run_id, f"executor {name} was removed")

    async def ConnectExecutor(  # noqa: N802
        self, request: ConnectExecutorRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> AsyncIterator[ConnectExecutorResponse]:
        """Reach one now, and say what is done."""
        link = self._registry.get(request.name)
        told: asyncio.Queue[str | None] = asyncio.Queue()
        async with asyncio.TaskGroup() as group:
            reaching = group.create_task(_outcome(link, told.put_nowait), name="connect")
            reaching.add_done_callback(lambda _: told.put_nowait(None))
            while (step := await told.get()) is not None:
                yield ConnectExecutorResponse(step=step)
        found = reaching.result()
        if isinstance(found, PollinatorError):
            raise found
        yield ConnectExecutorResponse(executor=found)


async def _ended(link: ExecutorLink, run_ids: list[str]) -> bool:
    """End runs that nobody here knows any more, if their executor can be reached; whether that is done."""
    if not run_ids:
        return True
    try:
        for run_id in run_ids:
            await link.runs.CancelRun(CancelRunRequest(run_id=run_id), timeout=CANCEL_S)
        async with asyncio.timeout(CANCEL_S):
            while (await link.describe(CANCEL_S)).active_runs:  # noqa: ASYNC110 - nothing tells of all runs
                await asyncio.sleep(0.1)
    except (grpc.aio.AioRpcError, PollinatorError, TimeoutError):
        return False
    return True


async def _outcome(link: ExecutorLink, tell: Callable[[str], None]) -> Executor | PollinatorError:
    """An error that left the group would come out as a group."""
    try:
        return await link.connect(tell)
    except PollinatorError as error:
        return error
