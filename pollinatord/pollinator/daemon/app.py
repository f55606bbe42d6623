"""Wires the daemon together. Nothing else holds references to everything."""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import grpc

from pollinator.chunks.blobs import BlobServicer
from pollinator.chunks.stores import open_store
from pollinator.chunks.traffic import Traffic
from pollinator.daemon.checks import diagnose
from pollinator.daemon.metrics import Metrics
from pollinator.daemon.pool import Pool
from pollinator.daemon.records import Records
from pollinator.daemon.registry import Registry
from pollinator.daemon.runs.bridge import Bridge
from pollinator.daemon.runs.colonies import ColonyKeeper
from pollinator.daemon.runs.crew import Crew
from pollinator.daemon.runs.driver import RunDriver
from pollinator.daemon.runs.forgetting import Forgetting
from pollinator.daemon.runs.home import ResultsHome
from pollinator.daemon.runs.keeping import LET_GO_MIGRATION, PIN_MIGRATION, Keeping
from pollinator.daemon.runs.log import HELD_MIGRATION, RUN_MIGRATION, RunLog
from pollinator.daemon.runs.mend import Mending
from pollinator.daemon.runs.output import OutputFiles
from pollinator.daemon.runs.secrets import SecretFiles
from pollinator.daemon.runs.start import RunStarter
from pollinator.daemon.runs.tidy import Tidying
from pollinator.daemon.service.daemon import DaemonServicer
from pollinator.daemon.service.executors import ExecutorRegistryServicer, ExecutorServicer
from pollinator.daemon.service.projects import ProjectServicer
from pollinator.daemon.service.roots import Roots
from pollinator.daemon.service.runs import RunServicer
from pollinator.daemon.service.upkeep import Upkeep
from pollinator.daemon.settings import Settings
from pollinator.daemon.sync.projects import PROJECT_MIGRATION, Projects
from pollinator.daemon.sync.stores import DEFAULT, StoreKeeper
from pollinator.daemon.sync.view import VIEW_S
from pollinator.v1 import daemon_pb2_grpc, executor_pb2_grpc, project_pb2_grpc, run_pb2_grpc, store_pb2_grpc
from pollinator.v1.daemon_pb2 import Check
from pollinator.wire import places
from pollinator.wire.presence import announce
from pollinator.wire.serving import (
    ErrorInterceptor,
    add_health_and_reflection,
    bind_unix,
    make_server,
    until_unreachable,
)

SERVICES = tuple(
    f"pollinator.v1.{name}"
    for name in (
        "RunService",
        "BlobService",
        "ExecutorService",
        "ExecutorRegistryService",
        "ProjectService",
        "DaemonService",
    )
)

LASTING = ("/pollinator.v1.ProjectService/WatchProject",)
"""Editors have such a call all day. It must not keep a daemon from being replaced by a newer one."""

MIGRATIONS = (RUN_MIGRATION, PROJECT_MIGRATION, PIN_MIGRATION, HELD_MIGRATION, LET_GO_MIGRATION)
"""What has made the database of runs and projects, in order; new ones come last."""

GRACE_S = 1.0
"""How long calls under way may go on when the daemon ends; followers come back by themselves."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Pools:
    io: Pool
    home: Pool
    """Results may take minutes; no start of a run waits for them."""
    roots: Pool
    """Folders that somebody names may be on a disk that does not answer."""

    def close(self) -> None:
        """Let the threads end once their work is done."""
        for pool in (self.io, self.home, self.roots):
            pool.close()


@dataclass(frozen=True, slots=True)
class _Parts:
    runs: RunLog
    projects: Projects
    registry: Registry
    home: ResultsHome
    crew: Crew
    starter: RunStarter
    keeping: Keeping
    bridge: Bridge
    tidying: Tidying
    mending: Mending
    metrics: Metrics


async def serve(
    settings: Settings, state: Path, log_path: Path, stop: asyncio.Event, lock: int | None = None
) -> None:
    """Run the daemon until ``stop`` is set. The caller has set up logging.

    Args:
        settings: what is in force.
        state: folder of all that must outlive the daemon.
        log_path: where the caller logs.
        stop: ends it.
        lock: that of this user's only daemon, which the caller holds; says where this one listens.

    Raises:
        PollinatorError: the list of runs cannot be used.
    """
    records = Records(state / "daemon.db", MIGRATIONS)
    pools = _Pools(Pool("io", 4), Pool("home", 4), Pool("roots", 2))
    try:
        async with asyncio.TaskGroup() as group:
            parts = _build(settings, state, records, pools, group)
            roots = Roots(pools.roots, parts.projects.has)
            guard = ErrorInterceptor(logging.getLogger("pollinator.daemon.service"), LASTING, roots.resolve)
            server = make_server(guard)
            _add_services(server, parts, pools)
            about = DaemonServicer(
                settings=settings,
                log=parts.runs,
                diagnose=partial(_diagnose, parts),
                log_path=log_path,
                active_calls=lambda: guard.active_calls,
                stop=stop,
            )
            daemon_pb2_grpc.add_DaemonServiceServicer_to_server(about, server)
            await add_health_and_reflection(server, SERVICES)
            await parts.projects.resume()
            parts.crew.reconcile()
            upkeep = [
                group.create_task(parts.keeping.run(), name="keeping"),
                group.create_task(parts.tidying.run(), name="tidying"),
                group.create_task(parts.registry.look_after(), name="executors"),
            ]
            with parts.metrics:
                await _answer(server, lock, stop)
            for task in upkeep:
                task.cancel()
            await _let_go(parts)
    finally:
        pools.close()
        records.close()


async def _let_go(parts: _Parts) -> None:
    """What uses another comes before it."""
    parts.mending.close()
    await parts.crew.stop()
    await parts.bridge.close()
    await parts.projects.close()
    await parts.registry.close()


def _build(
    settings: Settings, state: Path, records: Records, pools: _Pools, group: asyncio.TaskGroup
) -> _Parts:
    output = OutputFiles(state / "output")
    runs = RunLog(records, output, time.time_ns)
    traffic = Traffic(
        upload=settings.upload_limit, download=settings.download_limit, transfers=settings.transfers
    )
    keeper = StoreKeeper(state / "stores", traffic)
    colonies = ColonyKeeper(state / "colonies")
    secrets = SecretFiles(state / "secrets")
    secrets.forget_all_but(run.id for run in runs.active())
    registry = Registry(state / "executors", settings.ssh_command)
    every_s, grace_s = settings.number("collect_every_s"), settings.number("collect_grace_s")
    # Nobody may go by a view that is older than half of what a collection waits.
    view_s = min(VIEW_S, grace_s / 2)
    projects = Projects(records, keeper, state / "indexes", group, pools.io, view_s)
    home = ResultsHome(keeper, state / "ledgers", places.cache_dir() / "indexes", pools.home)
    bridge = Bridge(keeper, colonies, home, state / "far", group, runs.tell)
    driver = RunDriver(runs, output, projects, registry, secrets, home, bridge)
    crew = Crew(runs, driver, Forgetting(runs, registry), group, pools.io)
    starter = RunStarter(runs, projects, registry, keeper, colonies, secrets, crew)
    keeping = Keeping(
        runs,
        records,
        projects,
        keeper,
        state,
        newest=settings.number("keep_runs"),
        days=settings.number("keep_days"),
    )
    tidying = Tidying(runs, projects, keeper, keeping, every_s=every_s, grace_s=grace_s)
    mending, metrics = Mending(keeper), Metrics(settings.metrics, projects, runs)
    return _Parts(runs, projects, registry, home, crew, starter, keeping, bridge, tidying, mending, metrics)


def _add_services(server: grpc.aio.Server, parts: _Parts, pools: _Pools) -> None:
    run_pb2_grpc.add_RunServiceServicer_to_server(
        RunServicer(parts.runs, parts.starter, parts.projects, parts.keeping.pinned), server
    )
    upkeep = Upkeep(parts.runs, parts.keeping, parts.tidying, parts.mending)
    project_pb2_grpc.add_ProjectServiceServicer_to_server(
        ProjectServicer(
            parts.projects, parts.runs, parts.home, upkeep, pools.io, executors=parts.starter.executors
        ),
        server,
    )
    executor_pb2_grpc.add_ExecutorServiceServicer_to_server(
        ExecutorServicer(parts.registry, parts.runs, parts.starter), server
    )
    executor_pb2_grpc.add_ExecutorRegistryServiceServicer_to_server(
        ExecutorRegistryServicer(parts.registry, parts.runs, parts.crew), server
    )
    store_pb2_grpc.add_BlobServiceServicer_to_server(
        BlobServicer(lambda project: open_store(DEFAULT, project)), server
    )


async def _diagnose(parts: _Parts, root: str) -> list[Check]:
    """What ``pollinator doctor`` asks."""
    checks = [*parts.metrics.checks(), *await diagnose(parts.projects, parts.registry, root)]
    if all(parts.registry.get(name).near for name in parts.registry.names()):
        return checks
    asked = [project for project in parts.projects.all() if root in ("", str(project.worker.root))]
    return [*checks, *[await parts.bridge.check(project.store_id, project.name) for project in asked]]


async def _answer(server: grpc.aio.Server, lock: int | None, stop: asyncio.Event) -> None:
    """Serve until ``stop`` is set, or nobody can reach this daemon any more."""
    socket = places.daemon_socket()
    bind_unix(server, socket)
    if lock is not None:
        announce(lock, socket)
    await server.start()
    _log.info("ready at %s", socket)
    async with asyncio.TaskGroup() as group:
        watching = group.create_task(_stop_when_unreachable(socket, stop), name="socket")
        await stop.wait()
        watching.cancel()
    _log.info("stopping; runs go on")
    await server.stop(GRACE_S)


async def _stop_when_unreachable(socket: Path, stop: asyncio.Event) -> None:
    """A daemon that nobody can reach would only keep others from taking its place."""
    await until_unreachable(socket)
    _log.error("%s is gone, so nobody can reach this daemon", socket)
    stop.set()
