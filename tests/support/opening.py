"""A project and the part of a daemon that watches projects, on files that outlive it."""

from __future__ import annotations

import asyncio
import logging
import tempfile
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import cast

import grpc

from pollinator.daemon.pool import Pool
from pollinator.daemon.runs.home import ResultsHome
from pollinator.daemon.runs.keeping import Keeping
from pollinator.daemon.runs.log import RunLog
from pollinator.daemon.runs.mend import Mending
from pollinator.daemon.runs.output import OutputFiles
from pollinator.daemon.runs.tidy import Tidying
from pollinator.daemon.service.projects import ProjectServicer
from pollinator.daemon.service.upkeep import Upkeep
from pollinator.daemon.sync.projects import Projects
from pollinator.daemon.sync.stores import StoreKeeper
from pollinator.v1 import project_pb2_grpc
from pollinator.v1.project_pb2 import CloseProjectRequest
from pollinator.v1.project_pb2_grpc import ProjectServiceStub
from pollinator.v1.run_pb2 import Run
from pollinator.v1.store_pb2 import FolderStore, StoreSettings
from pollinator.wire.channel import open_channel
from pollinator.wire.serving import ErrorInterceptor, bind_unix, make_server
from support.scripted_executor import Ticks, open_records

SPEC = "projectname: {name}\nenvironment:\n  cmd: python3\n"


class Place:
    """The files of a daemon and of a project."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.root = folder / "project"
        for tree in ("src", "data", "result"):
            (self.root / "cfs" / tree).mkdir(parents=True)
        self.name("p")

    def name(self, name: str) -> None:
        """Give the project a name."""
        (self.root / "project.yaml").write_text(SPEC.format(name=name))

    def store(self, name: str) -> StoreSettings:
        """A folder store of this name."""
        return StoreSettings(folder=FolderStore(path=f"{self.folder}/{name}"))

    def run_of(self, store_id: str, name: str = "p") -> Run:
        """A run of the project that was just accepted."""
        return Run(id="a", request_id="a", root=str(self.root), project=name, store_id=store_id, attempt=1)

    @asynccontextmanager
    async def daemon(self) -> AsyncGenerator[Watcher]:
        """Watch the projects of this place meanwhile."""
        async with asyncio.TaskGroup() as group:
            daemon = Watcher(self.folder, group)
            await daemon.projects.resume()
            yield daemon
            await daemon.projects.close()
            daemon.records.close()
            daemon.pool.close()


class Pins:
    """Which runs are pinned."""

    def __init__(self) -> None:
        self.ids: set[str] = set()

    def pinned(self) -> set[str]:
        """Their ids."""
        return self.ids


class Watcher:
    """The part of a daemon that watches projects."""

    def __init__(self, folder: Path, group: asyncio.TaskGroup) -> None:
        self.records = open_records(folder)
        self.pool = Pool("test", 2)
        self.keeper = StoreKeeper(folder / "stores")
        self.projects = Projects(self.records, self.keeper, folder / "indexes", group, self.pool)
        self.output = OutputFiles(folder / "output")
        self.log = RunLog(self.records, self.output, Ticks())
        self.pins = Pins()
        upkeep = Upkeep(self.log, cast("Keeping", self.pins), cast("Tidying", None), cast("Mending", None))
        home = ResultsHome(self.keeper, folder / "ledgers", folder / "cache", self.pool)
        self.executors: list[str] | None = ["local", "lumi"]
        self.service = ProjectServicer(
            self.projects, self.log, home, upkeep, self.pool, executors=lambda root: self.executors
        )

    @asynccontextmanager
    async def served(self) -> AsyncGenerator[ProjectServiceStub]:
        """A client's side of the service, through a socket."""
        server = make_server(ErrorInterceptor(logging.getLogger(__name__)))
        project_pb2_grpc.add_ProjectServiceServicer_to_server(self.service, server)
        with tempfile.TemporaryDirectory(prefix="pol-") as folder:
            socket = Path(folder, "s.sock")
            bind_unix(server, socket)
            await server.start()
            channel = open_channel(f"unix:{socket}")
            try:
                yield ProjectServiceStub(channel)
            finally:
                await channel.close()
                await server.stop(0)

    async def close(self, root: Path) -> None:
        """Forget a project, as a client asks for it."""
        context = cast("grpc.aio.ServicerContext[object, object]", None)
        await self.service.CloseProject(CloseProjectRequest(root=str(root)), context)
