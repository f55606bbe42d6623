"""Results and earlier trees, from the store to a folder of the user."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from pollinator.chunks.cache import PackCache
from pollinator.chunks.layout import clear_leftovers, disk_errors, lay_out, temporary_name
from pollinator.chunks.read import SnapshotReader
from pollinator.daemon.pool import Pool
from pollinator.daemon.sync.ledger import Ledger
from pollinator.daemon.sync.results import Applied, apply_results
from pollinator.daemon.sync.stores import StoreKeeper
from pollinator.model.run import is_terminal
from pollinator.v1.project_pb2 import CheckoutResponse, PullResultsResponse
from pollinator.v1.run_pb2 import Notice, Run, Severity
from pollinator.v1.tree_pb2 import Snapshot
from pollinator.wire.errors import AlreadyExists, Denied, InvalidInput, NotFound, WrongState
from pollinator.wire.places import PROJECT_FILE, private_dir
from pollinator.wire.progress import Teller

RESULT = Path("cfs", "result")

CACHE_BYTES = 256 * 1024 * 1024
"""What is kept of stores to know where chunks are."""


def not_kept(run: Run, why: str) -> NotFound:
    """The error for a run whose files are not in its store: most often it is too old to keep them."""
    return NotFound(
        f"the store does not have the files of run {run.id} any more: {why}",
        reason="not_kept",
        hint="keep_runs and keep_days say how long they are kept; pollinator fsck says what else is missing",
    )


class ResultsHome:
    """Lays out what runs left and what they ran with. Blocking work is done in ``pool``."""

    def __init__(self, keeper: StoreKeeper, ledgers: Path, cache: Path, pool: Pool) -> None:
        self._keeper = keeper
        self._ledgers = private_dir(ledgers)
        # Results are fetched once: their packs need not be kept.
        self._cache = PackCache(cache, CACHE_BYTES, packs=False)
        self.pool = pool
        self._locks: dict[Path, asyncio.Lock] = {}

    async def bring(self, run: Run, teller: Teller) -> list[Notice]:
        """Lay the results of a run into its project, if there are results and the project is still there.

        A run that came as a snapshot has no folder here: who sent it fetches the results from the store.

        Args:
            run: whose results.
            teller: told how far they are.

        Returns:
            What the user should know, for example conflict copies.

        Raises:
            PollinatorError: the results cannot be had or laid out now.
        """
        if not run.HasField("result") or not run.root:
            return []
        root = Path(run.root)
        if not await self.pool.run(os.path.exists, root / PROJECT_FILE):
            text = f"{root} is gone; the results wait in the store: pollinator pull {run.id} DIR"
            return [Notice(severity=Severity.SEVERITY_WARNING, code="project_missing", text=text)]
        applied = await self._lay_out(run, root / RESULT, teller)
        return [
            Notice(
                severity=Severity.SEVERITY_WARNING,
                code="conflict",
                text=f"{RESULT / name}: the local file had been edited, so the run's version lies beside it",
            )
            for name in applied.conflicts
        ]

    async def pull(self, run: Run, directory: str, teller: Teller) -> PullResultsResponse:
        """Lay the results of a run out again.

        Raises:
            WrongState: it has no results yet.
        """
        if not run.HasField("result"):
            raise WrongState(
                f"run {run.id} has no results yet",
                reason="no_results",
                hint=f"wait for its end: pollinator wait {run.id}",
            )
        if not directory and not run.root:
            raise InvalidInput(
                f"run {run.id} belongs to no folder here", reason="directory_missing", hint="name a folder"
            )
        target = Path(directory) if directory else Path(run.root) / RESULT
        applied = await self._lay_out(run, target, teller)
        return PullResultsResponse(
            directory=str(target),
            files_written=applied.written,
            files_unchanged=applied.unchanged,
            conflicts=applied.conflicts,
        )

    async def checkout(self, run: Run, directory: str, teller: Teller) -> CheckoutResponse:
        """Restore src and data of a run into an empty or missing folder.

        Raises:
            WrongState: it was never sealed.
            AlreadyExists: the folder is not empty.
        """
        if not run.HasField("snapshot"):
            raise WrongState(f"run {run.id} was never sealed", reason="not_sealed")
        return await self.pool.run(self._checkout, run, Path(directory), teller)

    @contextmanager
    def reading(self, run: Run) -> Generator[SnapshotReader]:
        """A reader on the store of a run, which is open for the length of the block.

        Raises:
            NotFound: what the run had is not kept any more.
        """
        store = self._keeper.reopen(run.store_id, run.project)
        try:
            yield SnapshotReader(store, self._cache)
        except NotFound as error:
            if error.reason != "object_missing" or not is_terminal(run.state):
                raise
            raise not_kept(run, error.message) from error
        finally:
            store.close()
            self._cache.trim()

    async def _lay_out(self, run: Run, target: Path, teller: Teller) -> Applied:
        # Two runs that end together must not take each other's files for edits of the user.
        async with self._locks.setdefault(target, asyncio.Lock()):
            return await self.pool.run(self._apply, run, target, teller)

    def _apply(self, run: Run, target: Path, teller: Teller) -> Applied:
        with self.reading(run) as reader:
            tree = reader.open(run.result).result
            try:
                target.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise Denied(f"cannot use {target}: {error.strerror}", reason="bad_directory") from error
            teller.begin(tree.bytes)
            with Ledger(self._ledgers, target) as ledger:
                return apply_results(reader, tree, target, ledger, run.id, progress=teller)

    def _checkout(self, run: Run, target: Path, teller: Teller) -> CheckoutResponse:
        with self.reading(run) as reader, disk_errors(target):
            snapshot = reader.open(run.snapshot)
            if target.is_dir():
                clear_leftovers(target)
            if target.exists() and (not target.is_dir() or any(target.iterdir())):
                raise AlreadyExists(
                    f"{target} is not an empty folder", reason="directory_not_empty", hint="name a new folder"
                )
            # What is not whole must not be in the way of the next try.
            making = target / os.fsdecode(temporary_name(b"checkout"))
            making.mkdir(parents=True)
            try:
                teller.begin(snapshot.src.bytes + snapshot.data.bytes)
                return self._restore(reader, run, snapshot, making, teller)
            finally:
                shutil.rmtree(making, ignore_errors=True)

    def _restore(
        self, reader: SnapshotReader, run: Run, snapshot: Snapshot, making: Path, teller: Teller
    ) -> CheckoutResponse:
        answer = CheckoutResponse()
        names = ("src", "data")
        for name, tree in zip(names, (snapshot.src, snapshot.data), strict=True):
            (making / name).mkdir()
            external = run.spec.allow_external_links
            laid = lay_out(reader, tree, making / name, external_links=external, progress=teller)
            teller.finished(laid.bytes)
            answer.files += laid.files
            answer.bytes += laid.bytes
        for name in names:
            (making / name).rename(making.parent / name)
        return answer
