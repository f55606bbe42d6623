"""The files of runs: laid out from their store, or from what is kept of earlier runs on this machine.

See docs/decisions/0014-files-of-runs.md for what is kept, and why a job gets no file that another can reach.
"""

from __future__ import annotations

import hashlib
import logging
import os
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from pollinator.chunks.cache import PackCache
from pollinator.chunks.folder import FolderStore
from pollinator.chunks.layout import disk_errors, lay_out
from pollinator.chunks.read import SnapshotReader
from pollinator.chunks.store import Store
from pollinator.chunks.update import update
from pollinator.executors.spares import Spares
from pollinator.executors.trees import remove_tree
from pollinator.v1.run_pb2 import StartRunRequest
from pollinator.v1.tree_pb2 import Snapshot, SnapshotRef, Tree
from pollinator.wire.errors import Exhausted, PollinatorError
from pollinator.wire.faults import crash_point

CACHE_BYTES = 10 * 1024**3
"""What an executor keeps for later runs, unless told otherwise."""

NICE = 10
"""Spares are made when nothing else is to be done."""

OpenStore = Callable[[StartRunRequest], Store]
Progress = Callable[[int], None]
_log = logging.getLogger(__name__)


class Files:
    """Lays out what runs need. Blocking; several threads may use it at once.

    Args:
        open_store: opens the store that a request names.
        folder: where things are kept.
        limit_bytes: how much of them; with 0 nothing is kept.
    """

    def __init__(self, open_store: OpenStore, folder: Path, limit_bytes: int) -> None:
        self._open_store = open_store
        # Half for what was read from stores, half for trees that are laid out.
        self._cache = PackCache(folder / "packs", limit_bytes // 2)
        self._spares = Spares(folder / "spares", limit_bytes // 2)
        self._keep = limit_bytes > 0
        self._background = ThreadPoolExecutor(1, thread_name_prefix="spares", initializer=be_nice)

    def lay_out(
        self,
        request: StartRunRequest,
        work: Path,
        progress: Progress,
        begin: Callable[[Snapshot], None] = lambda _: None,
    ) -> None:
        """Make ``work`` hold the ``src`` and ``data`` of a run, whatever was there.

        Args:
            request: of the run, with the way to its store.
            work: where.
            progress: told the number of bytes written so far, in all; what it raises is passed on.
            begin: told the snapshot before anything is laid out.

        Raises:
            PollinatorError: the files cannot be had, or not be written.
        """
        store = self._open_store(request)
        try:
            reader = self._reader(store)
            snapshot = reader.open(request.snapshot.snapshot)
            begin(snapshot)
            remove_tree(work)
            external = request.snapshot.spec.allow_external_links
            with disk_errors(work):
                before = self._spares.take(_name(store, external), work) if self._keep else None
                if before is not None and _renewed(reader, before, snapshot, work, external, progress):
                    return
                try:
                    _fresh(reader, snapshot, work, external, progress)
                except Exhausted:
                    # What is kept for later must not keep a run from its files now.
                    self._spares.clear()
                    self._cache.clear()
                    remove_tree(work)
                    _fresh(reader, snapshot, work, external, progress)
        finally:
            store.close()
            self._cache.trim()

    def prepare(self, request: StartRunRequest) -> None:
        """Have a spare made in the background for the run that comes after this one."""
        if self._keep:
            wanted = StartRunRequest()
            wanted.CopyFrom(request)
            # Nobody needs them for that, and this may have to wait for its turn.
            wanted.ClearField("secrets")
            self._background.submit(self._make_spare, wanted)

    def close(self) -> None:
        """Make no more spares; the one in the making is for nobody."""
        self._background.shutdown(wait=False, cancel_futures=True)

    def _make_spare(self, request: StartRunRequest) -> None:
        ref, external = request.snapshot.snapshot, request.snapshot.spec.allow_external_links
        try:
            store = self._open_store(request)
            try:
                reader = self._reader(store)
                snapshot = reader.open(ref)
                name, size = _name(store, external), snapshot.src.bytes + snapshot.data.bytes
                if self._spares.wanted(name, size):

                    def lay(work: Path) -> None:
                        crash_point("before_spare")
                        _fresh(reader, snapshot, work, external, lambda _: None)
                        crash_point("after_spare")

                    self._spares.make(name, ref, size, lay)
            finally:
                store.close()
        except (OSError, PollinatorError) as error:
            _log.warning("no spare is made for the next run of %s: %s", request.snapshot.spec.project, error)
        except Exception:  # noqa: BLE001 - the root of a thread: nobody else would hear of it
            _log.exception("no spare is made for the next run of %s", request.snapshot.spec.project)

    def _reader(self, store: Store) -> SnapshotReader:
        # A folder is as near as the cache would be.
        near = not self._keep or isinstance(store, FolderStore)
        return SnapshotReader(store, None if near else self._cache)


def _fresh(
    reader: SnapshotReader, snapshot: Snapshot, work: Path, external: bool, progress: Progress
) -> None:
    """Lay both trees out where nothing is."""
    done = 0
    for name, tree in _trees(snapshot):
        (work / name).mkdir(mode=0o755, parents=True)
        told = _from(done, progress)
        done += lay_out(reader, tree, work / name, external_links=external, progress=told).bytes


def _renewed(
    reader: SnapshotReader,
    before: SnapshotRef,
    snapshot: Snapshot,
    work: Path,
    external: bool,
    progress: Progress,
) -> bool:
    """Change what an earlier snapshot left; False when that cannot be done, and nothing is there then."""
    stopped: list[BaseException] = []

    def told(done: int) -> None:
        try:
            progress(done)
        except BaseException as error:
            stopped.append(error)
            raise

    try:
        earlier, done = reader.open(before), 0
        for (name, old), (_, new) in zip(_trees(earlier), _trees(snapshot), strict=True):
            tell = _from(done, told)
            done += update(reader, old, new, work / name, external_links=external, progress=tell).bytes
    except PollinatorError as error:
        if stopped:
            raise
        _log.warning("%s is laid out afresh: %s", work, error)
        remove_tree(work)
        return False
    return True


def _trees(snapshot: Snapshot) -> tuple[tuple[str, Tree], tuple[str, Tree]]:
    return ("src", snapshot.src), ("data", snapshot.data)


def _from(done: int, progress: Progress) -> Progress:
    """Count on from what was written before."""
    return lambda more: progress(done + more)


def _name(store: Store, external: bool) -> str:
    """Where a spare fits: the same project in the same store, with the same rule for links."""
    text = f"{store.identity}\0{external}"
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def be_nice() -> None:
    """Have this thread give way to others."""
    if sys.platform == "linux":
        # There a number is of a thread; elsewhere it would be of the whole process.
        own = threading.get_native_id()
        # Only root may be less nice than it was started.
        os.setpriority(os.PRIO_PROCESS, own, max(NICE, os.getpriority(os.PRIO_PROCESS, own)))
