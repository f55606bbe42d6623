"""Saying in each store what this daemon's projects keep, soon after it changes and once a week in any case.

One ref for each folder of a project and each store it was in. Nobody waits for it: what was just published
stays in the store for a day without it.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import math
import os
import secrets
import time
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from pollinator.chunks.keeping import encode, write_ref
from pollinator.chunks.keys import LEASE, TALK, run_of
from pollinator.chunks.store import Store
from pollinator.daemon.pool import Pool
from pollinator.daemon.records import Records
from pollinator.daemon.runs.log import RunLog
from pollinator.daemon.runs.retention import kept_runs, make_ref
from pollinator.daemon.sync.outbox import Claims
from pollinator.daemon.sync.projects import OpenProject, Projects
from pollinator.daemon.sync.stores import StoreKeeper
from pollinator.model.run import is_terminal
from pollinator.v1.keeping_pb2 import Ref
from pollinator.v1.run_pb2 import ListRunsRequest, Run
from pollinator.wire.errors import NotFound, PollinatorError

PIN_MIGRATION = """
CREATE TABLE pin (run_id TEXT PRIMARY KEY) WITHOUT ROWID;
"""

LET_GO_MIGRATION = """
CREATE TABLE let_go (run_id TEXT PRIMARY KEY) WITHOUT ROWID;
"""

ROUND_S = 1800.0
"""How often all refs are looked at: packs that no snapshot names yet are in them as well."""

REWRITE_S = 7 * 86400.0
"""A ref that did not change is written again so often: one that is not is dead after three months."""

PATIENCE_S = 1.0
"""What changes within so long is said at once."""

MAX_RUNS = 2000
"""So many runs of a project are looked at."""

DAY_NS = 86400 * 10**9

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Place:
    """A folder of a project and a store it is or was in."""

    root: str
    project: str
    store_id: str


class Keeping:
    """Writes refs, and removes the leases that they take over. Lives on the loop's thread."""

    def __init__(
        self,
        log: RunLog,
        records: Records,
        projects: Projects,
        keeper: StoreKeeper,
        state: Path,
        *,
        newest: int,
        days: int,
    ) -> None:
        self._runs = log
        self._records = records
        self._projects = projects
        self._keeper = keeper
        self._identity = _identity(state / "client")
        self._newest = newest
        self._days = days
        self._pool = Pool("keeping", 1)
        self._lost: set[str] = set()
        """Runs whose files were removed from their store after this let go of them."""
        self._said: dict[Place, tuple[bytes, float]] = {}
        self._saying = defaultdict[Place, asyncio.Lock](asyncio.Lock)
        """Held while a place is said: what was known before must not replace what was found out later."""
        self._changed: set[Place] = set()
        self._bell = asyncio.Event()
        log.on_change = self._heard

    async def run(self) -> None:
        """Say what is kept, for ever."""
        try:
            await self._rounds()
        finally:
            self._pool.close()

    def soon(self, place: Place) -> None:
        """Something about it changed."""
        self._changed.add(place)
        self._bell.set()

    def client(self, root: str) -> str:
        """The name of a folder's client, in every store."""
        name = f"{self._identity}\0{root}".encode(errors="surrogateescape")
        return hashlib.blake2b(name, digest_size=16).hexdigest()

    def pinned(self) -> set[str]:
        """Ids of the runs that are kept whatever their age."""
        return {run_id for (run_id,) in self._records.read("SELECT run_id FROM pin")}

    def pin(self, run: Run, *, unpin: bool) -> None:
        """Keep a run whatever its age, or let go of it."""
        with self._records.change() as database:
            if unpin:
                database.execute("DELETE FROM pin WHERE run_id = ?", (run.id,))
            else:
                database.execute("INSERT OR REPLACE INTO pin VALUES (?)", (run.id,))
        self._runs.changes.note(run.root, run.id)
        self.soon(_place(run))

    async def lost(self, run: Run) -> bool:
        """This let go of the run, and its files were removed.

        Raises:
            PollinatorError: the store does not answer.
        """
        if run.id in self._lost or run.id not in self._let_go():
            return run.id in self._lost
        if await self._pool.run(self._is_missing, run):
            self._lost.add(run.id)
        return run.id in self._lost

    def give_up(self, key: str, run_ids: Iterable[str]) -> None:
        """The snapshot with this key is gone for good: those of the runs that it is of keep nothing."""
        found = filter(None, map(self._runs.by_id, run_ids))
        lost = [run for run in found if run.snapshot.key == key and is_terminal(run.state)]
        with self._records.change() as database:
            database.executemany("INSERT OR IGNORE INTO let_go VALUES (?)", [(run.id,) for run in lost])
        for run in lost:
            self.soon(_place(run))

    async def say(self, place: Place) -> None:
        """Write the ref of a place, unless it says so already.

        Raises:
            PollinatorError: the store does not take it.
        """
        async with self._saying[place]:
            await self._say(place)

    async def _say(self, place: Place) -> None:
        runs = [run for run in self._all_runs(place.root) if _place(run) == place]
        claims = await self._claims(place)
        now_ns = time.time_ns()
        wanted = list(
            kept_runs(runs, self.pinned(), newest=self._newest, younger_than_ns=now_ns - self._days * DAY_NS)
        )
        # Pinned too late, or too old until the settings were changed: nobody can have them back.
        gone = self._let_go()
        kept = [(run, why) for run, why in wanted if run.id not in gone or not await self.lost(run)]
        ref = make_ref(claims.head, claims.packs, claims.view_s, kept)
        body, (said, said_at) = encode(ref), self._said.get(place, (b"", 0.0))
        if body == said and time.monotonic() - said_at < REWRITE_S:
            return
        if not said and not ref.kept and not ref.packs:
            return  # a new project, of which there is nothing to say
        ended = [run.id for run in runs if is_terminal(run.state)]
        await self._pool.run(self._write, place, ref, ended)
        self._note(ended, {run.id for run, _ in kept}, gone)
        self._said[place] = (body, time.monotonic())

    def _let_go(self) -> set[str]:
        return {run_id for (run_id,) in self._records.read("SELECT run_id FROM let_go")}

    def _note(self, ended: Iterable[str], kept: set[str], before: set[str]) -> None:
        """Remember of which runs a ref says nothing any more: from now on they may be removed."""
        gone, back = set(ended) - kept - before, before & kept
        if not gone and not back:
            return
        with self._records.change() as database:
            database.executemany("INSERT INTO let_go VALUES (?)", [(run_id,) for run_id in sorted(gone)])
            database.executemany(
                "DELETE FROM let_go WHERE run_id = ?", [(run_id,) for run_id in sorted(back)]
            )

    def _is_missing(self, run: Run) -> bool:
        store = self._keeper.reopen(run.store_id, run.project)
        try:
            return bool(run.snapshot.key and store.missing([run.snapshot.key]))
        finally:
            store.close()

    # Rounds

    async def _rounds(self) -> None:
        while True:
            for place in self._places():
                await self._try(place)
            end = time.monotonic() + ROUND_S
            while (left := end - time.monotonic()) > 0:
                await self._wait(left)
                changed, self._changed = self._changed, set()
                for place in changed:
                    await self._try(place)

    async def _wait(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._bell.wait()
                await asyncio.sleep(PATIENCE_S)
        except TimeoutError:
            pass
        self._bell.clear()

    async def _try(self, place: Place) -> None:
        try:
            await self.say(place)
        except PollinatorError as error:
            _log.warning("what %s keeps is not in its store yet: %s", place.root, error.message)

    def _heard(self, run: Run) -> None:
        if run.root:
            self.soon(_place(run))

    def _places(self) -> list[Place]:
        found = {place_of(project): None for project in self._projects.all()}
        for (root,) in self._records.read("SELECT DISTINCT root FROM run WHERE root != ''"):
            found.update({_place(run): None for run in self._all_runs(root)})
        return list(found)

    def _all_runs(self, root: str) -> list[Run]:
        pinned = [run for run in map(self._runs.by_id, self.pinned()) if run is not None and run.root == root]
        found = {run.id: run for run in self._runs.select(ListRunsRequest(root=root, page_size=MAX_RUNS))}
        found.update({run.id: run for run in [*pinned, *self._runs.active()] if run.root == root})
        return [found[run_id] for run_id in sorted(found, reverse=True)]

    async def _claims(self, place: Place) -> Claims:
        try:
            project = self._projects.get(place.root)
        except NotFound:
            return Claims(None, (), math.ceil(self._projects.view_s))
        if (project.name, project.store_id) != (place.project, place.store_id):
            return Claims(None, (), math.ceil(self._projects.view_s))
        return await project.worker.claims()

    def _write(self, place: Place, ref: Ref, ended: Iterable[str]) -> None:
        store = self._keeper.reopen(place.store_id, place.project)
        try:
            write_ref(store, self.client(place.root), ref)
            _take_over(store, set(ended))
        finally:
            store.close()


def _take_over(store: Store, ended: set[str]) -> None:
    """Remove the leases of runs of which the ref says all there is to say, and what these told each other."""
    try:
        leases = [key for key in store.keys(f"{LEASE}/") if run_of(key) in ended]
        over = set(map(run_of, leases))
        # Before its lease: pages of a run that has none are a matter for the next collection.
        pages = [key for key in store.keys(f"{TALK}/") if run_of(key) in over] if over else []
        for key in [*pages, *leases]:
            store.delete(key)
    except PollinatorError as error:
        # They are dead after a month.
        _log.info("leases stay in %s: %s", store.identity, error.message)


def place_of(project: OpenProject) -> Place:
    """Where an opened project is."""
    return Place(str(project.worker.root), project.name, project.store_id)


def _place(run: Run) -> Place:
    return Place(run.root, run.project, run.store_id)


def _identity(path: Path) -> str:
    """Tells this daemon from all others, also from one that was given a copy of this one's state."""
    try:
        machine = Path("/etc/machine-id").read_text("ascii")
    except OSError:
        machine = ""
    try:
        return path.read_text("ascii") + machine
    except FileNotFoundError:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        temporary = path.with_suffix(f".{os.getpid()}")
        temporary.write_text(secrets.token_hex(16), "ascii")
        temporary.replace(path)
        return _identity(path)
