"""What has to be looked at: from dirty paths and subtrees to files that were read."""

from __future__ import annotations

import os
import time
from collections.abc import Callable

from pollinator.chunks.cut import Sink
from pollinator.daemon.index import Known
from pollinator.daemon.scan import Found, Kind, Stamp, is_racy, look, racy_window_ns, scan
from pollinator.daemon.sync.reading import read_file
from pollinator.daemon.sync.state import Dir, File, Link, State, nodes_below
from pollinator.daemon.watch.base import Changes
from pollinator.v1.run_pb2 import Notice, Severity


class DirtySet:
    """Paths to look at, and files to read. Changes ``state`` as it goes."""

    def __init__(
        self,
        root: bytes,
        state: State,
        ignored: Callable[[bytes, bool], bool],
        clock_ns: Callable[[], int],
    ) -> None:
        self._root = root
        self._state = state
        self._ignored = ignored
        self._clock_ns = clock_ns
        self._paths: set[bytes] = set()
        self._subtrees: set[bytes] = set()
        self._to_read: dict[bytes, int] = {}
        self._racy: set[bytes] = set()
        self._changed: dict[bytes, Known] = {}
        self._gone: set[bytes] = set()
        self._notices: list[Notice] = []
        self.known: dict[bytes, Known] = {}
        self.writing: frozenset[bytes] = frozenset()
        self.unreadable: dict[bytes, str] = {}

    def __bool__(self) -> bool:
        """Something has to be looked at or read."""
        return bool(self._paths or self._subtrees or self._to_read)

    @property
    def surveying(self) -> bool:
        """Whole subtrees have to be looked at."""
        return bool(self._subtrees)

    @property
    def ready(self) -> bool:
        """Something can be done now: not everything waits for a file to be closed."""
        return bool(self._paths or self._subtrees or self._to_read.keys() - self.writing)

    def add(self, changes: Changes) -> None:
        """Take over what the watcher names."""
        self._paths |= changes.paths
        self._subtrees |= changes.subtrees
        self.writing = frozenset(path for path in changes.writing if not self._ignored(path, False))

    def reread(self, path: bytes) -> None:
        """The file has to be read again, however its stamp looks."""
        node = self._state.get(path)
        self._to_read[path] = node.stamp.size if isinstance(node, File) else 0

    def recheck_racy(self, *, settled: bool = False) -> None:
        """Files that were read too soon after their last change have to be read again.

        With ``settled`` only those whose last change is old enough by now, so that the next read counts.
        """
        now_ns = self._clock_ns()
        window_ns = racy_window_ns(self._root)
        due: list[bytes] = []
        for path in self._racy:
            node = self._state.get(path)
            fresh = isinstance(node, File) and is_racy(node.stamp, now_ns, now_ns, window_ns)
            if not (settled and fresh):
                due.append(path)
        for path in due:
            self._racy.discard(path)
            self.reread(path)

    def backlog(self) -> tuple[int, int]:
        """Files to look at or read, and bytes to read."""
        return len(self._to_read) + len(self._paths), sum(self._to_read.values())

    def take_results(self) -> tuple[dict[bytes, Known], set[bytes]]:
        """What was read, and what is gone, since the last call."""
        changed, gone = self._changed, self._gone
        self._changed, self._gone = {}, set()
        return changed, gone - changed.keys()

    def take_notices(self) -> list[Notice]:
        """What the user should know, since the last call."""
        notices, self._notices = self._notices, []
        return notices

    def survey(self) -> int:
        """Look at all that is dirty, without reading; returns how many files have to be read."""
        before = len(self._to_read)
        while self._subtrees:
            self._survey_subtree(self._subtrees.pop())
        while self._paths:
            self._survey_path(self._paths.pop())
        self.known = {}
        return len(self._to_read) - before

    def process(
        self,
        sink: Sink,
        *,
        until: float | None = None,
        hold_writers: bool = False,
        progress: Callable[[int, int], None] | None = None,
    ) -> None:
        """Look at everything, then read files until all are read or the monotonic time ``until`` is over.

        Args:
            sink: takes each chunk.
            until: when to stop; None to finish.
            hold_writers: leave files alone that are open for writing.
            progress: told the bytes read and the bytes to read.
        """
        self.survey()
        total = sum(self._to_read.values())
        done = 0
        window = racy_window_ns(self._root)
        for path in sorted(self._to_read.keys() - (self.writing if hold_writers else frozenset())):
            size = self._to_read.pop(path)
            try:
                self._read(path, sink, window)
            except BaseException:
                self._to_read[path] = size
                raise
            done += size
            if progress is not None:
                progress(done, total)
            if until is not None and time.monotonic() >= until:
                return

    def _survey_subtree(self, below: bytes) -> None:
        if below and not self._survey_path(below):
            return
        seen: set[bytes] = {below}
        unknown: list[bytes] = []
        for found in scan(self._root, below, self._ignored):
            if found[1] is Kind.UNREADABLE:
                self.unreadable[found[0]] = "permission denied"
                unknown.append(found[0] + b"/" if found[0] else b"")
                continue
            seen.add(found[0])
            self._take(found)
        for path in [path for path, _ in nodes_below(self._state.get(below), below) if path not in seen]:
            if path and not any(path.startswith(prefix) for prefix in unknown):
                self._forget(path)

    def _survey_path(self, path: bytes) -> bool:
        """Look at one path; True when it is a directory that belongs to the project."""
        found = look(self._root, path)
        if found is None or self._is_ignored(path, found[1] is Kind.DIRECTORY):
            self._forget(path)
            return False
        self._take(found)
        return found[1] is Kind.DIRECTORY

    def _is_ignored(self, path: bytes, is_dir: bool) -> bool:
        parts = path.split(b"/")
        above = (b"/".join(parts[:count]) for count in range(1, len(parts)))
        return any(self._ignored(each, True) for each in above) or self._ignored(path, is_dir)

    def _take(self, found: Found) -> None:
        path, kind, info = found
        if not path:
            return
        current = self._state.get(path)
        self.unreadable.pop(path, None)
        match kind:
            case Kind.DIRECTORY:
                if not isinstance(current, Dir) or current.mode & 0o777 != info.st_mode & 0o777:
                    self._replace(path, current, Dir(info.st_mode))
            case Kind.LINK:
                self._take_link(path, current)
            case Kind.FILE:
                self._take_file(path, current, Stamp.of(info))
            case _:
                self._forget(path)
                text = f"cfs/{os.fsdecode(path)} is no file, folder or link and is left out"
                self._notices.append(
                    Notice(severity=Severity.SEVERITY_WARNING, code="special_file", text=text)
                )

    def _take_link(self, path: bytes, current: object) -> None:
        try:
            target = os.readlink(os.path.join(self._root, path))
        except OSError:
            self._paths.add(path)
            return
        if not isinstance(current, Link) or current.target != target:
            self._replace(path, current, Link(target))

    def _take_file(self, path: bytes, current: object, stamp: Stamp) -> None:
        if isinstance(current, File):
            if current.stamp == stamp:
                return
        elif current is not None:
            self._forget(path)
        known = self.known.get(path)
        if known is not None and known.stamp == stamp:
            self._state.put(path, File(stamp, known.content))
            return
        self._to_read[path] = stamp.size

    def _replace(self, path: bytes, current: object, node: Dir | Link) -> None:
        if current is not None and not (isinstance(current, Dir) and isinstance(node, Dir)):
            self._forget(path)
        self._to_read.pop(path, None)
        self._state.put(path, node)

    def _forget(self, path: bytes) -> None:
        gone = self._state.remove(path) if path else []
        prefix = path + b"/"
        for each in [*gone, path]:
            self._to_read.pop(each, None)
            self._racy.discard(each)
            self._changed.pop(each, None)
        self._gone.update(gone)
        for each in [each for each in self.unreadable if each == path or each.startswith(prefix)]:
            del self.unreadable[each]
        for each in [each for each in self._to_read if each.startswith(prefix)]:
            del self._to_read[each]

    def _read(self, path: bytes, sink: Sink, window_ns: int) -> None:
        started_ns = self._clock_ns()
        try:
            read = read_file(os.path.join(self._root, path), sink)
        except (FileNotFoundError, NotADirectoryError):
            self._forget(path)
            return
        except OSError as error:
            self.unreadable[path] = error.strerror or str(error)
            return
        self.unreadable.pop(path, None)
        self._state.put(path, File(read.stamp, read.content))
        if not read.stable:
            text = f"cfs/{os.fsdecode(path)} changed while it was read"
            self._notices.append(
                Notice(severity=Severity.SEVERITY_WARNING, code="changed_while_read", text=text)
            )
        if not read.stable or is_racy(read.stamp, started_ns, self._clock_ns(), window_ns):
            self._racy.add(path)
            self._gone.add(path)
        else:
            self._changed[path] = Known(read.stamp, read.content)
