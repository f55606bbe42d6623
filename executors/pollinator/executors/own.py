"""The stores that lie beside an executor, for daemons whose own it does not reach.

No daemon collects them, so the executor does: what no run needs any more, and was not put there of late, is
condemned, and removed later by the rules for all stores. Whoever sends files there sees what is condemned,
and sends it again when it is needed.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from pollinator.chunks.folder import FolderStore
from pollinator.chunks.garbage.collect import Collector
from pollinator.chunks.keys import LEASE, namespace
from pollinator.wire.errors import PollinatorError

KEEP_S = 7 * 86400.0
"""What was put there of late stays as long, for the next run of its project."""

EVERY_S = 86400.0
FIRST_S = 600.0
"""So long after its start an executor has other things to do."""

_log = logging.getLogger(__name__)


class OwnStores:
    """One store for each project.

    Args:
        folder: where.
        needs: whether a run with this id may still need what its lease names.
    """

    def __init__(self, folder: Path, needs: Callable[[str], bool]) -> None:
        self._folder = folder
        self._needs = needs
        self._client = hashlib.blake2b(str(folder).encode(), digest_size=16).hexdigest()

    def of(self, project: str) -> FolderStore:
        """That of a project."""
        return FolderStore(self._folder / namespace(project))

    def collect(self, keep_s: float = KEEP_S) -> None:
        """Condemn what nobody needs, and remove what was condemned long enough ago."""
        try:
            projects = [path.name for path in (self._folder / namespace("any")).parent.iterdir()]
        except FileNotFoundError:
            return
        for project in projects:
            try:
                self._collect(self.of(project), keep_s)
            except PollinatorError as error:
                _log.warning("the store of %s is not collected: %s", project, error.message)

    def _collect(self, store: FolderStore, keep_s: float) -> None:
        for key in list(store.keys(f"{LEASE}/")):
            if self._needs(key.partition("/")[2]):
                # What it left may be nowhere else, however long its daemon is away: it does not grow old.
                store.put(key, store.get(key))
            else:
                store.delete(key)
        done = Collector(store, self._client, keep_s).collect(lambda _doing, _done, _total: None)
        removed = sum(each.bytes for each in done.removed)
        if removed:
            _log.info("%s: %d bytes that nobody needs are removed", store.identity, removed)

    async def keep_tidy(self, threads: ThreadPoolExecutor) -> None:
        """Collect once a day, for ever."""
        await asyncio.sleep(FIRST_S)
        while True:
            await asyncio.get_running_loop().run_in_executor(threads, self.collect)
            await asyncio.sleep(EVERY_S)
