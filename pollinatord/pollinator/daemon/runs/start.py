"""Accepting runs: from a request to a run in the log, exactly once for each request id."""

from __future__ import annotations

import logging
import os
import time
from pathlib import Path

import grpc

from pollinator.daemon.registry import ExecutorLink, Registry
from pollinator.daemon.runs.crew import Crew
from pollinator.daemon.runs.log import RunLog
from pollinator.daemon.runs.secrets import SecretFiles
from pollinator.daemon.sync.projects import Projects, read_spec
from pollinator.model.ids import run_id
from pollinator.model.project import apply_overrides
from pollinator.v1.executor_pb2 import PreflightRequest
from pollinator.v1.run_pb2 import Notice, Run, RunEvent, RunState, SpecOverrides, StartRunRequest
from pollinator.v1.spec_pb2 import RunSpec
from pollinator.wire.errors import InvalidInput, PollinatorError, Violation, WrongState
from pollinator.wire.faults import crash_point
from pollinator.wire.status import to_error

PREFLIGHT_S = 10.0

_UNSEALED = (RunState.RUN_STATE_ACCEPTED, RunState.RUN_STATE_SNAPSHOTTING)
_log = logging.getLogger(__name__)


class RunStarter:
    """Accepts runs and gives them to the crew that drives them."""

    def __init__(
        self, log: RunLog, projects: Projects, registry: Registry, secrets: SecretFiles, crew: Crew
    ) -> None:
        self._runs = log
        self._projects = projects
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

    async def _accept(self, request: StartRunRequest) -> Run:
        match request.WhichOneof("what"):
            case "project":
                run, overrides = await self._of_project(request)
            case "rerun":
                run, overrides = self._of_rerun(request)
            case _:
                raise InvalidInput(
                    "this daemon starts runs of projects, not of snapshots",
                    reason="source_unsupported",
                    violations=[Violation("project", "name the project, or the run to repeat")],
                )
        link = self._choose(run.spec, overrides)
        notices = await self._preflight(link, run.spec)
        run.id = run_id(time.time_ns() // 1_000_000, os.urandom(10))
        run.request_id = request.request_id
        run.executor = link.place.name
        run.attempt = 1
        run.state = RunState.RUN_STATE_ACCEPTED
        run.accept_time.GetCurrentTime()
        # From here to the log there is no await: two requests with one id cannot both pass.
        known = self._runs.by_request(request.request_id)
        if known is not None:
            return known
        self._secrets.keep(run.id, request.secrets)
        accepted = self._runs.accept(run, _without_secrets(request))
        if notices:
            accepted = self._runs.append(run.id, *(RunEvent(notice=notice) for notice in notices))
        crash_point("after_accept")
        self._crew.drive(run.id)
        return accepted

    async def _of_project(self, request: StartRunRequest) -> tuple[Run, SpecOverrides]:
        source = request.project
        root = Path(source.root)
        if not root.is_absolute():
            raise InvalidInput(f"{source.root!r} is not an absolute path", reason="bad_root")
        project = await self._projects.open(root, source.store if source.HasField("store") else None)
        spec = await self._crew.pool.run(read_spec, root, source.overrides)
        run = Run(project=spec.project, root=str(root), spec=spec, store_id=project.store_id)
        return run, source.overrides

    def _of_rerun(self, request: StartRunRequest) -> tuple[Run, SpecOverrides]:
        earlier = self._runs.find(request.rerun.run_id)
        if not earlier.HasField("snapshot"):
            raise WrongState(
                f"run {earlier.id} was never sealed, so there is nothing to repeat",
                reason="not_sealed",
                hint="start a new run: pollinator run",
            )
        run = Run(
            project=earlier.project,
            root=earlier.root,
            spec=apply_overrides(earlier.spec, request.rerun.overrides),
            store_id=earlier.store_id,
            rerun_of=earlier.id,
        )
        return run, request.rerun.overrides

    def _choose(self, spec: RunSpec, overrides: SpecOverrides) -> ExecutorLink:
        if overrides.executor:
            return self._registry.get(overrides.executor)
        return self._registry.choose(list(spec.executor_names), spec.executor_type)

    async def _preflight(self, link: ExecutorLink, spec: RunSpec) -> list[Notice]:
        """Ask the executor before anything is recorded; one that cannot be reached is asked at launch."""
        try:
            await link.ensure()
            answer = await link.executor.Preflight(PreflightRequest(spec=spec), timeout=PREFLIGHT_S)
        except grpc.aio.AioRpcError as error:
            refused = to_error(error)
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
            if run.state not in _UNSEALED:
                return run
            await self._runs.changed(run_id, seen, 60.0)


def _without_secrets(request: StartRunRequest) -> StartRunRequest:
    kept = StartRunRequest()
    kept.CopyFrom(request)
    kept.ClearField("secrets")
    if kept.WhichOneof("what") == "project":
        # Settings of a store hold keys; the run names its store by id.
        kept.project.ClearField("store")
    return kept
