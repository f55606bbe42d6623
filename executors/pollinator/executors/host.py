"""The gRPC face of an executor: the same services as the daemon's, for snapshots instead of projects."""

from __future__ import annotations

import asyncio
import importlib.metadata
import logging
import threading
from collections.abc import AsyncIterator, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import islice
from typing import Any, TypeVar

import grpc

from pollinator.chunks.layout import disk_errors
from pollinator.executors.base import Executor, Images
from pollinator.executors.intake import check_contract, check_request
from pollinator.executors.lifecycle import Lifecycle
from pollinator.executors.runlog import RunFolder, RunFolders
from pollinator.model.project import check_spec
from pollinator.model.run import is_terminal
from pollinator.v1 import executor_pb2_grpc, run_pb2_grpc
from pollinator.v1.executor_pb2 import (
    DescribeRequest,
    DescribeResponse,
    ExplainRequest,
    ExplainResponse,
    Image,
    ListImagesRequest,
    ListImagesResponse,
    PreflightRequest,
    PreflightResponse,
    PruneImagesRequest,
    PruneImagesResponse,
    PullImageRequest,
    PullImageResponse,
)
from pollinator.v1.executor_pb2 import Executor as ExecutorMessage
from pollinator.v1.run_pb2 import (
    CancelRequested,
    CancelRunRequest,
    CancelRunResponse,
    ForgetRunRequest,
    ForgetRunResponse,
    GetRunRequest,
    GetRunResponse,
    ListRunsRequest,
    ListRunsResponse,
    Progress,
    ProgressKind,
    Run,
    RunEvent,
    RunState,
    Severity,
    StartRunRequest,
    StartRunResponse,
    WatchRunRequest,
    WatchRunResponse,
)
from pollinator.wire.errors import AlreadyExists, PollinatorError, WrongState
from pollinator.wire.faults import crash_point
from pollinator.wire.progress import Teller
from pollinator.wire.watching import watch_run

RETRY_S = 2.0
DEFAULT_PAGE = 100
MAX_PAGE = 1000
_Result = TypeVar("_Result")
_HOLDING = (RunState.RUN_STATE_STARTING, RunState.RUN_STATE_RUNNING)
_log = logging.getLogger(__name__)


class RunServicer(run_pb2_grpc.RunServiceServicer):
    """Accepts, lists, follows and cancels runs of snapshots."""

    def __init__(
        self, executor: Executor, folders: RunFolders, lifecycle: Lifecycle, group: asyncio.TaskGroup
    ) -> None:
        self._executor = executor
        self._folders = folders
        self._lifecycle = lifecycle
        self._group = group

    def recover(self) -> None:
        """Go on with every run that has not ended, or has left something behind."""
        # Those that run come first: what they hold is not free for those that wait.
        for folder in sorted(self._folders.all(), key=lambda each: each.run.state not in _HOLDING):
            if not is_terminal(folder.run.state) or not folder.released:
                self._drive(folder)

    async def StartRun(  # noqa: N802 - the protocol's name
        self, request: StartRunRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> StartRunResponse:
        """Accept a run; the same request id always answers with the same run."""
        if (known := self._known(request)) is not None:
            return known
        check_request(request)
        source = request.snapshot
        check_spec(source.spec)
        check_contract(source.spec)
        self._executor.preflight(source.spec)
        await self._executor.survey(source.spec, source.colony, [each.name for each in request.secrets])
        if (known := self._known(request)) is not None:
            # It came a second time meanwhile.
            return known
        if self._folders.has(source.run_id):
            raise AlreadyExists(
                f"there is a run {source.run_id} already, of another request", reason="run_id_taken"
            )
        run = Run(
            id=source.run_id,
            request_id=request.request_id,
            project=source.spec.project,
            executor=self._executor.kind,
            spec=source.spec,
            snapshot=source.snapshot,
            state=RunState.RUN_STATE_ACCEPTED,
            attempt=1,
        )
        run.accept_time.GetCurrentTime()
        with disk_errors(self._folders.root):
            folder = self._folders.create(run, request)
        crash_point("after_intent")
        self._drive(folder)
        return StartRunResponse(run=folder.run)

    async def GetRun(  # noqa: N802
        self, request: GetRunRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> GetRunResponse:
        """One run."""
        return GetRunResponse(run=self._folders.find(request.run_id, request.root).run)

    async def ListRuns(  # noqa: N802
        self, request: ListRunsRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> ListRunsResponse:
        """Runs, newest first."""
        size = min(request.page_size or DEFAULT_PAGE, MAX_PAGE)
        runs = (folder.run for folder in reversed(self._folders.all()))
        found = list(islice((run for run in runs if _fits(run, request)), size + 1))
        token = found[size - 1].id if len(found) > size else ""
        return ListRunsResponse(runs=found[:size], next_page_token=token)

    async def WatchRun(  # noqa: N802
        self, request: WatchRunRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> AsyncIterator[WatchRunResponse]:
        """Follow a run."""
        request.run_id = self._folders.find(request.run_id).run.id
        async for message in watch_run(self._folders, request):
            yield message

    async def CancelRun(  # noqa: N802
        self, request: CancelRunRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> CancelRunResponse:
        """Record the wish; the run's own task carries it out."""
        folder = self._folders.find(request.run_id)
        if not is_terminal(folder.run.state) and not folder.run.cancel_requested:
            wish = CancelRequested(by=request.by, superseded=request.superseded)
            folder.append(RunEvent(cancel_requested=wish))
            crash_point("after_cancel_requested")
        return CancelRunResponse(run=folder.run)

    async def ForgetRun(  # noqa: N802
        self, request: ForgetRunRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> ForgetRunResponse:
        """Keep the newest of the runs that nobody needs any more."""
        folder = self._folders.find(request.run_id)
        if not is_terminal(folder.run.state):
            raise WrongState(f"run {folder.run.id} has not ended", reason="run_active")
        for path in self._folders.forget(folder):
            await self._lifecycle.remove(path)
        return ForgetRunResponse()

    def _known(self, request: StartRunRequest) -> StartRunResponse | None:
        """The answer to a request that comes again."""
        known = self._folders.by_request(request.request_id)
        if known is None:
            return None
        known.renew(request.snapshot.store)
        return StartRunResponse(run=known.run)

    def _drive(self, folder: RunFolder) -> None:
        self._group.create_task(self._live(folder), name=f"run {folder.run.id}")

    async def _live(self, folder: RunFolder) -> None:
        while True:
            try:
                await self._lifecycle.live(folder)
                return
            except (OSError, PollinatorError) as error:
                # Nothing is lost: the run's own log says where it is. A full disk may have room again.
                _log.error("run %s: %s; trying again", folder.run.id, error)
            except Exception:  # noqa: BLE001 - the root of one run: a defect it meets must not end the others
                _log.exception("run %s: trying again", folder.run.id)
            await asyncio.sleep(RETRY_S)


class ExecutorServicer(executor_pb2_grpc.ExecutorServiceServicer):
    """What the executor says about itself."""

    def __init__(
        self,
        executor: Executor,
        folders: RunFolders,
        threads: ThreadPoolExecutor,
        address: str,
        settings: Mapping[str, str],
    ) -> None:
        self._executor = executor
        self._settings = settings
        self._folders = folders
        self._threads = threads
        self._address = address
        # Read now: an upgrade of the installation would make this process claim to be what it is not.
        self._version = importlib.metadata.version("pollinatord")

    async def Describe(  # noqa: N802
        self, request: DescribeRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> DescribeResponse:
        """Kind, version, limits, load."""
        active = sum(not is_terminal(folder.run.state) for folder in self._folders.all())
        message = ExecutorMessage(
            name=self._executor.kind,
            kind=self._executor.kind,
            version=self._version,
            address=self._address,
            healthy=True,
            active_runs=active,
            settings=self._settings,
        )
        message.capabilities.CopyFrom(self._executor.capabilities())
        return DescribeResponse(executor=message)

    async def Explain(  # noqa: N802
        self, request: ExplainRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> ExplainResponse:
        """Why a run waits."""
        folder = self._folders.find(request.run_id)
        run = folder.run
        pending = run.pending if run.HasField("pending") else None
        if not is_terminal(run.state):
            pending = await self._executor.explain(folder.job, pending, estimate=request.estimate)
        return ExplainResponse(pending=pending)

    async def Preflight(  # noqa: N802
        self, request: PreflightRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> PreflightResponse:
        """Check a spec."""
        check_spec(request.spec)
        check_contract(request.spec)
        answer = PreflightResponse(notices=self._executor.preflight(request.spec))
        if request.spec.location and not request.colony.name:
            text = "conditions.location is left out: only executors of a colony say where they are"
            answer.notices.add(severity=Severity.SEVERITY_WARNING, code="not_known_there", text=text)
        answer.notices.extend(await self._executor.survey(request.spec, request.colony, ()))
        if request.script or request.estimate:
            preview = await self._executor.preview(
                request.spec, request.colony, script=request.script, estimate=request.estimate
            )
            answer.script = preview.script
            if preview.eta is not None:
                answer.eta.FromDatetime(preview.eta)
        return answer

    async def ListImages(  # noqa: N802
        self, request: ListImagesRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> ListImagesResponse:
        """Images that are ready."""
        images = self._executor.images
        return ListImagesResponse(images=await self._in_thread(images.all) if images else ())

    async def PullImage(  # noqa: N802
        self, request: PullImageRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> AsyncIterator[PullImageResponse]:
        """Make an image ready; who goes away while that is done ends it."""
        images = self._images()
        told: asyncio.Queue[Progress | None] = asyncio.Queue()
        teller = Teller(told.put_nowait, ProgressKind.PROGRESS_KIND_IMAGE)
        gone = threading.Event()

        def tell(done: int) -> None:
            if gone.is_set():
                raise WrongState("nobody waits for the image any more", reason="cancelled")
            teller(done)

        async def pull() -> Image | PollinatorError:
            work = partial(images.pull, request.reference, request.engine, rebuild=request.rebuild, tell=tell)
            try:
                return await self._in_thread(work)
            except PollinatorError as error:
                # Not raised here, where it would come out in a group.
                return error
            finally:
                told.put_nowait(None)

        try:
            async with asyncio.TaskGroup() as group:
                pulling = group.create_task(pull(), name="pull")
                while (progress := await told.get()) is not None:
                    yield PullImageResponse(progress=progress)
        finally:
            gone.set()
        if isinstance(image := pulling.result(), PollinatorError):
            raise image
        yield PullImageResponse(image=image)

    async def PruneImages(  # noqa: N802
        self, request: PruneImagesRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> PruneImagesResponse:
        """Remove images that nobody used for some time."""
        prune = partial(self._images().prune, request.unused_s, dry_run=request.dry_run)
        return PruneImagesResponse(images=await self._in_thread(prune))

    def _images(self) -> Images:
        if self._executor.images is None:
            raise WrongState("there is no container engine here", reason="no_container_engine")
        return self._executor.images

    async def _in_thread(self, work: Callable[[], _Result]) -> _Result:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)


def _fits(run: Run, request: ListRunsRequest) -> bool:
    return (
        run.id.startswith(request.id_prefix)
        and not (request.active and is_terminal(run.state))
        and (not request.page_token or run.id < request.page_token)
        and (not request.root or run.root == request.root)
        and run.accept_time.ToNanoseconds() >= request.since.ToNanoseconds()
    )
