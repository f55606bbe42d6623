"""The sync engine of one project: from what the watcher names to a published snapshot.

Synchronous and confined to one thread. What changed is read in the background by ``step``, so that ``seal``
has little left to do: drain the watcher (the barrier), finish what it named, publish.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from pathlib import Path

from pollinator.chunks.digest import digest_of
from pollinator.chunks.store import Store
from pollinator.chunks.upload import Uploader
from pollinator.daemon.ignore import Ignore
from pollinator.daemon.index import Index
from pollinator.daemon.sync.dirty import DirtySet
from pollinator.daemon.sync.safety import check_links, check_readable, check_trees, open_for_writing
from pollinator.daemon.sync.sealed import Sealed, SyncStatus
from pollinator.daemon.sync.state import Dir, State, encode, files_below
from pollinator.daemon.watch.base import Changes, Watch
from pollinator.daemon.watch.choose import open_watch
from pollinator.v1.project_pb2 import ProjectState, SyncReport
from pollinator.v1.run_pb2 import Notice
from pollinator.v1.spec_pb2 import RunSpec
from pollinator.v1.tree_pb2 import Snapshot, SnapshotRef, Tree
from pollinator.wire.errors import Halted, PollinatorError, WrongState

TREES = ("src", "data")
QUIET_S = 1.0
"""A pack that is not full is sent after so long without a change."""
SLICE_S = 0.2
"""Longest time one background step reads."""
WRITERS_S = 0.25
"""How long a seal waits for files that are open for writing."""
AUDIT_S = 600.0
"""How often everything is looked at once, to find what the watcher missed."""
BACK_OFF_S = 30.0
UNLISTED_PACKS = 64
UNLISTED_CHUNKS = 4096

_log = logging.getLogger(__name__)
WatchOpener = Callable[[Path, Callable[[bytes], bool]], Watch]


class SyncEngine:
    """Keeps ``root/cfs/src`` and ``root/cfs/data`` in a store."""

    def __init__(
        self,
        root: Path,
        index_path: Path,
        store: Store,
        *,
        watch: WatchOpener = open_watch,
        clock_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self._root = root
        self._cfs = root / "cfs"
        self._index_path = index_path
        self._store = store
        self._open_watch = watch
        self._clock_ns = clock_ns
        self._ignore = Ignore(root, b"cfs")
        self._watch: Watch | None = None
        self._index: Index | None = None
        self._uploader: Uploader | None = None
        self._state = State()
        self._dirty = DirtySet(os.fsencode(self._cfs), self._state, self.leaves_out, clock_ns)
        self._problem = ""
        self._halted = False
        self._retry_at = 0.0
        self._failures = 0
        self._quiet_since = time.monotonic()
        self._audited_at = time.monotonic()
        self._missed = 0
        self._notices: list[Notice] = []

    # Life

    def open(self) -> None:
        """Load the index, start watching, and look at everything once.

        Raises:
            Halted: the project's cfs folder is not there.
        """
        if self._index is None:
            self._index = Index(self._index_path, self._store.identity)
            self._uploader = Uploader(self._store, on_stored=self._index.save_pack)
            self._dirty.known = self._index.files()
        self._start_watching()

    def close(self) -> None:
        """Stop watching and release everything; what is not in the store yet is read again next time."""
        if self._watch is not None:
            self._watch.close()
            self._watch = None
        if self._uploader is not None:
            self._uploader.close()
            self._uploader = None
        if self._index is not None:
            self._index.close()
            self._index = None

    def leaves_out(self, path: bytes, is_dir: bool) -> bool:
        """The path is ignored, or in no tree that is sent."""
        top = path.split(b"/", 1)[0]
        return os.fsdecode(top) not in TREES or self._ignore.ignored(path, is_dir)

    def _start_watching(self) -> Watch:
        if self._watch is not None:
            return self._watch
        if not self._cfs.is_dir():
            raise self._halt(f"{self._cfs} is gone")
        self._watch = self._open_watch(self._cfs, lambda path: self.leaves_out(path, True))
        self._watch.start()
        self._dirty.add(Changes(subtrees=frozenset((b"",))))
        self._halted, self._problem = False, ""
        return self._watch

    def _halt(self, what: str) -> Halted:
        self._halted = True
        self._problem = f"{what}: sync is halted so that nothing is taken for deleted"
        return Halted(
            self._problem,
            reason="root_gone",
            hint="put the folder back (is a disk not mounted?); was the project moved, run pollinator there",
        )

    # Background

    def wait(self, timeout_s: float) -> bool:
        """Sleep until something may be pending. The only method for another thread."""
        watch = self._watch
        if watch is None:
            time.sleep(min(timeout_s, 0.2))
            return True
        return watch.wait(min(timeout_s, QUIET_S))

    def step(self) -> bool:
        """Read a little of what changed and send packs that are full or quiet; True if more is left.

        Raises:
            PollinatorError: the project is halted, or the disk is full. A store that fails is only noted.
        """
        self._drain(self._start_watching())
        if time.monotonic() < self._retry_at:
            return False
        try:
            return self._background()
        except PollinatorError as error:
            self._upload_failed(error)
            return False

    def _background(self) -> bool:
        index, uploader = self._parts()
        if time.monotonic() - self._audited_at > AUDIT_S and not self._dirty:
            self._audited_at = time.monotonic()
            self._dirty.add(Changes(subtrees=frozenset((b"",))))
            self._missed += self._dirty.survey()
        if not self._dirty:
            self._dirty.recheck_racy(settled=True)
        if self._dirty:
            self._dirty.process(self._sink, until=time.monotonic() + SLICE_S, hold_writers=True)
            self._save()
            self._quiet_since = time.monotonic()
        elif uploader.open_bytes and time.monotonic() - self._quiet_since >= QUIET_S:
            uploader.send()
        uploader.reap()
        self._list_packs(index, uploader)
        self._failures = 0
        if not self._halted:
            self._problem = ""
        return self._dirty.ready

    def _upload_failed(self, error: PollinatorError) -> None:
        """Chunks that were on their way are nobody's now: read their files again, later."""
        index, uploader = self._parts()
        uploader.discard()
        self._failures += 1
        self._retry_at = time.monotonic() + min(BACK_OFF_S, 0.5 * 2**self._failures)
        self._problem = error.message
        self._state.touch_all()
        for path, file in files_below(self._state.root):
            if any(digest not in index.stored for digest, _ in file.content.chunks):
                self._dirty.reread(path)

    # Sealing

    def seal(
        self,
        spec: RunSpec,
        *,
        strict: bool = False,
        git_commit: str = "",
        accept_deletions: bool = False,
        progress: Callable[[int, int], None] | None = None,
    ) -> Sealed:
        """Publish a snapshot with every write that finished before this call.

        Args:
            spec: what to run; becomes part of the snapshot.
            strict: fail instead of taking files that are open for writing or change while they are read.
            git_commit: recorded in the snapshot.
            accept_deletions: take a tree that was emptied at once for meant.
            progress: told the bytes read and the bytes to read.

        Raises:
            Halted: the project's folder, or all of a tree, is gone.
            InvalidInput: a file cannot be read, or a link leads out of its tree.
            WrongState: ``strict``, and a file changes.
            PollinatorError: the store fails; nothing is lost.
        """
        started = time.monotonic()
        index, uploader = self._parts()
        before = (self._store.requests, uploader.chunks, uploader.bytes_sent)
        try:
            notices = self._finish_changes(strict, progress)
            check_trees(self._cfs, self._state, index.counts(), accept_deletions)
            check_links(self._state, spec.allow_external_links)
            snapshot = Snapshot(version=1, spec=spec, git_commit=git_commit)
            for name in TREES:
                getattr(snapshot, name).CopyFrom(self._tree(name))
            ref = self._publish(snapshot)
        except Halted as error:
            self._halted, self._problem = True, f"{error.message}; {error.hint}"
            raise
        except PollinatorError as error:
            if error.reason not in _OF_THE_USER:
                self._upload_failed(error)
            raise
        report = SyncReport(
            files=snapshot.src.files + snapshot.data.files,
            bytes=snapshot.src.bytes + snapshot.data.bytes,
            chunks=uploader.chunks - before[1],
            bytes_uploaded=uploader.bytes_sent - before[2],
            requests=self._store.requests - before[0],
        )
        report.elapsed.FromMicroseconds(round((time.monotonic() - started) * 1e6))
        return Sealed(ref, snapshot, report, tuple(notices))

    def _finish_changes(self, strict: bool, progress: Callable[[int, int], None] | None) -> list[Notice]:
        self._drain(self._start_watching())
        self._wait_for_writers()
        writing = sorted(self._dirty.writing)
        self._dirty.recheck_racy()
        self._dirty.process(self._sink, progress=progress)
        self._save()
        self._halted = False
        check_readable(self._dirty.unreadable, self._ignore.problems)
        notices = [*self._notices, *open_for_writing(writing), *self._dirty.take_notices()]
        self._notices = []
        if strict and notices:
            raise WrongState(
                notices[0].text, reason=notices[0].code, hint="close the file, or leave --strict out"
            )
        return notices

    def _wait_for_writers(self) -> None:
        deadline = time.monotonic() + WRITERS_S
        while self._dirty.writing and self._watch is not None and time.monotonic() < deadline:
            self._watch.wait(0.01)
            self._drain(self._watch)

    def _tree(self, name: str) -> Tree:
        directory = self._state.get(name.encode())
        if not isinstance(directory, Dir):
            directory = Dir(0o755)
        total = self._state.total(name)
        return Tree(digest=encode(directory, self._sink), files=total.files, bytes=total.bytes)

    def _publish(self, snapshot: Snapshot) -> SnapshotRef:
        index, uploader = self._parts()
        digest = digest_of(snapshot.SerializeToString(deterministic=True))
        counts = {name: getattr(snapshot, name).files for name in TREES}
        known = index.snapshot(digest)
        if known is not None:
            if counts != index.counts():
                index.save_snapshot(known, counts)
            return known
        uploader.settle()
        self._list_packs(index, uploader)
        rows = [index.unlisted[key] for key in sorted(index.unlisted)]
        ref = uploader.publish(snapshot, rows, index.index_keys)
        index.save_snapshot(ref, counts)
        return ref

    def _list_packs(self, index: Index, uploader: Uploader) -> None:
        rows = list(index.unlisted.values())
        if len(rows) > UNLISTED_PACKS or sum(len(row.entries) for row in rows) > UNLISTED_CHUNKS:
            index.save_listing(uploader.write_index(rows), rows)

    # Common

    def status(self) -> SyncStatus:
        """What the engine is at."""
        totals = [self._state.total(name) for name in TREES]
        backlog, backlog_bytes = self._dirty.backlog()
        waiting = self._uploader.waiting_bytes if self._uploader else 0
        state = ProjectState.PROJECT_STATE_IN_SYNC
        if self._halted:
            state = ProjectState.PROJECT_STATE_HALTED
        elif self._index is None or self._dirty.surveying:
            state = ProjectState.PROJECT_STATE_SCANNING
        elif backlog or waiting or self._problem:
            state = ProjectState.PROJECT_STATE_SYNCING
        watch = self._watch
        return SyncStatus(
            state=state,
            problem=self._problem,
            backlog_files=backlog,
            backlog_bytes=backlog_bytes + waiting,
            files=sum(total.files for total in totals),
            bytes=sum(total.bytes for total in totals),
            watching=watch.kind if watch else "",
            degraded=watch.degraded if watch else "",
            missed=self._missed,
        )

    def _drain(self, watch: Watch) -> None:
        changes = watch.drain()
        if changes.root_gone:
            watch.close()
            self._watch = None
            self._start_watching()
            return
        self._dirty.add(changes)
        if self._ignore.changed() or any(path.endswith(b".pollinatorignore") for path in changes.paths):
            self._ignore.reload()
            watch.refresh()
            self._dirty.add(Changes(subtrees=frozenset((b"",))))

    def _sink(self, digest: bytes, data: bytes) -> None:
        index, uploader = self._parts()
        if digest not in index.stored:
            uploader.add(digest, data)

    def _save(self) -> None:
        index, _ = self._parts()
        changed, gone = self._dirty.take_results()
        if changed or gone:
            index.save_files(changed, gone)

    def _parts(self) -> tuple[Index, Uploader]:
        if self._index is None or self._uploader is None:
            self.open()
        if self._index is None or self._uploader is None:
            raise AssertionError("open sets both")
        return self._index, self._uploader


_OF_THE_USER = frozenset(
    {"unreadable_file", "external_link", "open_for_writing", "changed_while_read", "tree_emptied"}
)
