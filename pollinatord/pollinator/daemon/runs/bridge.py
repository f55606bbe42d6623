"""Files of runs whose executor cannot reach the store of their project: they travel over its BlobService.

Before a launch the executor's own store gets what it lacks of the snapshot; after the end the objects of the
results are copied from there as they are. Every step is safe to repeat: what is stored is named by content.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
from collections.abc import Callable, Generator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from pollinator.chunks.ahead import ahead
from pollinator.chunks.blobs import PeerStore
from pollinator.chunks.digest import digest_of
from pollinator.chunks.keeping import condemned_keys
from pollinator.chunks.keys import check_key, namespace
from pollinator.chunks.pack import parse_footer, verify
from pollinator.chunks.store import Store
from pollinator.daemon.link import ExecutorLink
from pollinator.daemon.pool import Pool
from pollinator.daemon.runs.colonies import ColonyKeeper
from pollinator.daemon.runs.far import FarStore
from pollinator.daemon.runs.home import ResultsHome
from pollinator.daemon.runs.issue import Issuing
from pollinator.daemon.sync.stores import StoreKeeper
from pollinator.v1.daemon_pb2 import Check, CheckStatus
from pollinator.v1.run_pb2 import Progress, ProgressKind, Run, SnapshotSource
from pollinator.v1.store_pb2 import OwnStore, StoreSettings
from pollinator.v1.tree_pb2 import PackFooter, PackIndex, SnapshotRef
from pollinator.wire.errors import Corrupt, PollinatorError, WrongState
from pollinator.wire.faults import crash_point
from pollinator.wire.places import private_dir
from pollinator.wire.progress import TELL_S

OWN = StoreSettings(own=OwnStore())

_OPEN_ANEW = ("peer_unreachable", "store_closed", "index_damaged")
"""After one of these nothing is believed any more of what an executor holds."""

_log = logging.getLogger(__name__)


class Bridge:
    """Sends snapshots to executors that cannot reach their store, and fetches results from there.

    Args:
        keeper: knows the stores.
        colonies: knows the colonies.
        home: reads what is in them.
        folder: where what executors hold is remembered.
        group: owns what is done in the background.
        tell: told how far a transfer of a run is.
    """

    def __init__(
        self,
        keeper: StoreKeeper,
        colonies: ColonyKeeper,
        home: ResultsHome,
        folder: Path,
        group: asyncio.TaskGroup,
        tell: Callable[[str, Progress | None], None],
    ) -> None:
        self._keeper = keeper
        self._colonies = colonies
        self._home = home
        self._folder = folder
        self._group = group
        self._tell = tell
        self._lines: dict[tuple[str, str], _Line] = {}
        self._issuing = Issuing(keeper)
        self._fetching = Pool("fetch", 4)

    async def source(self, run: Run, link: ExecutorLink, wished: Callable[[], bool]) -> SnapshotSource:
        """What the executor needs to find the files of a run, once they are where it can find them.

        Args:
            run: a sealed run.
            link: leads to its executor, which answers.
            wished: somebody wishes that the run ends.

        Raises:
            WrongState: somebody did.
            PollinatorError: the files cannot be had, or not be sent.
        """
        issued = None if link.near else await self._issuing.settings(run.store_id, run.project)
        if link.near or (issued is None and self._is_handed_on(run, link)):
            store = self._keeper.settings(run.store_id)
            colony = self._colonies.settings(run.colony_id) if run.colony_id else None
            return SnapshotSource(
                run_id=run.id, snapshot=run.snapshot, store=store, spec=run.spec, colony=colony
            )
        if issued is not None:
            return SnapshotSource(run_id=run.id, snapshot=run.snapshot, store=issued, spec=run.spec)
        crash_point("before_bridge")
        line = self._line(run, link)

        def send() -> SnapshotRef:
            with self._home.reading(run) as reader:
                return line.far.send(reader, run.snapshot, partial(_go_on, wished))

        with self._telling(run.id, lambda: line.far.progress):
            try:
                ref = await line.thread.run(send)
            except PollinatorError as error:
                if error.reason in _OPEN_ANEW:
                    await self._drop(line)
                raise
        if line.settling is None or line.settling.done():
            line.settling = self._group.create_task(self._settle(line), name="bridge")
        crash_point("after_bridge")
        return SnapshotSource(run_id=run.id, snapshot=ref, store=OWN, spec=run.spec)

    def _is_handed_on(self, run: Run, link: ExecutorLink) -> bool:
        """The executor is a process of this machine, and sees itself to what its runs elsewhere get.

        It alone knows how those reach a bucket of this machine, and whether their cluster has keys for one.
        """
        return link.transport.trusted and self._keeper.settings(run.store_id).WhichOneof("kind") == "s3"

    async def renewal_s(self, run: Run, link: ExecutorLink) -> float | None:
        """In so many seconds its executor needs new credentials; None when it never does."""
        if link.near:
            return None
        return await self._issuing.renewal_s(run.store_id, run.project)

    async def fetch(self, run: Run, ref: SnapshotRef, link: ExecutorLink) -> None:
        """Have the results of a run in the store of its project; nothing is done where they are.

        Args:
            run: has ended at its executor.
            ref: where the executor says that they are.
            link: leads to it.

        Raises:
            PollinatorError: they cannot be had, or not be stored.
        """
        if link.near:
            return
        crash_point("before_fetch")
        peer = link.blobs(run.project)
        try:
            fetching = _Fetching(peer, lambda: self._keeper.reopen(run.store_id, run.project))
            with self._telling(run.id, lambda: (peer.received.total, fetching.total)):
                await self._fetching.run(fetching.fetch, ref)
        finally:
            peer.close()
        crash_point("after_fetch")

    async def check(self, store_id: str, project: str) -> Check:
        """How executors elsewhere get at the files of a project, for ``pollinator doctor``."""
        name = f"{project} elsewhere"
        try:
            issued = await self._issuing.settings(store_id, project)
        except PollinatorError as error:
            failed = CheckStatus.CHECK_STATUS_FAILED
            return Check(name=name, status=failed, detail=error.message, hint=error.hint)
        text = "executors on other machines "
        text += "get limited credentials for its store" if issued else "get its files from the daemon"
        return Check(name=name, status=CheckStatus.CHECK_STATUS_OK, detail=text)

    def doubt(self, run: Run, link: ExecutorLink) -> None:
        """The executor did not find the files of a run: what it has is looked at before the next one."""
        line = self._lines.get((link.place.mark, run.project))
        if line is not None:
            line.far.doubt()

    async def close(self) -> None:
        """Let go of everything; what was under way is done again by the next daemon."""
        for line in list(self._lines.values()):
            await self._drop(line)
        self._issuing.close()
        self._fetching.close()

    def _line(self, run: Run, link: ExecutorLink) -> _Line:
        key = link.place.mark, run.project
        if key not in self._lines:
            index = namespace(run.project).replace("/", "-")
            path = private_dir(self._folder / link.place.mark) / f"{index}.db"
            self._lines[key] = _Line(key, FarStore(path, link.blobs(run.project)), Pool("bridge", 1))
        return self._lines[key]

    async def _drop(self, line: _Line) -> None:
        """Let go of what is known of one store; it is on disk."""
        if self._lines.get(line.key) is not line:
            return
        del self._lines[line.key]
        if line.settling is not None:
            line.settling.cancel()
        # Nobody waits for what it may be sending.
        line.far.store.close()
        await line.thread.run(line.far.close)
        line.thread.close()

    @staticmethod
    async def _settle(line: _Line) -> None:
        """Have lists of packs written while nobody waits for anything."""
        try:
            while (rest_s := await line.thread.run(line.far.rest_s)) < math.inf:
                await asyncio.sleep(rest_s)
                await line.thread.run(line.far.work)
        except PollinatorError as error:
            _log.info("cannot list what %s holds: %s", line.far.store.identity, error.message)

    @contextlib.contextmanager
    def _telling(self, run_id: str, measure: Callable[[], tuple[int, int]]) -> Generator[None]:
        """Whoever follows the run hears how far a transfer is until the block ends."""
        task = self._group.create_task(self._say(run_id, measure), name=f"progress {run_id}")
        try:
            yield
        finally:
            task.cancel()
            self._tell(run_id, None)

    async def _say(self, run_id: str, measure: Callable[[], tuple[int, int]]) -> None:
        while True:
            await asyncio.sleep(TELL_S)
            done, total = measure()
            if total:
                kind = ProgressKind.PROGRESS_KIND_BRIDGE
                self._tell(run_id, Progress(bytes_done=min(done, total), bytes_total=total, kind=kind))


@dataclass(slots=True)
class _Line:
    """The way of one project to one executor: its store there, and the thread that it belongs to."""

    key: tuple[str, str]
    far: FarStore
    thread: Pool
    settling: asyncio.Task[None] | None = None


class _Fetching:
    """Copies the objects of one snapshot of results, the one that publishes it last."""

    def __init__(self, peer: PeerStore, open_store: Callable[[], Store]) -> None:
        self._peer = peer
        self._open_store = open_store
        self.total = 0

    def fetch(self, ref: SnapshotRef) -> None:
        store = self._open_store()
        try:
            # What is to be removed counts as not stored, as for every writer.
            condemned = condemned_keys(store)
            if not self._absent(store, [check_key(ref.key)], condemned):
                return
            body, footer = self._object(ref.key)
            if digest_of(footer.snapshot.SerializeToString(deterministic=True)) != ref.digest:
                raise Corrupt(f"{ref.key} does not hold snapshot {ref.digest.hex()}", reason="bad_snapshot")
            lists = {key: self._object(check_key(key)) for key in footer.indexes}
            rows = [*footer.packs, *(row for _, listed in lists.values() for row in listed.packs)]
            sizes = {check_key(row.key): _extent(row) for row in rows}
            absent = self._absent(store, list(sizes), condemned)
            self.total = self._peer.received.total + sum(sizes[key] for key in absent)
            for _ in ahead(absent, partial(self._copy, store), lambda key: sizes[key]):
                crash_point("after_fetched_pack")
            for key, (listed, _) in lists.items():
                store.put(key, listed)
            crash_point("before_fetched_snapshot")
            store.put(ref.key, body)
        finally:
            store.close()

    @staticmethod
    def _absent(store: Store, keys: list[str], condemned: set[str]) -> list[str]:
        absent = {*store.missing(keys), *condemned.intersection(keys)}
        return [key for key in keys if key in absent]

    def _copy(self, store: Store, key: str) -> None:
        store.put(key, self._object(key)[0])

    def _object(self, key: str) -> tuple[bytes, PackFooter]:
        """An object and its footer, verified to the last byte; damaged on its way, it is asked for again."""
        body = self._peer.get(key)
        try:
            verify(key, body)
        except Corrupt as error:
            _log.warning("%s; reading it again", error.message)
            body = self._peer.get(key)
            verify(key, body)
        return body, parse_footer(key, body)


def _extent(row: PackIndex) -> int:
    """How many bytes the chunks of a pack take, about as many as the pack."""
    return row.entries[-1].offset + row.entries[-1].stored_size if row.entries else 0


def _go_on(wished: Callable[[], bool]) -> None:
    if wished():
        raise WrongState("the run was cancelled", reason="cancelled")
