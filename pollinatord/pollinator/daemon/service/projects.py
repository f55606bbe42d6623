"""ProjectService: watching, sealing, results and history of projects."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

import grpc

from pollinator.daemon.pool import Pool
from pollinator.daemon.runs.compare import compare_runs
from pollinator.daemon.runs.home import ResultsHome
from pollinator.daemon.runs.log import RunLog
from pollinator.daemon.service.checking import check_spec
from pollinator.daemon.service.ignoring import check_ignored
from pollinator.daemon.service.looking import RunLooking
from pollinator.daemon.service.transfers import Transfers
from pollinator.daemon.service.upkeep import Upkeep
from pollinator.daemon.service.watching import ProjectWatch
from pollinator.daemon.sync.biggest import LIMIT
from pollinator.daemon.sync.git import head_commit
from pollinator.daemon.sync.projects import OpenProject as Opened
from pollinator.daemon.sync.projects import Projects, read_spec
from pollinator.model.run import UNSEALED
from pollinator.v1 import project_pb2_grpc
from pollinator.v1.project_pb2 import (
    CheckIgnoredRequest,
    CheckIgnoredResponse,
    CheckoutRequest,
    CheckoutResponse,
    CheckSpecRequest,
    CheckSpecResponse,
    CheckStoreRequest,
    CheckStoreResponse,
    CloseProjectRequest,
    CloseProjectResponse,
    CollectRequest,
    CollectResponse,
    DiffRunsRequest,
    DiffRunsResponse,
    GetProjectRequest,
    GetProjectResponse,
    ListBiggestRequest,
    ListBiggestResponse,
    ListFilesRequest,
    ListFilesResponse,
    ListProblemsRequest,
    ListProblemsResponse,
    ListProjectsRequest,
    ListProjectsResponse,
    OpenProjectRequest,
    OpenProjectResponse,
    PinRunRequest,
    PinRunResponse,
    PullResultsRequest,
    PullResultsResponse,
    ReadFileRequest,
    ReadFileResponse,
    SealRequest,
    SealResponse,
    WatchProjectRequest,
    WatchProjectResponse,
    WatchTransferRequest,
    WatchTransferResponse,
)
from pollinator.v1.run_pb2 import ProgressKind, Run
from pollinator.v1.store_pb2 import StoreSettings
from pollinator.wire.errors import InvalidInput, WrongState


class ProjectServicer(project_pb2_grpc.ProjectServiceServicer):
    """The daemon's projects."""

    def __init__(
        self,
        projects: Projects,
        log: RunLog,
        home: ResultsHome,
        upkeep: Upkeep,
        pool: Pool,
        *,
        executors: Callable[[str], Sequence[str] | None],
    ) -> None:
        """``executors`` names those that the project in a folder may name; None is any."""
        self._projects = projects
        self._runs = log
        self._home = home
        self._upkeep = upkeep
        self._pool = pool
        self._executors = executors
        self._transfers = Transfers()
        self._watching = ProjectWatch(projects, log, upkeep.pinned)
        self._looking = RunLooking(log, home, pool)

    async def OpenProject(  # noqa: N802 - the protocol's name
        self, request: OpenProjectRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> OpenProjectResponse:
        """Watch a project, for good."""
        project = await self._open(request.root, request.store if request.HasField("store") else None)
        return OpenProjectResponse(project=project.describe())

    async def ListProjects(  # noqa: N802
        self, request: ListProjectsRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> ListProjectsResponse:
        """All opened projects."""
        return ListProjectsResponse(projects=[project.describe() for project in self._projects.all()])

    async def CloseProject(  # noqa: N802
        self, request: CloseProjectRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> CloseProjectResponse:
        """Stop watching a project; one of which a run is being sealed stays."""
        for run in self._runs.active():
            if run.root == request.root and run.state in UNSEALED:
                raise WrongState(
                    f"run {run.id} of it is being sealed",
                    reason="being_sealed",
                    hint=f"try again in a moment, or end it: pollinator cancel {run.id}",
                )
        await self._projects.forget(request.root)
        return CloseProjectResponse()

    async def GetProject(  # noqa: N802
        self, request: GetProjectRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> GetProjectResponse:
        """The state of one project."""
        return GetProjectResponse(project=self._projects.get(request.root).describe())

    async def WatchProject(  # noqa: N802
        self, request: WatchProjectRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> AsyncIterator[WatchProjectResponse]:
        """The state of a project and its runs, and what changes."""
        async for message in self._watching.watch(request):
            yield message

    async def Seal(  # noqa: N802
        self, request: SealRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> SealResponse:
        """Barrier and snapshot."""
        project = await self._open(request.root, request.store if request.HasField("store") else None)
        root = project.worker.root
        sealed = await project.worker.seal(
            await self._pool.run(read_spec, root),
            strict=request.strict,
            git_commit=await self._pool.run(head_commit, root / "cfs" / "src"),
            accept_deletions=request.accept_deletions,
        )
        self._upkeep.sealed(project)
        return SealResponse(snapshot=sealed.ref, report=sealed.report, notices=sealed.notices)

    async def PullResults(  # noqa: N802
        self, request: PullResultsRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> PullResultsResponse:
        """Lay the results of a run out."""
        run = self._runs.find(request.run_id)
        with self._transfers.under(request.transfer_id, ProgressKind.PROGRESS_KIND_FETCH) as teller:
            return await self._home.pull(run, request.directory, teller)

    async def Checkout(  # noqa: N802
        self, request: CheckoutRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> CheckoutResponse:
        """Restore the trees a run ran with."""
        _absolute(request.directory)
        run = self._runs.find(request.run_id)
        with self._transfers.under(request.transfer_id, ProgressKind.PROGRESS_KIND_LAY_OUT) as teller:
            return await self._home.checkout(run, request.directory, teller)

    async def WatchTransfer(  # noqa: N802
        self, request: WatchTransferRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> AsyncIterator[WatchTransferResponse]:
        """How far a call is."""
        async for progress in self._transfers.watch(request.transfer_id):
            yield WatchTransferResponse(progress=progress)

    async def DiffRuns(  # noqa: N802
        self, request: DiffRunsRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> DiffRunsResponse:
        """What changed between two runs, or between a run and what is on disk now."""
        base = self._runs.find(request.base_run_id)
        if request.run_id:
            other = self._runs.find(request.run_id)
        else:
            project = await self._open(base.root, None)
            spec = await self._pool.run(read_spec, project.worker.root, request.overrides)
            ref = (await project.worker.seal(spec, strict=False, git_commit="")).ref
            other = Run(store_id=project.store_id, project=project.name, snapshot=ref, spec=spec)

        def compare() -> DiffRunsResponse:
            with self._home.reading(base) as first, self._home.reading(other) as second:
                return compare_runs(first, base, second, other)

        return await self._pool.run(compare)

    async def CheckIgnored(  # noqa: N802
        self, request: CheckIgnoredRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> CheckIgnoredResponse:
        """Whether paths are left out, and by which rule; the project need not be open."""
        _absolute(request.root)
        verdicts = await self._pool.run(check_ignored, Path(request.root), request.paths)
        return CheckIgnoredResponse(verdicts=verdicts)

    async def ListBiggest(  # noqa: N802
        self, request: ListBiggestRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> ListBiggestResponse:
        """The largest files and directories."""
        worker = self._projects.get(request.root).worker
        return ListBiggestResponse(paths=await worker.biggest(request.limit or LIMIT))

    async def Collect(  # noqa: N802
        self, request: CollectRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> AsyncIterator[CollectResponse]:
        """Remove what nobody needs from a project's store."""
        async for answer in self._upkeep.collect(await self._open(request.root, None), request):
            yield answer

    async def CheckStore(  # noqa: N802
        self, request: CheckStoreRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> AsyncIterator[CheckStoreResponse]:
        """Compare what is known of a project's store with what it holds."""
        async for answer in self._upkeep.check(await self._open(request.root, None), request):
            yield answer

    async def PinRun(  # noqa: N802
        self, request: PinRunRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> PinRunResponse:
        """Keep the files of a run, or let go of them."""
        return await self._upkeep.pin(request)

    async def CheckSpec(  # noqa: N802
        self, request: CheckSpecRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> CheckSpecResponse:
        """What is wrong with a project.yaml."""
        _absolute(request.root)
        text = request.text if request.HasField("text") else None
        known = self._executors(request.root)
        return CheckSpecResponse(problems=await self._pool.run(check_spec, Path(request.root), text, known))

    async def ListProblems(  # noqa: N802
        self, request: ListProblemsRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> ListProblemsResponse:
        """Places in the sources that the output of a failed run names."""
        return await self._looking.problems(request)

    async def ListFiles(  # noqa: N802
        self, request: ListFilesRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> ListFilesResponse:
        """What a run ran with, or what it left."""
        return await self._looking.files(request)

    async def ReadFile(  # noqa: N802
        self, request: ReadFileRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> AsyncIterator[ReadFileResponse]:
        """The content of one file of a run."""
        async for piece in self._looking.read(request):
            yield piece

    async def _open(self, root: str, store: StoreSettings | None) -> Opened:
        _absolute(root)
        return await self._projects.open(Path(root), store)


def _absolute(path: str) -> None:
    if not Path(path).is_absolute():
        raise InvalidInput(f"{path!r} is not an absolute path", reason="bad_path")
