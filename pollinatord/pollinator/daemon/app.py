"""Wires the daemon together. Nothing else holds references to everything."""

from __future__ import annotations

import asyncio
import logging
import time
from pathlib import Path

from pollinator.chunks.blobs import BlobServicer
from pollinator.chunks.stores import open_store
from pollinator.daemon.database import connect, migrate
from pollinator.daemon.pool import Pool
from pollinator.daemon.registry import Registry
from pollinator.daemon.runs.crew import Crew
from pollinator.daemon.runs.driver import RunDriver
from pollinator.daemon.runs.home import ResultsHome
from pollinator.daemon.runs.log import RUN_MIGRATION, RunLog
from pollinator.daemon.runs.output import OutputFiles
from pollinator.daemon.runs.secrets import SecretFiles
from pollinator.daemon.runs.start import RunStarter
from pollinator.daemon.service.daemon import DaemonServicer
from pollinator.daemon.service.executors import ExecutorRegistryServicer, ExecutorServicer
from pollinator.daemon.service.projects import ProjectServicer
from pollinator.daemon.service.runs import RunServicer
from pollinator.daemon.settings import Settings
from pollinator.daemon.sync.projects import PROJECT_MIGRATION, Projects
from pollinator.daemon.sync.stores import DEFAULT, StoreKeeper
from pollinator.v1 import daemon_pb2_grpc, executor_pb2_grpc, project_pb2_grpc, run_pb2_grpc, store_pb2_grpc
from pollinator.wire import places
from pollinator.wire.serving import ErrorInterceptor, add_health_and_reflection, bind_unix, make_server

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

GRACE_S = 1.0
"""How long calls under way may go on when the daemon ends; followers come back by themselves."""

_log = logging.getLogger(__name__)


async def serve(settings: Settings, state: Path, log_path: Path, stop: asyncio.Event) -> None:
    """Run the daemon until ``stop`` is set. The caller holds the lock and has set up logging."""
    database = connect(state / "daemon.db")
    migrate(database, (RUN_MIGRATION, PROJECT_MIGRATION))
    pool = Pool("io", 4)
    try:
        async with asyncio.TaskGroup() as group:
            output = OutputFiles(state / "output")
            runs = RunLog(database, output, time.time_ns)
            keeper = StoreKeeper(state / "stores")
            secrets = SecretFiles(state / "secrets")
            registry = Registry(state / "executors")
            projects = Projects(database, keeper, state / "indexes", group, pool)
            home = ResultsHome(keeper, state / "ledgers", places.cache_dir() / "indexes", pool)
            driver = RunDriver(runs, output, projects, registry, keeper, secrets, home)
            crew = Crew(runs, driver, group, pool)
            starter = RunStarter(runs, projects, registry, secrets, crew)

            guard = ErrorInterceptor(logging.getLogger("pollinator.daemon.service"))
            server = make_server(guard)
            run_pb2_grpc.add_RunServiceServicer_to_server(RunServicer(runs, starter, projects), server)
            project_pb2_grpc.add_ProjectServiceServicer_to_server(
                ProjectServicer(projects, runs, home, pool), server
            )
            executor_pb2_grpc.add_ExecutorServiceServicer_to_server(ExecutorServicer(registry, runs), server)
            executor_pb2_grpc.add_ExecutorRegistryServiceServicer_to_server(
                ExecutorRegistryServicer(registry), server
            )
            store_pb2_grpc.add_BlobServiceServicer_to_server(
                BlobServicer(lambda project: open_store(DEFAULT, project)), server
            )
            daemon_pb2_grpc.add_DaemonServiceServicer_to_server(
                DaemonServicer(
                    settings=settings,
                    log=runs,
                    projects=projects,
                    registry=registry,
                    log_path=log_path,
                    active_calls=lambda: guard.active_calls,
                    stop=stop,
                ),
                server,
            )
            await add_health_and_reflection(server, SERVICES)
            await projects.resume()
            crew.reconcile()
            bind_unix(server, places.daemon_socket())
            await server.start()
            _log.info("ready at %s", places.daemon_socket())
            await stop.wait()
            _log.info("stopping; runs go on")
            await server.stop(GRACE_S)
            await crew.stop()
            await projects.close()
            await registry.close()
    finally:
        pool.close()
        database.close()
