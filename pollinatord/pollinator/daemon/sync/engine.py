"""The sync engine of one project: from what the watcher names to a published snapshot.

Synchronous and confined to one thread. What changed is read in the background by ``step``, so that ``seal``
has little left to do: drain the watcher (the barrier), finish what it named, publish.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TypeVar

from pollinator.chunks.store import Store
from pollinator.daemon.index import DAMAGED
from pollinator.daemon.sync.dirty import DirtySet
from pollinator.daemon.sync.lookout import ROOT_GONE, Lookout, WatchOpener
from pollinator.daemon.sync.meter import Meter
from pollinator.daemon.sync.outbox import Outbox
from pollinator.daemon.sync.safety import (
    Devices,
    changing,
    check_links,
    check_readable,
    left_out,
    tree_records,
    trees_problem,
    unreadable_text,
)
from pollinator.daemon.sync.sealed import Backlog, Sealed, SyncStatus, sync_report
from pollinator.daemon.sync.state import TREES, Dir, State, encode, files_below
from pollinator.daemon.sync.view import VIEW_S, uptime
from pollinator.daemon.watch.base import Changes
from pollinator.daemon.watch.choose import open_watch
from pollinator.v1.project_pb2 import ProjectState
from pollinator.v1.run_pb2 import Notice
from pollinator.v1.spec_pb2 import RunSpec
from pollinator.v1.tree_pb2 import Snapshot, SnapshotRef, Tree
from pollinator.wire.errors import Halted, PollinatorError, Unavailable

SLICE_S = 0.2
"""Longest time one background step reads."""
WRITERS_S = 0.25
"""How long a seal waits for files that are open for writing."""
LOOKS = 3
"""So often a seal looks again because something vanished while it looked or read."""
AUDIT_S = 600.0
"""How often everything is looked at once, to find what the watcher missed."""
RACY_S = 0.05
"""How often to see whether files that were read right after a change can be read for good."""
RULES_S = 30.0
"""How often to look at ignore files that nobody watches; a seal always does."""

_Result = TypeVar("_Result")
_log = logging.getLogger(__name__)


class SyncEngine:
    """Keeps ``root/cfs/src`` and ``root/cfs/data`` in a store.

    Attributes:
        meter: what is read and sent. Another thread may look.
    """

    def __init__(
        self,
        root: Path,
        index_path: Path,
        store: Store,
        *,
        watch: WatchOpener = open_watch,
        clock_ns: Callable[[], int] = time.time_ns,
        monotonic: Callable[[], float] = time.monotonic,
        uptime: Callable[[], float] = uptime,
        view_s: float = VIEW_S,
        wake: Callable[[], None] = lambda: None,
    ) -> None:
        """``wake`` is called, on any thread, when it is time for a step that ``wait`` does not tell of."""
        self._cfs = root / "cfs"
        self._devices = Devices(self._cfs)
        self._clock_ns = clock_ns
        self._monotonic = monotonic
        self.meter = Meter(monotonic)
        self._open_outbox = partial(
            Outbox, index_path, store, monotonic, uptime, self.meter.sent.add, wake, view_s
        )
        self._lookout = Lookout(root, watch, self.meter.edits.note)
        self._outbox: Outbox | None = None
        self._closed = False
        self._audited_at = monotonic()
        self._synced_changes = -1
        self._missed = 0
        self._synced_ns = 0
        self._halted: Halted | None = None
        self._forget_all()

    def _forget_all(self) -> None:
        self._state = State()
        self._dirty = DirtySet(
            os.fsencode(self._cfs), self._state, self._lookout.leaves_out, self._clock_ns, self.meter
        )

    # Life

    def close(self) -> None:
        """Stop for good; what is not in the store yet is read again by the next one."""
        self._closed = True
        self._release()

    def _opened(self) -> Outbox:
        if self._closed:
            raise Unavailable(f"the project {self._cfs.parent} was just closed", reason="project_closed")
        if self._outbox is None:
            self._outbox = self._open_outbox()
            self._dirty.known = self._outbox.take_files()
        return self._outbox

    def _release(self) -> None:
        self._lookout.close()
        if self._outbox is not None:
            self._outbox.close()
            self._outbox = None

    def _look(self) -> Changes:
        """Learn where to look."""
        try:
            changes = self._lookout.drain()
        except Halted as error:
            self._halted = error
            raise
        if self._halted is not None and self._halted.reason == ROOT_GONE:
            self._halted = None
        self._dirty.add(changes)
        self._devices.add(changes)
        return changes

    # Background

    def wait(self, timeout_s: float) -> bool:
        """Sleep until something may have changed; False when nothing did. Another thread may call it."""
        return self._lookout.wait(timeout_s)

    def rest_s(self) -> float:
        """How long no step is needed, unless ``wait`` tells of something or ``wake`` is called before."""
        outbox = self._outbox
        if outbox is None or (self._dirty.ready and not outbox.resting):
            return 0.0
        racy = RACY_S if self._dirty.racy and not outbox.resting else RULES_S
        return min(outbox.rest_s(), racy, RULES_S)

    def step(self, news: bool = True) -> bool:
        """Read a little of what changed and send packs that are full or quiet; True if more is left.

        Args:
            news: something may have changed, as ``wait`` says.

        Raises:
            Halted: the project's cfs folder is not there.
            PollinatorError: the index or the watcher cannot be used. A store that fails is only noted.
        """
        outbox = self._opened()
        # A file that was written to and never closed is told of only by asking.
        if news or self._dirty.writing or self._lookout.rules_changed():
            self._look()
        if outbox.resting:
            return False
        try:
            with self._unsent_is_read_again(outbox):
                self._background(outbox)
        except Halted:
            raise
        except PollinatorError:
            return False
        return self._dirty.ready

    def _background(self, outbox: Outbox) -> None:
        self._dirty.recheck_racy(settled=True)
        end = self._monotonic() + SLICE_S
        self._dirty.process(
            outbox.sink, held=outbox.holds, enough=lambda: self._monotonic() >= end, hold_writers=True
        )
        outbox.save(*self._dirty.take_results())
        outbox.work(self._dirty.ready)
        outbox.look_now_and_then()
        self._read_lost_again(outbox)
        self._halted = trees_problem(self._cfs, self._state, outbox.trees)
        self._note_sync(outbox)
        if not self._dirty and self._monotonic() - self._audited_at > AUDIT_S:
            self._audit()
            outbox.probe()

    def _audit(self) -> None:
        """Look at everything: what changed, and no event said so, was missed."""
        self._audited_at = self._monotonic()
        self._dirty.suspect(b"")
        self._lookout.audit()
        changed = self._dirty.audit()
        # What happened meanwhile is announced by now.
        changes = self._look()
        self._missed += sum(not changes.announces(path) for path in changed)

    def _read_lost_again(self, outbox: Outbox) -> None:
        """What was in the store and will not be there is stored again."""
        if outbox.lost:
            outbox.lost = False
            known = outbox.take_files()
            if self._dirty.known:
                self._dirty.known = known
            self._read_unstored_again(outbox)

    @contextmanager
    def _unsent_is_read_again(self, outbox: Outbox) -> Generator[None]:
        """Whatever goes wrong: chunks that were on their way are nobody's then, and must be given again."""
        done = False
        try:
            yield
            done = True
        except Halted:
            done = True
            raise
        except PollinatorError as error:
            if error.reason == DAMAGED:
                _log.warning("%s", error.message)
                self._release()
                self._forget_all()
                done = True
            else:
                outbox.note_failure(error)
            raise
        finally:
            if not done:
                outbox.discard()
                self._read_unstored_again(outbox)

    def _read_unstored_again(self, outbox: Outbox) -> None:
        self._state.touch_all()
        for path, file in files_below(self._state.root):
            if not all(map(outbox.has, file.chunks)):
                self._dirty.reread(path)

    # Sealing

    def seal(
        self, spec: RunSpec, *, strict: bool = False, git_commit: str = "", accept_deletions: bool = False
    ) -> Sealed:
        """Publish a snapshot with every write that finished before this call.

        Args:
            spec: what to run; becomes part of the snapshot.
            strict: fail instead of taking files that are open for writing or change while they are read.
            git_commit: recorded in the snapshot.
            accept_deletions: take a tree that was emptied at once for meant.

        Raises:
            Halted: the project's folder, or all of a tree, is gone.
            InvalidInput: a file cannot be read, or a link leads out of its tree.
            WrongState: ``strict``, and a file changes.
            PollinatorError: the store fails; nothing is lost.
        """
        try:
            return self._seal(spec, strict, git_commit, accept_deletions)
        except Unavailable as error:
            if error.reason != DAMAGED:
                raise
        return self._seal(spec, strict, git_commit, accept_deletions)

    def _seal(self, spec: RunSpec, strict: bool, git_commit: str, accept_deletions: bool) -> Sealed:
        started = self._monotonic()
        outbox = self._opened()
        before = outbox.counters()
        self._look()
        self._wait_for_writers()
        writing = self._dirty.writing
        self._dirty.recheck_racy()
        self._dirty.retry_unreadable()
        while True:
            with self._unsent_is_read_again(outbox):
                outbox.look_if_needed()
                self._read_lost_again(outbox)
                self._read_all(outbox)
            notices = self._check(outbox, spec, writing, strict=strict, accepted=accept_deletions)
            snapshot = Snapshot(version=1, spec=spec, git_commit=git_commit)
            ref = self._publish(outbox, snapshot)
            if ref is not None:
                break
        self._note_sync(outbox)
        report = sync_report(snapshot, before, outbox.counters(), self._monotonic() - started)
        return Sealed(ref, snapshot, report, tuple(notices))

    def _read_all(self, outbox: Outbox) -> None:
        """Read what is dirty. Where something vanished meanwhile, all may be going: then look once more."""
        for left in reversed(range(LOOKS)):
            before = self._dirty.vanished
            self._dirty.process(outbox.sink, held=outbox.holds)
            if not left or self._dirty.vanished == before:
                break
            self._look()
        outbox.save(*self._dirty.take_results())

    def _publish(self, outbox: Outbox, snapshot: Snapshot) -> SnapshotRef | None:
        """Publish the trees as they are known; None when something is to be read again first."""
        with self._unsent_is_read_again(outbox):
            for name in TREES:
                getattr(snapshot, name).CopyFrom(self._tree(name, outbox))
            return outbox.publish(snapshot, tree_records(self._devices, self._state))

    def _check(
        self, outbox: Outbox, spec: RunSpec, writing: frozenset[bytes], *, strict: bool, accepted: bool
    ) -> list[Notice]:
        """Refuse what should not be sealed; returns what the user should know otherwise."""
        check_readable(self._dirty.unreadable, self._lookout.problems)
        self._halted = trees_problem(self._cfs, self._state, outbox.trees, accepted=accepted)
        if self._halted is not None:
            raise self._halted
        check_links(self._state, spec.allow_external_links)
        return [*changing(writing, self._dirty.unstable, strict), *left_out(self._dirty.special)]

    def _wait_for_writers(self) -> None:
        deadline = self._monotonic() + WRITERS_S
        while self._dirty.writing and self._monotonic() < deadline:
            self._lookout.wait(0.01)
            self._look()

    def _tree(self, name: str, outbox: Outbox) -> Tree:
        found = self._state.get(name.encode())
        directory = found if isinstance(found, Dir) else Dir(0o755)
        total = self._state.total(name)
        return Tree(digest=encode(directory, outbox.sink), files=total.files, bytes=total.bytes)

    # Common

    def with_outbox(self, work: Callable[[Outbox], _Result]) -> _Result:
        """Ask about what is stored, or tell that something is not; then it is stored again."""
        outbox = self._opened()
        result = work(outbox)
        self._read_lost_again(outbox)
        return result

    def leaves_out(self, path: bytes) -> bool:
        """A file, named from the folder of the trees, is not sent. Another thread may ask."""
        return self._lookout.leaves_out(path, False)

    def backlog(self) -> Backlog:
        """What is not in the store yet. Another thread may ask."""
        outbox = self._outbox
        return self._backlog(outbox.on_the_way_bytes if outbox else 0)

    def _backlog(self, unsent: int) -> Backlog:
        dirty = self._dirty
        files, unread = dirty.backlog()
        return Backlog(files + len(dirty.unreadable), unread, unsent, dirty.biggest)

    def sizes(self) -> list[tuple[bytes, int]]:
        """Path and size of every file of the project that is known."""
        return [(path, file.stamp.size) for path, file in files_below(self._state.root)]

    def status(self) -> SyncStatus:
        """What the engine is at."""
        totals = [self._state.total(name) for name in TREES]
        return SyncStatus(
            state=self._status_state(),
            problem=self._problem(),
            backlog=self._backlog(self._outbox.unsent_bytes if self._outbox else 0),
            files=sum(total.files for total in totals),
            bytes=sum(total.bytes for total in totals),
            watching=self._lookout.kind,
            degraded=self._lookout.degraded,
            missed=self._missed,
            synced_ns=self._synced_ns,
        )

    def _status_state(self) -> ProjectState.ValueType:
        if self._halted is not None:
            return ProjectState.PROJECT_STATE_HALTED
        if self._outbox is None or self._dirty.surveying:
            return ProjectState.PROJECT_STATE_SCANNING
        if self._dirty or self._outbox.unsent_bytes or self._problem():
            return ProjectState.PROJECT_STATE_SYNCING
        return ProjectState.PROJECT_STATE_IN_SYNC

    def _problem(self) -> str:
        if self._halted is not None:
            return f"{self._halted.message} ({self._halted.hint})"
        stuck = self._outbox.problem if self._outbox else ""
        return stuck or unreadable_text(self._dirty.unreadable)

    def _note_sync(self, outbox: Outbox) -> None:
        """Remember when the last change got into the store."""
        if not self._dirty.ready:
            self.meter.edits.settle()
        if self._dirty or outbox.unsent_bytes:
            return
        self._dirty.forget_biggest()
        if self._synced_changes != self._dirty.changes:
            self._synced_changes = self._dirty.changes
            self._synced_ns = self._clock_ns()
