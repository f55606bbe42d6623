"""Watching on Linux: an inotify reader that loses nothing it is told and says so when the kernel did.

Why not watchdog's reader, or one of our own below watchdog's observer: its events pass through two threads
and a queue of objects before anybody sees them, so there is no moment at which all is known to have arrived;
it places watches in directories nobody wants, reports an overflow to nobody and drops most of a burst. What
is needed is a set of names and a barrier, and those are simpler without it.

The barrier: the kernel queues an event before the system call that caused it returns. So whoever reads all
that is queued *now* knows every change that was completed before. A thread keeps emptying the queue
meanwhile, so that it does not overflow while nobody asks; it holds blocks of raw events as long as the table
is in use, and both sides take blocks in the order in which they were read.

Not seen by inotify: writes through mmap until the file is closed, and through a hard link outside the tree.
An audit by stat pass, the sync engine's, finds those.
"""

from __future__ import annotations

import os
import select
import threading
import time
from collections.abc import Callable
from pathlib import Path

from pollinator.daemon.watch import kernel
from pollinator.daemon.watch.above import Above
from pollinator.daemon.watch.base import Changes, Skip, topmost
from pollinator.daemon.watch.directories import Directories, Place
from pollinator.daemon.watch.filesystem import EXCEPTIONAL, MountTable, identity_of, network_mounts
from pollinator.daemon.watch.poll import Pace

WRITING_FORGOTTEN_S = 60.0
"""A file not written to for so long is not being written: ``truncate(2)`` makes no closing event."""

RETRY_S = 30.0
"""How often to ask again for watches that were not to be had."""

GATHER_MS = 5
"""How long events are left in the kernel's queue, which holds many times what comes in so short a time."""

_UNUSUAL = kernel.IS_DIRECTORY | kernel.OVERFLOW | kernel.IGNORED | kernel.UNMOUNT
_SELF = kernel.DELETE_SELF | kernel.MOVE_SELF


class InotifyWatch:
    """Watches every directory below the root that is not skipped."""

    kind = "inotify"

    def __init__(
        self,
        root: Path,
        skip: Skip,
        *,
        events: kernel.Events | None = None,
        remote: frozenset[bytes] = frozenset(),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.degraded = ""
        self._location = os.fsencode(root)
        self._events = events if events is not None else kernel.Inotify()
        self._clock = clock
        self._pace = Pace(clock)
        self._identity: tuple[int, int] | None = None
        # Guards the table and the dirty sets; the queue lock guards the descriptor and the blocks read.
        self._table_lock = threading.Lock()
        self._queue_lock = threading.Lock()
        self._blocks: list[bytes] = []
        # One for the drain, one to wake up by: to be asked is to forget.
        self._mounts = MountTable(self._location)
        self._alarm = MountTable(self._location)
        self._directories = Directories(self._events, self._location, skip, remote)
        self._above = Above(self._events, self._location, self._directories.uses)
        self._dirty: set[Place] = set()
        self._unknown: set[Place] = set()
        self._writing: dict[Place, float] = {}
        self._moving: dict[int, float] = {}
        self._all_unknown = False
        self._lost = False
        self._gone = False
        self._retry_at = 0.0
        self._ready = threading.Event()
        self._closed = False
        self._wake_r, self._wake_w = os.pipe2(os.O_CLOEXEC)
        self._thread = threading.Thread(target=self._keep_reading, name="inotify", daemon=True)

    def start(self) -> None:
        """Watch the whole tree. A root that is not there is announced by ``drain``."""
        self._thread.start()
        with self._table_lock:
            self._identity = identity_of(self._location)
            self._walk()
            self._describe()

    def drain(self) -> Changes:
        """Read all that is queued and hand over what has gathered."""
        self._ready.clear()
        with self._table_lock:
            if self._closed:
                return Changes()
            self._absorb()
            self._recover()
            beside = self._above.uncertain or not self._mounts.readable
            if self._gone or (beside and self._above.look() != self._identity):
                self._gone = True
                return Changes(root_gone=True)
            self._pace.looked()
            return self._hand_over(beside)

    def wait(self, timeout_s: float) -> bool:
        """Wait for an event, or until it is time to look at what has no watch."""
        if not self._directories.polls:
            return self._ready.wait(timeout_s)
        rest = self._pace.rest()
        return self._ready.wait(min(rest, timeout_s)) or rest <= timeout_s

    def refresh(self) -> None:
        """Walk the tree again: other directories may be skipped now."""
        with self._table_lock:
            self._lost = True
        self._ready.set()

    def close(self) -> None:
        """Stop the thread and give all watches up."""
        with self._queue_lock:
            if self._closed:
                return
            self._closed = True
        os.write(self._wake_w, b"x")
        if self._thread.is_alive():
            self._thread.join()
        with self._table_lock, self._queue_lock:
            self._events.close()
            self._mounts.close()
            self._alarm.close()
            os.close(self._wake_r)
            os.close(self._wake_w)
        self._ready.set()

    def _keep_reading(self) -> None:
        anything, closing = select.poll(), select.poll()
        anything.register(self._events.fd, select.POLLIN)
        anything.register(self._wake_r, select.POLLIN)
        if self._alarm.fd >= 0:
            anything.register(self._alarm.fd, EXCEPTIONAL)
        closing.register(self._wake_r, select.POLLIN)
        while not self._closed:
            mounts = self._alarm.fd in dict(anything.poll())
            # Events come in bunches, and a drain that is just being called should find the locks free.
            closing.poll(GATHER_MS)
            if self._read_ahead() or mounts:
                self._ready.set()

    def _read_ahead(self) -> bool:
        """Empty the queue; whether there is anything in it that somebody should be woken up for."""
        if not self._table_lock.acquire(blocking=False):
            # Whoever holds the table takes the blocks in himself, now or at the next drain.
            self._take_in()
            return True
        try:
            self._absorb()
            return bool(self._dirty or self._unknown or self._lost or self._gone or self._above.uncertain)
        finally:
            self._table_lock.release()

    def _take_in(self) -> None:
        with self._queue_lock:
            if not self._closed:
                self._blocks += self._events.read()

    def _absorb(self) -> None:
        """Bring the table and the dirty sets to where the queue was when this was called."""
        self._take_in()
        with self._queue_lock:
            blocks, self._blocks = self._blocks, []
        for block in blocks:
            self._process(block)
        if blocks:
            self._directories.settle()
            self._moving.clear()

    def _process(self, block: bytes) -> None:
        # Every event of a burst passes through this loop: no objects, no calls for the usual ones.
        add, writing, now = self._dirty.add, self._writing, self._clock()
        above = self._above.watches
        unpack, header = kernel.HEADER.unpack_from, kernel.HEADER.size
        start = 0
        while start < len(block):
            watch, mask, cookie, length = unpack(block, start)
            start += header + length
            name = block[start - length : start].rstrip(b"\0")
            if watch in above:
                self._above.note(watch, name)
                if not self._directories.uses(watch):
                    # A folder above may be anybody's, and full of files that come and go.
                    continue
            if mask & _UNUSUAL or not name:
                self._process_directory(watch, mask, name)
                continue
            place = (watch, name)
            add(place)
            if mask & kernel.MODIFY:
                writing[place] = now
            elif writing or self._moving:
                self._stop_writing(place, mask, cookie)

    def _stop_writing(self, place: Place, mask: int, cookie: int) -> None:
        if mask & kernel.ATTRIB:
            return
        since = self._writing.pop(place, None)
        if mask & kernel.MOVED_FROM and since is not None:
            self._moving[cookie] = since
        elif mask & kernel.MOVED_TO and cookie in self._moving:
            self._writing[place] = self._moving.pop(cookie)

    def _process_directory(self, watch: int, mask: int, name: bytes) -> None:
        place = (watch, name)
        if mask & kernel.OVERFLOW:
            self._lost = True
        elif not name:
            self._process_itself(watch, mask)
        elif mask & (kernel.CREATE | kernel.MOVED_TO):
            self._meet(place)
        elif mask & (kernel.DELETE | kernel.MOVED_FROM):
            self._dirty.add(place)
            self._directories.leave(place)
        else:
            self._dirty.add(place)
            if self._directories.denied or not self._directories.knows(place):
                self._meet(place)

    def _process_itself(self, watch: int, mask: int) -> None:
        """An event about a watched directory, told by itself and not by the one above it."""
        is_root = watch == self._directories.root_watch
        place = self._directories.place_of(watch)
        if is_root and mask & (_SELF | kernel.IGNORED | kernel.UNMOUNT):
            self._gone = True
        elif is_root:
            self._dirty.add((watch, b""))
            self._lost = self._lost or self._directories.denied
        elif place is not None and mask & (kernel.IGNORED | kernel.UNMOUNT):
            self._dirty.add(place)
            self._directories.drop(watch)
            if mask & kernel.UNMOUNT:
                self._meet(place)

    def _meet(self, place: Place) -> None:
        """A directory is at a place where none was, or another one."""
        if self._directories.adopt(place):
            self._unknown.add(place)

    def _recover(self) -> None:
        """Mend what the events have left incomplete: an overflow, mounts, watches that were refused."""
        if self._mounts.changed():
            self._lost = True
            self._directories.set_remote(network_mounts(Path(os.fsdecode(self._location))))
        if self._lost:
            self._lost = False
            self._all_unknown = True
            self._above.doubt()
            self._walk()
        if (self._directories.missing or self._above.uncertain) and self._clock() >= self._retry_at:
            self._retry_at = self._clock() + RETRY_S
            self._directories.retry()
            self._above.doubt()
        self._describe()

    def _walk(self) -> None:
        try:
            self._directories.adopt_root()
        except OSError:
            self._gone = True

    def _hand_over(self, beside: bool) -> Changes:
        subtrees = set(self._paths(self._unknown)) | self._directories.unwatched()
        if self._all_unknown:
            subtrees.add(b"")
        if self._writing:
            before = self._clock() - WRITING_FORGOTTEN_S
            self._writing = {place: at for place, at in self._writing.items() if at > before}
        changes = Changes(
            paths=frozenset(self._paths(self._dirty)),
            subtrees=topmost(subtrees),
            writing=frozenset(self._paths(set(self._writing))),
            beside=beside,
        )
        self._dirty.clear()
        self._unknown.clear()
        self._all_unknown = False
        return changes

    def _paths(self, places: set[Place]) -> list[bytes]:
        """Where the places are now. One in a directory that is gone is nowhere: its going was announced."""
        names: dict[int, list[bytes]] = {}
        for watch, name in places:
            names.setdefault(watch, []).append(name)
        found: list[bytes] = []
        for watch, below in names.items():
            path = self._directories.path_of(watch)
            if path:
                prefix = path + b"/"
                found += [prefix + name if name else path for name in below]
            elif path is not None:
                found += below
        return found

    def _describe(self) -> None:
        """Say what is not watched; made here because the table belongs to the lock."""
        reasons: list[str] = []
        missing, watched = self._directories.missing, self._directories.watched
        if missing:
            limit = kernel.limit("max_user_watches")
            wanted = 1 << (limit + 2 * missing).bit_length()
            reasons.append(
                f"{missing} of {missing + watched} directories got no inotify watch and are polled. "
                f"Run: sudo sysctl fs.inotify.max_user_watches={wanted}"
            )
        shared = sorted(path.decode(errors="backslashreplace") for path in self._directories.shared())
        if shared:
            reasons.append(f"on a network file system, polled: {', '.join(shared)}")
        self.degraded = "; ".join(reasons)
