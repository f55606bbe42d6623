"""Watching with watchdog, where the system's own way is not inotify: macOS and Windows.

watchdog hands events over through threads of its own, so there is no queue to read to its end. The barrier is
a marker file instead: events come in order, so when the marker's has come, all earlier ones have. The markers
live in a hidden directory at the top of the root that the ignore rules always leave out. Without an answer in
time, or without a place for markers, the drain says "look at everything".
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from watchdog.events import (
    DirAttribEvent,
    DirCreatedEvent,
    DirDeletedEvent,
    DirModifiedEvent,
    DirMovedEvent,
    FileAttribEvent,
    FileClosedEvent,
    FileCreatedEvent,
    FileDeletedEvent,
    FileModifiedEvent,
    FileMovedEvent,
    FileSystemEvent,
    FileSystemEventHandler,
)
from watchdog.observers import Observer

from pollinator.daemon.watch.base import COOKIE_DIR, Changes, Skip, lineage, topmost
from pollinator.daemon.watch.filesystem import identity_of
from pollinator.daemon.watch.poll import Pace

COOKIE_TIMEOUT_S = 5.0

_WANTED: list[type[FileSystemEvent]] = [
    DirAttribEvent,
    DirCreatedEvent,
    DirDeletedEvent,
    DirModifiedEvent,
    DirMovedEvent,
    FileAttribEvent,
    FileClosedEvent,
    FileCreatedEvent,
    FileDeletedEvent,
    FileModifiedEvent,
    FileMovedEvent,
]


class WatchdogWatch(FileSystemEventHandler):
    """Collects what watchdog's observer reports."""

    kind = "watchdog"

    def __init__(
        self,
        root: Path,
        skip: Skip,
        *,
        cookie_timeout_s: float = COOKIE_TIMEOUT_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__()
        self.degraded = ""
        # macOS reports real paths, whatever path was asked for.
        self._location = os.fsencode(root.resolve())
        self._skip = skip
        self._timeout_s = cookie_timeout_s
        self._pace = Pace(clock)
        self._identity: tuple[int, int] | None = None
        self._lock = threading.Lock()
        self._paths: set[bytes] = set()
        self._subtrees: set[bytes] = set()
        self._writing: set[bytes] = set()
        self._cookie = b""
        self._cookies_made = 0
        self._cookie_seen = threading.Event()
        self._ready = threading.Event()
        self._observer = Observer()
        self._watching = False
        # Only inotify tells when a file is closed; elsewhere nothing is known about files being written.
        self._knows_closing = sys.platform == "linux"

    def start(self) -> None:
        """Watch the whole tree; without the system's help when it has none to give."""
        self._identity = identity_of(self._location)
        with contextlib.suppress(OSError):
            os.mkdir(os.path.join(self._location, COOKIE_DIR))
        self._observer.schedule(self, os.fsdecode(self._location), recursive=True, event_filter=_WANTED)
        try:
            self._observer.start()
        except OSError as error:
            self.degraded = f"the system refuses to watch ({error.strerror}); looking for changes by polling"
            return
        self._watching = True
        if sys.platform == "linux":
            self.degraded = "watchdog may lose changes of a burst on Linux; unset POLLINATOR_WATCH"

    def drain(self) -> Changes:
        """Hand over what has come, after waiting for a marker of our own to come last."""
        self._ready.clear()
        arrived = self._watching and self._observer.is_alive() and self._pass_cookie()
        self._pace.looked()
        with self._lock:
            paths, self._paths = self._paths, set()
            subtrees, self._subtrees = self._subtrees, set()
            writing = frozenset(self._writing)
        if identity_of(self._location) != self._identity:
            return Changes(root_gone=True)
        if not arrived:
            subtrees.add(b"")
        return Changes(frozenset(paths), topmost(subtrees), writing, beside=True)

    def wait(self, timeout_s: float) -> bool:
        """Wait for an event, or until it is time to look without one."""
        if self._watching:
            return self._ready.wait(timeout_s)
        rest = self._pace.rest()
        return self._ready.wait(min(rest, timeout_s)) or rest <= timeout_s

    def refresh(self) -> None:
        """Everything is watched anyway; announce it all."""
        with self._lock:
            self._subtrees.add(b"")
        self._ready.set()

    def close(self) -> None:
        """Stop the observer and take the marker directory away."""
        if self._watching:
            self._watching = False
            self._observer.stop()
            self._observer.join()
        with contextlib.suppress(OSError):
            os.rmdir(os.path.join(self._location, COOKIE_DIR))
        self._ready.set()

    def on_any_event(self, event: FileSystemEvent) -> None:
        """Called by the observer's thread for each event."""
        for reported in (event.src_path, event.dest_path):
            path = self._relative(os.fsencode(reported)) if reported else None
            if path is None:
                continue
            if path == COOKIE_DIR or path.startswith(COOKIE_DIR + b"/"):
                if path == self._cookie:
                    self._cookie_seen.set()
            elif not any(self._skip(above) for above in lineage(path.rpartition(b"/")[0]) if above):
                self._note(path, event, arriving=reported == event.dest_path)

    def _note(self, path: bytes, event: FileSystemEvent, *, arriving: bool) -> None:
        with self._lock:
            self._paths.add(path)
            if event.is_directory and (arriving or isinstance(event, DirCreatedEvent)):
                self._subtrees.add(path)
            if isinstance(event, FileModifiedEvent) and self._knows_closing:
                self._writing.add(path)
            elif not isinstance(event, FileAttribEvent | DirModifiedEvent | DirAttribEvent):
                self._writing.discard(path)
        self._ready.set()

    def _relative(self, path: bytes) -> bytes | None:
        path = path.replace(os.fsencode(os.sep), b"/")
        root = self._location.replace(os.fsencode(os.sep), b"/")
        if path == root:
            return b""
        return path.removeprefix(root + b"/") if path.startswith(root + b"/") else None

    def _pass_cookie(self) -> bool:
        """Make a marker and wait until its event has come."""
        self._cookies_made += 1
        self._cookie_seen.clear()
        self._cookie = b"%s/%d-%d" % (COOKIE_DIR, os.getpid(), self._cookies_made)
        marker = os.path.join(self._location, self._cookie)
        try:
            os.close(os.open(marker, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        except OSError:
            return False
        seen = self._cookie_seen.wait(self._timeout_s)
        with contextlib.suppress(OSError):
            os.unlink(marker)
        return seen
