"""The projects this daemon watches: opened by the first command in them, and for good."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
from collections import defaultdict
from pathlib import Path

from pollinator.daemon.about import about, only_about
from pollinator.daemon.pool import Pool
from pollinator.daemon.records import Records
from pollinator.daemon.sync.meter import Meter
from pollinator.daemon.sync.sealed import Backlog
from pollinator.daemon.sync.stores import DEFAULT, StoreKeeper
from pollinator.daemon.sync.view import VIEW_S
from pollinator.daemon.sync.worker import ProjectWorker
from pollinator.model.project import load_spec
from pollinator.v1.project_pb2 import Project, ProjectState, SyncActivity
from pollinator.v1.run_pb2 import Run, SpecOverrides
from pollinator.v1.spec_pb2 import RunSpec
from pollinator.v1.store_pb2 import StoreSettings
from pollinator.wire.errors import Denied, NotFound, PollinatorError
from pollinator.wire.places import PROJECT_FILE, private_dir

PROJECT_MIGRATION = """
CREATE TABLE project (
    root TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    store_id TEXT NOT NULL
) WITHOUT ROWID;
"""

_log = logging.getLogger(__name__)


def read_spec(root: Path, overrides: SpecOverrides | None = None) -> RunSpec:
    """The resolved spec of the project in ``root``.

    Raises:
        NotFound: there is no project.yaml.
        Denied: it cannot be read.
        InvalidInput: it cannot be meant; each violation says where.
    """
    return load_spec(read_spec_file(root), PROJECT_FILE, overrides)


def read_spec_file(root: Path) -> bytes:
    """What project.yaml in ``root`` holds.

    Raises:
        NotFound: there is none.
        Denied: it cannot be read.
    """
    path = root / PROJECT_FILE
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise NotFound(
            f"there is no {PROJECT_FILE} in {root}",
            reason="project_missing",
            hint="pollinator new makes one; was the project moved? then run pollinator in its new folder",
        ) from error
    except OSError as error:
        raise Denied(f"cannot read {path}: {error.strerror}", reason="unreadable_file") from error


class OpenProject:
    """One watched project: its worker, its name and its store."""

    def __init__(self, worker: ProjectWorker, name: str, store_id: str, settings: StoreSettings) -> None:
        self.worker = worker
        self.name = name
        self.store_id = store_id
        self.settings = settings
        """How its store is reached, with credentials."""

    def describe(self) -> Project:
        """Its state, for clients."""
        status, backlog = self.worker.status, self.worker.backlog
        root = self.worker.root
        project = Project(
            root=str(root),
            name=self.name,
            state=status.state,
            problem=status.problem or self.worker.problem,
            backlog_files=backlog.files,
            backlog_bytes=backlog.bytes,
            files=status.files,
            bytes=status.bytes,
            watching=status.watching,
            degraded=status.degraded,
            store=self.worker.store.identity,
            missed_changes=status.missed,
            activity=activity(self.worker.meter, self.worker.store.sent.rate(), backlog),
            biggest=backlog.biggest,
        )
        if status.synced_ns:
            project.last_sync_time.FromNanoseconds(status.synced_ns)
        if not os.path.exists(root / PROJECT_FILE):
            project.state = ProjectState.PROJECT_STATE_MISSING
            project.problem = (
                f"{root / PROJECT_FILE} is gone; run pollinator in the project's new folder, "
                f"or forget it: pollinator status --forget {root}"
            )
        return project


def activity(meter: Meter, send_rate: float, backlog: Backlog) -> SyncActivity:
    """What moves, and when it will be done at that rate."""
    words = SyncActivity(
        reading=meter.reading,
        bytes_read=meter.read.total,
        bytes_sent=meter.sent.total,
        read_rate=round(meter.read.rate()),
        send_rate=round(send_rate),
    )
    if not backlog.bytes:
        return words
    left_s = 0.0
    for size, rate in ((backlog.unread_bytes, words.read_rate), (backlog.unsent_bytes, words.send_rate)):
        if size and not rate:
            return words
        left_s += size / rate if size else 0.0
    words.time_left.FromMilliseconds(round(left_s * 1000))
    return words


class Projects:
    """All opened projects. Lives on the loop's thread."""

    def __init__(
        self,
        records: Records,
        keeper: StoreKeeper,
        indexes: Path,
        group: asyncio.TaskGroup,
        pool: Pool,
        view_s: float = VIEW_S,
    ) -> None:
        self._records = records
        self._keeper = keeper
        self._indexes = private_dir(indexes)
        self._group = group
        self._pool = pool
        self.view_s = view_s
        self._open: dict[str, OpenProject] = {}
        self._locks = defaultdict[str, asyncio.Lock](asyncio.Lock)
        """One for each folder: a project that is slow to close holds up no other."""

    async def resume(self) -> None:
        """Watch every project that was open when the daemon ended."""
        for root, name, store_id in self._records.read("SELECT root, name, store_id FROM project"):
            try:
                await self._opened(Path(root), name, self._keeper.settings(store_id))
            except PollinatorError as error:
                with about(project=name):
                    _log.warning("%s is not watched: %s", root, error.message)

    async def open(self, root: Path, store: StoreSettings | None) -> OpenProject:
        """Watch a project; ``store`` None keeps the one it had.

        Raises:
            NotFound: there is no project.
            InvalidInput: its project.yaml or the store's settings cannot be meant.
        """
        async with self._locks[str(root)]:
            spec = await self._pool.run(read_spec, root)
            current = self._open.get(str(root))
            if store is None:
                store = self._keeper.settings(current.store_id) if current else DEFAULT
            return await self._opened(root, spec.project, store)

    async def open_for(self, run: Run) -> OpenProject:
        """The project as it was when a run was accepted: under that name and in that store.

        Meanwhile it may have been renamed, opened with another store, or forgotten.

        Raises:
            NeedsLogin: how to reach the store is not known any more.
        """
        async with self._locks[run.root]:
            return await self._opened(Path(run.root), run.project, self._keeper.settings(run.store_id))

    async def _opened(self, root: Path, name: str, store: StoreSettings) -> OpenProject:
        current = self._open.get(str(root))
        if current is not None and (current.name, current.settings) == (name, store):
            return current
        store_id, opened = await self._pool.run(self._keeper.open, store, name)
        if current is not None:
            await current.worker.close()
        with self._records.change() as database:
            database.execute(
                "INSERT OR REPLACE INTO project (root, name, store_id) VALUES (?, ?, ?)",
                (str(root), name, store_id),
            )
        place = hashlib.blake2b(f"{root}\0{store_id}".encode(errors="surrogateescape"), digest_size=8)
        worker = ProjectWorker(root, self._indexes / f"{place.hexdigest()}.db", opened, name, self.view_s)
        project = OpenProject(worker, name, store_id, store)
        self._open[str(root)] = project
        context = only_about(project=name)
        self._group.create_task(worker.run(), name=f"project {root}", context=context)
        return project

    def get(self, root: str) -> OpenProject:
        """An opened project; raises NotFound."""
        try:
            return self._open[root]
        except KeyError:
            raise NotFound(
                f"no project is open in {root}", reason="project_missing", hint="pollinator sync opens it"
            ) from None

    def has(self, root: str) -> bool:
        """Whether one is open in the folder of this very name."""
        return root in self._open

    def all(self) -> list[OpenProject]:
        """All opened projects, sorted by folder."""
        return [self._open[root] for root in sorted(self._open)]

    async def forget(self, root: str) -> None:
        """Stop watching a project. Its files, runs and what is in the store stay."""
        async with self._locks[root]:
            project = self.get(root)
            await project.worker.close()
            del self._open[root]
            with self._records.change() as database:
                database.execute("DELETE FROM project WHERE root = ?", (root,))

    async def close(self) -> None:
        """Stop watching all projects."""
        await asyncio.gather(*(project.worker.close() for project in self.all()))
