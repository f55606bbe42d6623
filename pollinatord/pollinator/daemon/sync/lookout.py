"""The watcher of a project and its ignore rules: where to look, or that there is nothing left to look at."""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Callable
from pathlib import Path

from pollinator.daemon.ignore import Ignore, is_ignore_file
from pollinator.daemon.sync.state import TREES
from pollinator.daemon.watch.base import SPEC_FILE, Changes, Watch
from pollinator.daemon.watch.filesystem import identity_of
from pollinator.wire.errors import Denied, Halted, Unavailable

WatchOpener = Callable[[Path, Callable[[bytes], bool]], Watch]

ROOT_GONE = "root_gone"
"""Reason of the error when there is nothing to watch."""

_TREES = frozenset(map(os.fsencode, TREES))
_EVERYTHING = frozenset((b"",))


class Lookout:
    """Watches ``root/cfs``, again and again if it must. Belongs to the engine's thread."""

    def __init__(
        self, root: Path, open_watch: WatchOpener, note: Callable[[bytes], None] = lambda path: None
    ) -> None:
        """``note`` is told of a file beside ``root/cfs`` that has changed."""
        self._cfs = root / "cfs"
        self._spec = os.path.join(os.fsencode(root), SPEC_FILE)
        self._spec_stamp: tuple[int, int, int] | None = None
        self._note = note
        self._open_watch = open_watch
        self._ignore = Ignore(root, b"cfs")
        self._watch: Watch | None = None
        self._anything = True
        self._told = False
        self._audits = False
        self._trees: list[tuple[int, int] | None] = []

    @property
    def kind(self) -> str:
        """How it watches; empty when it does not."""
        return self._watch.kind if self._watch else ""

    @property
    def degraded(self) -> str:
        """Why it is not at its best."""
        return self._watch.degraded if self._watch else ""

    @property
    def problems(self) -> tuple[str, ...]:
        """Ignore files that cannot be read."""
        return self._ignore.problems

    def leaves_out(self, path: bytes, is_dir: bool) -> bool:
        """The path is ignored, or in no tree that is sent. Also asked by the watcher's thread."""
        return path.split(b"/", 1)[0] not in _TREES or self._ignore.ignored(path, is_dir)

    def start(self) -> Watch:
        """Watch, if it does not yet; the next drain names everything.

        Raises:
            Halted: the project's cfs folder is not there.
            Denied: it cannot be read.
            Unavailable: it cannot be watched.
        """
        if self._watch is not None:
            return self._watch
        try:
            os.scandir(self._cfs).close()
        except PermissionError as error:
            text = f"{self._cfs} cannot be read: {error.strerror}"
            raise Denied(text, reason="unreadable_file", hint="look at its permissions") from error
        except OSError as error:
            raise self._gone() from error
        self._anything = True
        self._ignore.reload()
        try:
            watch = self._open_watch(self._cfs, lambda path: self.leaves_out(path, True))
            watch.start()
        except OSError as error:
            text = f"cannot watch {self._cfs}: {error.strerror}"
            raise Unavailable(text, reason="cannot_watch", hint="are too many files open?") from error
        self._watch = watch
        return watch

    def drain(self) -> Changes:
        """Where to look: everything that changed since the last call, and before this one, is named.

        Raises:
            Halted: the project's cfs folder is not there.
            Denied: it cannot be read.
            Unavailable: it cannot be watched.
        """
        changes = self.start().drain()
        if changes.root_gone:
            self.close()
            changes = self.start().drain()
            if changes.root_gone:
                raise self._gone()
        if changes.beside:
            self._look_at_spec()
        return self._with_new_rules(changes)

    def audit(self) -> None:
        """The next drain looks at every ignore file: what was written through a map makes no event."""
        self._audits = True

    def rules_changed(self) -> bool:
        """Where ignore files are that nobody watches, one has changed: it is time to drain."""
        return self._ignore.changed(announced=Changes().announces if self._told else None)

    def wait(self, timeout_s: float) -> bool:
        """Sleep until there may be something to drain; False when nothing was within the time.

        The only method besides ``leaves_out`` for another thread.
        """
        watch = self._watch
        if watch is None:
            time.sleep(min(timeout_s, 0.2))
            return True
        return watch.wait(timeout_s)

    def close(self) -> None:
        """Stop watching."""
        if self._watch is not None:
            self._watch.close()
            self._watch = None

    def _look_at_spec(self) -> None:
        try:
            info = os.stat(self._spec)
            stamp = (info.st_size, info.st_mtime_ns, info.st_ino)
        except OSError:
            stamp = None
        if stamp != self._spec_stamp:
            self._spec_stamp = stamp
            self._note(SPEC_FILE)

    def _with_new_rules(self, changes: Changes) -> Changes:
        self._told = not changes.beside and b"" not in changes.subtrees
        announced = changes.announces if self._told and not self._audits else None
        self._audits = False
        if any(map(is_ignore_file, changes.paths)) or self._ignore.changed(
            changes.subtrees, announced=announced
        ):
            self._ignore.reload()
            self.start().refresh()
            self._anything = True
        if self._anything or self._other_trees():
            self._anything = False
            return dataclasses.replace(changes, subtrees=_EVERYTHING)
        return changes

    def _other_trees(self) -> bool:
        """Something was mounted where a tree is, or not any more; only inotify's watcher knows of itself."""
        if self.kind == "inotify":
            return False
        before, self._trees = self._trees, [identity_of(os.path.join(self._cfs, name)) for name in TREES]
        return before != self._trees

    def _gone(self) -> Halted:
        return Halted(
            f"{self._cfs} is gone: sync is halted so that nothing is taken for deleted",
            reason=ROOT_GONE,
            hint="put the folder back, or mount its disk; was the project moved, run pollinator there",
        )
