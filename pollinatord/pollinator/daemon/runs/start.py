"""Accepting runs: from a request to a run in the log, exactly once for each request id."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable
from pathlib import Path

import grpc

from pollinator.daemon.link import ExecutorLink
from pollinator.daemon.registry import Registry
from pollinator.daemon.runs.colonies import ColonyKeeper
from pollinator.daemon.runs.crew import Crew
from pollinator.daemon.runs.home import not_kept
from pollinator.daemon.runs.log import RunLog
from pollinator.daemon.runs.secrets import SecretFiles
from pollinator.daemon.sync.projects import OpenProject, Projects, read_spec
from pollinator.daemon.sync.stores import DEFAULT, StoreKeeper
from pollinator.model.project import COLONIES, apply_overrides
from pollinator.model.run import UNSEALED
from pollinator.v1.executor_pb2 import PreflightRequest, PreflightResponse
from pollinator.v1.run_pb2 import (
    Notice,
    ProjectSource,
    Run,
    RunEvent,
    RunState,
    SnapshotSource,
    SpecOverrides,
    StartRunRequest,
)
from pollinator.v1.spec_pb2 import RunSpec
from pollinator.wire.errors import InvalidInput, PollinatorError, Violation, WrongState
from pollinator.wire.faults import crash_point

PREFLIGHT_S = 10.0

_log = logging.getLogger(__name__)


class RunStarter:
    """Accepts runs and gives them to the crew that drives them."""

    def __init__(
        self,
        log: RunLog,
        projects: Projects,
        registry: Registry,
        keeper: StoreKeeper,
        colonies: ColonyKeeper,
        secrets: SecretFiles,
        crew: Crew,
    ) -> None:
        self._runs = log
        self._projects = projects
        self._keeper = keeper
        self._colonies = colonies
        self._registry = registry
        self._secrets = secrets
        self._crew = crew

    async def start(self, request: StartRunRequest) -> Run:
        """The run that this request started, now or earlier; returns once its snapshot is sealed.

        A run whose files could not be sealed is answered as well: it has failed and says why.

        Raises:
            InvalidInput: the request or the project's spec cannot be meant; no run is recorded.
            NotFound: there is no such project or run.
        """
        if not request.request_id:
            raise InvalidInput(
                "the request has no request_id",
                reason="request_id_missing",
                violations=[
                    Violation("request_id", "make one, and use it again when the request is repeated")
                ],
            )
        run = self._runs.by_request(request.request_id)
        if run is None:
            run = await self._accept(request)
        return await self._sealed(run.id)

    async def preflight(self, request: PreflightRequest) -> PreflightResponse:
        """Check the spec of a project as it is on disk now, without running it.

        Raises:
            InvalidInput: it cannot be meant, or cannot run where it would go.
            Unavailable: the executor cannot be asked.
        """
        source = request.project
        spec = await self._crew.pool.run(read_spec, _root_of(source), source.overrides)
        colony_id = self._colony_of(source)
        link = self._registry.for_run(source.overrides.executor, spec, colony=bool(colony_id))
        await link.ensure()
        wanted = self._question(link, spec, colony_id)
        wanted.script, wanted.estimate = request.script, request.estimate
        try:
            answer = await link.executor.Preflight(wanted, timeout=PREFLIGHT_S)
        except grpc.aio.AioRpcError as error:
            raise link.meant(error) from error
        answer.executor = link.place.name
        answer.spec.CopyFrom(spec)
        return answer

    def executors(self, root: str) -> list[str] | None:
        """Names that a project may name; None when a colony is at hand, which knows others."""
        return None if self._colonies.last(root) else self._registry.names()

    async def _accept(self, request: StartRunRequest) -> Run:
        match request.WhichOneof("what"):
            case "project":
                run, overrides = await self._of_project(request)
            case "rerun":
                run, overrides = await self._of_rerun(request)
            case "snapshot":
                run, overrides = await self._of_snapshot(request.snapshot)
            case _:
                raise InvalidInput(
                    "the request does not say what to run",
                    reason="what_missing",
                    violations=[Violation("project", "name the project, the run to repeat, or a snapshot")],
                )
        link = self._registry.for_run(overrides.executor, run.spec, colony=bool(run.colony_id))
        if link.place.kind != COLONIES:
            run.colony_id = ""
        notices = await self._preflight(link, self._question(link, run.spec, run.colony_id))
        run.id = run.id or self._runs.new_id()
        run.request_id = request.request_id
        run.smoke = request.smoke
        run.executor = link.place.name
        run.attempt = 1
        run.state = RunState.RUN_STATE_ACCEPTED
        run.accept_time.GetCurrentTime()
        # From here to the log there is no await: two requests with one id cannot both pass.
        known = self._runs.by_request(request.request_id) or self._runs.by_id(run.id)
        if known is not None:
            return known
        self._secrets.keep(run.id, request.secrets)
        events = [RunEvent(notice=notice) for notice in notices]
        try:
            accepted = self._runs.accept(run, _without_secrets(request), *events)
        except PollinatorError:
            self._secrets.forget(run.id)
            raise
        crash_point("after_accept")
        self._crew.drive(run.id)
        return accepted

    async def _of_project(self, request: StartRunRequest) -> tuple[Run, SpecOverrides]:
        source = request.project
        root = _root_of(source)
        project = await self._projects.open(root, source.store if source.HasField("store") else None)
        spec = await self._crew.pool.run(read_spec, root, source.overrides)
        await self._crew.pool.run(_check_source, project, spec)
        run = Run(
            project=spec.project,
            root=str(root),
            spec=spec,
            store_id=project.store_id,
            colony_id=self._colony_of(source),
        )
        return run, source.overrides

    async def _of_rerun(self, request: StartRunRequest) -> tuple[Run, SpecOverrides]:
        earlier = self._runs.find(request.rerun.run_id)
        if not earlier.HasField("snapshot"):
            raise WrongState(
                f"run {earlier.id} was never sealed, so there is nothing to repeat",
                reason="not_sealed",
                hint="start a new run: pollinator run",
            )
        if await self._crew.pool.run(self._is_gone, earlier):
            raise not_kept(earlier, "they were removed")
        run = Run(
            project=earlier.project,
            root=earlier.root,
            spec=apply_overrides(earlier.spec, request.rerun.overrides),
            store_id=earlier.store_id,
            colony_id=earlier.colony_id or self._colonies.last(earlier.root),
            rerun_of=earlier.id,
        )
        return run, request.rerun.overrides

    def _is_gone(self, run: Run) -> bool:
        store = self._keeper.reopen(run.store_id, run.project)
        try:
            return bool(store.missing([run.snapshot.key]))
        finally:
            store.close()

    async def _of_snapshot(self, source: SnapshotSource) -> tuple[Run, SpecOverrides]:
        """What another daemon has sealed, as if this one were an executor.

        Names of executors in the spec are those that the other daemon knows.
        """
        if not source.snapshot.key or not source.spec.project or not source.run_id.isalnum():
            raise InvalidInput(
                "a run id of letters and digits, a snapshot and its spec are needed",
                reason="source_incomplete",
            )
        store = DEFAULT if source.store.WhichOneof("kind") in (None, "own") else source.store
        store_id, opened = await self._crew.pool.run(self._keeper.open, store, source.spec.project)
        await self._crew.pool.run(opened.close)
        run = Run(id=source.run_id, project=source.spec.project, spec=source.spec, store_id=store_id)
        known = [name for name in source.spec.executor_names if name in self._registry.names()]
        return run, SpecOverrides(executor=known[0] if known else self._registry.get("").place.name)

    def _colony_of(self, source: ProjectSource) -> str:
        """Id of the colony that the caller's environment names, else that the project was last used with.

        Empty where the caller meant one that cannot be used.
        """
        if source.HasField("colony"):
            return self._colonies.keep(source.root, source.colony)
        return "" if source.colony_unusable else self._colonies.last(source.root)

    def _question(self, link: ExecutorLink, spec: RunSpec, colony_id: str) -> PreflightRequest:
        """What an executor has to know to say whether it takes a run."""
        colony = self._colonies.settings(colony_id) if link.place.kind == COLONIES else None
        return PreflightRequest(spec=spec, colony=colony)

    async def _preflight(self, link: ExecutorLink, question: PreflightRequest) -> list[Notice]:
        """Ask the executor before anything is recorded; one that cannot be reached is asked at launch."""
        try:
            # Installing a whole site may take minutes; the launch does it, and says so.
            async with asyncio.timeout(PREFLIGHT_S):
                await link.ensure()
            answer = await link.executor.Preflight(question, timeout=PREFLIGHT_S)
        except TimeoutError:
            _log.warning("executor %s was not reached in time to check the run", link.place.name)
        except grpc.aio.AioRpcError as error:
            refused = link.meant(error)
            if not refused.retryable:
                raise refused from error
        except PollinatorError as error:
            _log.warning("%s", error.message)
        else:
            return list(answer.notices)
        return []

    async def _sealed(self, run_id: str) -> Run:
        while True:
            seen = self._runs.version(run_id)
            run = self._runs.get(run_id)
            if run.state not in UNSEALED:
                return run
            await self._runs.changed(run_id, seen, 60.0)


def _root_of(source: ProjectSource) -> Path:
    root = Path(source.root)
    if not root.is_absolute():
        raise InvalidInput(f"{source.root!r} is not an absolute path", reason="bad_root")
    return root


def _check_source(project: OpenProject, spec: RunSpec) -> None:
    """Say now what the job would say later in its own words."""
    if wrong := source_problem(project.worker.root, spec.source, project.worker.leaves_out):
        raise InvalidInput(
            "the program to run is missing",
            reason="source_missing",
            violations=[Violation("environment.source", wrong)],
        )


def source_problem(root: Path, source: str, leaves_out: Callable[[bytes], bool]) -> str:
    """Why a run would not find its program, or empty.

    Args:
        root: folder of the project.
        source: the program below cfs/src; may be empty.
        leaves_out: whether a file, named from the folder of the trees, is not sent.
    """
    if not source or not os.path.exists(root / "cfs"):
        return ""  # worse is wrong, and the seal says what
    path = Path("cfs", "src", source)
    if not os.path.exists(root / path):
        return f"there is no {path}"
    left_out = leaves_out(os.fsencode(Path("src", source)))
    return f"{path} is left out by an ignore rule" if left_out else ""


def _without_secrets(request: StartRunRequest) -> StartRunRequest:
    kept = StartRunRequest()
    kept.CopyFrom(request)
    kept.ClearField("secrets")
    if kept.WhichOneof("what") == "project":
        # These hold keys; the run names its store and its colony by id.
        kept.project.ClearField("store")
        kept.project.ClearField("colony")
    if kept.WhichOneof("what") == "snapshot":
        kept.snapshot.ClearField("store")
        kept.snapshot.ClearField("colony")
    return kept
