"""Files of processes: from the files of the colony into a store of this executor, and results back.

What a label holds is kept here in a folder for the next process, so that only what has changed is fetched.
A run of ours whose snapshot is in a bucket that this executor reaches as well needs none of that.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
import time
from collections.abc import AsyncGenerator, Callable, Collection, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from pollinator.chunks.capture import capture_project
from pollinator.chunks.digest import digest_of
from pollinator.chunks.folder import FolderStore
from pollinator.chunks.read import Data, SnapshotReader
from pollinator.executors.colonies.cfs import ColonyFiles
from pollinator.executors.colonies.client import Client
from pollinator.executors.colonies.contents import Source, TreeContents
from pollinator.executors.colonies.ends import LEFT
from pollinator.executors.colonies.funcspec import Mount, Stored, result_label
from pollinator.executors.colonies.ledger import Ledger
from pollinator.executors.colonies.objects import Objects
from pollinator.executors.colonies.together import AT_ONCE, in_thread
from pollinator.executors.colonies.wanted import Wanted
from pollinator.executors.trees import remove_tree
from pollinator.v1.store_pb2 import OwnStore, S3Store, StoreSettings
from pollinator.v1.tree_pb2 import SnapshotRef
from pollinator.wire.errors import InvalidInput
from pollinator.wire.faults import crash_point

KEEP_S = 7 * 86400.0
"""So long a folder is kept that no process needed."""
THREADS = 4
_log = logging.getLogger(__name__)


class ColonyStaging:
    """Files of processes of one colony. Belongs to one event loop.

    Args:
        client: the colony.
        bucket: of its files, as this executor reaches it; empty where it does not.
        folder: where copies are kept.
        own: the stores of this executor, by project.
    """

    def __init__(
        self, client: Client, bucket: S3Store, folder: Path, own: Callable[[str], FolderStore]
    ) -> None:
        self._client = client
        self._bucket = bucket
        self._copies = folder / "files"
        self._own = own
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="capture")
        self._locks: dict[Path, asyncio.Lock] = {}
        self._ledger = Ledger(folder / "files.db")
        self._objects = Objects(bucket) if bucket.bucket else None

    async def bring(self, found: Wanted) -> SnapshotRef:
        """Have the files of a process where this executor finds them; returns where.

        Raises:
            PollinatorError: they cannot be had.
        """
        if found.stored is not None and self._reaches(found.stored):
            return found.stored.ref
        if found.stored is not None and "src" not in found.trees:
            raise InvalidInput(
                f"this executor does not reach the bucket {found.stored.bucket} at {found.stored.endpoint}",
                reason="bucket_unknown",
                hint="its AWS_S3_ENDPOINT and AWS_S3_BUCKET name another one, or none",
            )
        async with AsyncExitStack() as stack:
            folders = {tree: self._copy_of(found.trees.get(tree)) for tree in ("src", "data")}
            for path in sorted(set(folders.values())):
                # Copies are changed in place.
                await stack.enter_async_context(self._locks.setdefault(path, asyncio.Lock()))
            for tree, path in folders.items():
                await self._fetch(found.trees.get(tree), path)
            crash_point("before_colony_capture")
            spec = found.spec
            own = self._own(spec.project)
            return await in_thread(self._threads, capture_project, folders["src"], folders["data"], spec, own)

    def store(self, found: Wanted) -> StoreSettings:
        """Where they are then."""
        if found.stored is None or not self._reaches(found.stored):
            return StoreSettings(own=OwnStore())
        settings = StoreSettings(s3=self._bucket)
        settings.s3.prefix = found.stored.prefix
        return settings

    async def take_home(self, found: Wanted, result: SnapshotRef) -> bool:
        """Have the results of a run where whoever submitted it looks for them.

        Returns:
            They are in the bucket that their snapshot came from. Else they are in their label now, beside
            what was there.

        Raises:
            PollinatorError: they cannot be stored there.
        """
        if found.stored is not None and self._reaches(found.stored):
            return True
        if (mount := found.trees.get("result")) is None:
            return False
        contents = await in_thread(self._threads, self._results, found.spec.project, result)
        for text in contents.left_out:
            _log.warning("not taken home to %s: %s", mount.label, text)
        async with self._files() as files:
            await files.push(mount.label, contents)
        return False

    async def leave(self, found: Wanted, text: str) -> None:
        """Leave word of how a run of ours ended, where its results are.

        Raises:
            PollinatorError: it cannot be stored there.
        """
        label = result_label(found.spec.project, found.run_id)
        async with self._files() as files:
            await files.push(label, _Word(text.encode()))

    def close(self) -> None:
        """Let go of everything."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._ledger.close()
        if self._objects is not None:
            self._objects.close()

    def _results(self, project: str, result: SnapshotRef) -> TreeContents:
        reader = SnapshotReader(self._own(project))
        return TreeContents(reader, reader.open(result).result)

    def _reaches(self, stored: Stored) -> bool:
        """It is the bucket whose keys we have."""
        ours = self._bucket.endpoint.rstrip("/"), self._bucket.bucket
        return (stored.endpoint.rstrip("/"), stored.bucket) == ours

    # Copies

    def _copy_of(self, mount: Mount | None) -> Path:
        label = mount.label if mount is not None else ""
        return self._copies / hashlib.blake2b(label.encode(), digest_size=16).hexdigest()

    async def _fetch(self, mount: Mount | None, path: Path) -> None:
        """Have a folder hold what a process wants, and nothing else."""
        await in_thread(self._threads, self._prepare, path)
        if mount is None:
            return
        async with self._files() as files:
            if mount.snapshot_id:
                pulled = await files.pull_snapshot(mount.snapshot_id, path)
            else:
                pulled = await files.pull(mount.label, path)
        for text in pulled.refused:
            _log.warning("not brought from %s: %s", mount.label, text)
        await in_thread(self._threads, _leave_only, path, pulled.paths)

    def _prepare(self, path: Path) -> None:
        """Make a folder, and remove those that nobody needed for long."""
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.utime(path)
        for other in self._copies.iterdir():
            lock = self._locks.get(other)
            if time.time() - other.stat().st_mtime > KEEP_S and (lock is None or not lock.locked()):
                remove_tree(other)

    @asynccontextmanager
    async def _files(self) -> AsyncGenerator[ColonyFiles]:
        """The colony's files, with threads of their own: who waits for a bucket holds up no other."""
        if self._objects is None:
            raise InvalidInput(
                "this executor does not know the bucket of the colony's files",
                reason="bucket_unknown",
                hint="start it with AWS_S3_ENDPOINT, AWS_S3_BUCKET, AWS_S3_ACCESSKEY and AWS_S3_SECRETKEY",
            )
        threads = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="colony")
        try:
            yield ColonyFiles(self._client, self._objects, self._ledger, threads)
        finally:
            threads.shutdown(wait=False, cancel_futures=True)


class _Word:
    """The file that comes last."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.sources = {LEFT: Source(digest_of(data), len(data))}

    def read(self, paths: Iterable[str]) -> Iterator[tuple[str, Iterator[Data]]]:
        """Its bytes."""
        for path in paths:
            yield path, iter([self._data])


def _leave_only(folder: Path, paths: Collection[str]) -> None:
    """Remove all other files, and folders that hold none of these."""
    wanted = {os.path.join(folder, path) for path in paths}
    for at, folders, files in os.walk(folder, topdown=False):
        for name in files:
            if (path := os.path.join(at, name)) not in wanted:
                os.unlink(path)
        for name in folders:
            path = os.path.join(at, name)
            if not os.listdir(path):
                os.rmdir(path)
