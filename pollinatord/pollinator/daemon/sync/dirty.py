"""What has to be looked at: from dirty paths and subtrees to files that were read."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection

from pollinator.chunks.cut import Content, Sink
from pollinator.daemon.known import File
from pollinator.daemon.scan import Found, Kind, Stamp, is_racy, listings, look, racy_window_ns
from pollinator.daemon.sync.meter import Meter
from pollinator.daemon.sync.reading import NoFile, Taker, read_file
from pollinator.daemon.sync.state import Dir, Gap, Link, Node, State
from pollinator.daemon.sync.unread import Unread
from pollinator.daemon.watch.base import Changes, lineage
from pollinator.v1.project_pb2 import BigPath

ROUNDS = 3
"""How often something is looked at again because it was replaced between looking and reading."""


def none_held(_digest: bytes) -> bool:
    """Whoever takes chunks takes all of them."""
    return False


class DirtySet:
    """Paths to look at, and files to read. Changes ``state`` as it goes.

    Attributes:
        known: files as the index knows them; used by the first look at everything, and then forgotten.
        writing: files that are open for writing.
        unreadable: what cannot be looked at or read, and why.
        unstable: files that changed while they were read last.
        special: sockets, pipes and devices.
        changes: grows with everything that is not as it was.
        vanished: grows whenever something is gone.
    """

    def __init__(
        self,
        root: bytes,
        state: State,
        ignored: Callable[[bytes, bool], bool],
        clock_ns: Callable[[], int],
        meter: Meter | None = None,
    ) -> None:
        self._root = root
        self._prefix = root + b"/"
        self._state = state
        self._ignored = ignored
        self._clock_ns = clock_ns
        self._meter = meter or Meter()
        self._paths: set[bytes] = set()
        self._subtrees: set[bytes] = set()
        self._to_read = Unread()
        self._racy: set[bytes] = set()
        self._changed: dict[bytes, File] = {}
        self._gone: set[bytes] = set()
        # Large files that changed while nobody looked, as they were before.
        self._earlier: dict[bytes, Content] = {}
        self._found: set[bytes] | None = None
        self.known: dict[bytes, File] = {}
        self.writing: frozenset[bytes] = frozenset()
        self.unreadable: dict[bytes, str] = {}
        self.unstable: set[bytes] = set()
        self.special: set[bytes] = set()
        self.changes = 0
        self.vanished = 0

    def __bool__(self) -> bool:
        """Something has to be looked at or read."""
        return bool(self._paths or self._subtrees or self._to_read)

    @property
    def surveying(self) -> bool:
        """Whole subtrees have to be looked at."""
        return bool(self._subtrees)

    @property
    def racy(self) -> bool:
        """Files were read too soon after their last change."""
        return bool(self._racy)

    @property
    def ready(self) -> bool:
        """Something can be done now: not everything waits for a file to be closed."""
        return bool(self._paths or self._subtrees) or self._to_read.any_but(self.writing)

    def add(self, changes: Changes) -> None:
        """Take over what the watcher names."""
        self._paths |= changes.paths
        self._subtrees |= changes.subtrees
        self.writing = frozenset(path for path in changes.writing if not self._ignored(path, False))

    def suspect(self, subtree: bytes) -> None:
        """Anything may have changed at or below a path."""
        self._subtrees.add(subtree)

    def reread(self, path: bytes) -> None:
        """The file has to be read again, however its stamp looks."""
        node = self._state.get(path)
        self._to_read.add(path, node.stamp.size if isinstance(node, File) else 0)

    def retry_unreadable(self) -> None:
        """What could not be looked at or read may be by now, without an event that says so."""
        self._subtrees.update(self.unreadable)

    def recheck_racy(self, *, settled: bool = False) -> None:
        """Files that were read too soon after their last change have to be read again.

        With ``settled`` only those whose last change is old enough by now, so that the next read counts.
        """
        if not self._racy:
            return
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

    @property
    def biggest(self) -> tuple[BigPath, ...]:
        """The largest of a large backlog, until all of it is in the store."""
        return self._to_read.biggest

    def forget_biggest(self) -> None:
        """All is in the store."""
        self._to_read.forget_biggest()

    def backlog(self) -> tuple[int, int]:
        """Files to look at or read, and bytes to read. Another thread may ask."""
        unread = max(0, self._to_read.bytes - self._meter.of_file)
        return len(self._to_read) + len(self._paths), unread

    def take_results(self) -> tuple[dict[bytes, File], set[bytes]]:
        """What was read, and what is gone, since the last call."""
        changed, gone = self._changed, self._gone
        self._changed, self._gone = {}, set()
        return changed, gone - changed.keys()

    def audit(self) -> set[bytes]:
        """Look at all that is dirty; returns the paths at which something was not as expected."""
        self._found = set()
        try:
            self.survey()
            return self._found
        finally:
            self._found = None

    def survey(self) -> None:
        """Look at all that is dirty, without reading."""
        while self._subtrees or self._paths:
            if self._subtrees:
                _each(self._subtrees, self._survey_subtree)
            else:
                _each(self._paths, self._survey_path)
        if self.known:
            gone = {path for path in self.known if not isinstance(self._state.get(path), File | Gap)}
            self._gone |= gone
            self.vanished += len(gone)
            self.known = {}

    def process(
        self,
        sink: Sink,
        *,
        held: Callable[[bytes], bool] = none_held,
        enough: Callable[[], bool] | None = None,
        hold_writers: bool = False,
    ) -> None:
        """Look at everything, then read files until all are read, or ``enough`` says that it is time to stop.

        Args:
            sink: takes each chunk.
            held: whether a chunk need not be given to ``sink`` again.
            enough: asked after each file; None to finish.
            hold_writers: leave files alone that are open for writing.
        """

        def counting(digest: bytes, data: bytes | memoryview) -> None:
            self._meter.took(len(data))
            sink(digest, data)

        taker = Taker(counting, held, self._meter.took)
        for _ in range(ROUNDS):
            self.survey()
            self._to_read.note_biggest()
            writing = self.writing if hold_writers else frozenset[bytes]()
            finished = self._read_all(writing, taker, enough)
            if not finished or not self._paths:
                return

    def _survey_subtree(self, below: bytes) -> None:
        if below and not self._look_at(below):
            return
        unknown: set[bytes] = set()

        def tell(path: bytes, error: OSError) -> None:
            unknown.add(path)
            self._cannot_look(path, error)

        self.unreadable.pop(below, None)
        for directory, found in listings(self._root, below, self._ignored, tell):
            for each in found:
                self._take(each)
            self._keep_only(directory, {each[0] for each in found} | unknown)

    def _keep_only(self, directory: bytes, present: Collection[bytes]) -> None:
        """What else is known of in a directory is gone."""
        node = self._state.get(directory)
        prefix = directory + b"/" if directory else b""
        known = [prefix + name for name in node.children] if isinstance(node, Dir) else []
        for path in known:
            if path not in present:
                self._forget(path)

    def _survey_path(self, path: bytes) -> None:
        unlisted = path in self.unreadable
        if self._look_at(path) and unlisted:
            self._subtrees.add(path)

    def _look_at(self, path: bytes) -> bool:
        """Look at one path; True when it is a directory that belongs to the project."""
        if not path or not self._leads_to(path):
            self._forget(path)
            return False
        try:
            found = look(self._root, path)
        except OSError as error:
            self._cannot_look(path, error)
            return False
        if found is None or self._ignored(path, found[1] is Kind.DIRECTORY):
            self._forget(path)
            return False
        self._take(found)
        return found[1] is Kind.DIRECTORY

    def _leads_to(self, path: bytes) -> bool:
        """Whether all above a path are directories of the project: what lies behind a link is not in it."""
        if isinstance(self._state.get(path.rpartition(b"/")[0]), Dir):
            return True
        for above in reversed([*lineage(path)][1:-1]):
            if isinstance(self._state.get(above), Dir):
                continue
            # Its own event was lost or is still to be looked at.
            if not self._look_at(above):
                return False
            self._subtrees.add(above)
        return True

    def _cannot_look(self, path: bytes, error: OSError) -> None:
        self.unreadable[path] = error.strerror or str(error)
        if path and self._state.get(path) is None:
            self._state.put(path, Gap())

    def _take(self, found: Found) -> None:
        path, kind, info = found
        current = self._state.get(path)
        suspect = self.unreadable.pop(path, None) is not None
        match kind:
            case Kind.DIRECTORY:
                if not isinstance(current, Dir) or current.mode & 0o777 != info.st_mode & 0o777:
                    self._replace(path, current, Dir(info.st_mode))
            case Kind.LINK:
                self._take_link(path, current)
            case Kind.FILE:
                self._take_file(path, current, Stamp.of(info), suspect)
            case Kind.OTHER:
                if not isinstance(current, Gap) or not current.special:
                    self._replace(path, current, Gap(special=True))
                self.special.add(path)

    def _take_link(self, path: bytes, current: Node | None) -> None:
        try:
            target = os.readlink(os.path.join(self._root, path))
        except OSError:
            self._paths.add(path)
            return
        if not isinstance(current, Link) or current.target != target:
            self._replace(path, current, Link(target))

    def _take_file(self, path: bytes, current: Node | None, stamp: Stamp, suspect: bool) -> None:
        if isinstance(current, File) and current.stamp == stamp and not suspect:
            return
        known = self.known.pop(path, None)
        if known is not None and known.stamp == stamp and not suspect:
            self._replace(path, current, known)
            return
        if known is not None and known.content.prints:
            self._earlier[path] = known.content
        if not isinstance(current, File) and not (isinstance(current, Gap) and not current.special):
            self._replace(path, current, Gap())
        elif not suspect:
            self._note(path)
        self._to_read.add(path, stamp.size)

    def _replace(self, path: bytes, current: Node | None, node: Node) -> None:
        if current is not None and not (isinstance(current, Dir) and isinstance(node, Dir)):
            self._forget(path)
        self._state.put(path, node)
        self._note(path)
        if not isinstance(node, Gap) or node.special:
            # One that is to be read is told when it has been.
            self._meter.edits.note(b"cfs/" + path)

    def _forget(self, path: bytes) -> None:
        gone = self._state.remove(path) if path else []
        for each, node in gone:
            self._to_read.discard(each)
            self._racy.discard(each)
            self._changed.pop(each, None)
            self._earlier.pop(each, None)
            self.unreadable.pop(each, None)
            self.unstable.discard(each)
            self.special.discard(each)
            if isinstance(node, File | Gap):
                self._gone.add(each)
        self.vanished += len(gone)
        if gone:
            self._note(path)
            self._meter.edits.note(b"cfs/" + path)

    def _note(self, path: bytes) -> None:
        self.changes += 1
        if self._found is not None:
            self._found.add(path)

    def _read_all(self, held: Collection[bytes], taker: Taker, enough: Callable[[], bool] | None) -> bool:
        window = racy_window_ns(self._root) if self._to_read else 0
        for path in self._to_read.newest_first(held):
            self._meter.begin(path)
            try:
                self._read(path, taker, window)
                self._to_read.discard(path)
            finally:
                self._meter.end()
            if enough is not None and enough():
                return False
        return True

    def _read(self, path: bytes, taker: Taker, window_ns: int) -> None:
        started_ns = self._clock_ns()
        current = self._state.get(path)
        earlier = current.content if isinstance(current, File) else self._earlier.get(path)
        try:
            read = read_file(self._prefix + path, taker, earlier)
        except NoFile:
            self.unreadable[path] = "it is replaced faster than it can be read"
            self._paths.add(path)
            return
        except (FileNotFoundError, NotADirectoryError):
            self._forget(path)
            return
        except OSError as error:
            self.unreadable[path] = error.strerror or str(error)
            return
        self.unreadable.pop(path, None)
        self._earlier.pop(path, None)
        file = File(read.stamp, read.content)
        self._keep(path, file)
        (self.unstable.discard if read.stable else self.unstable.add)(path)
        if not read.stable or is_racy(read.stamp, started_ns, self._clock_ns(), window_ns):
            self._racy.add(path)
            self._gone.add(path)
            self._changed.pop(path, None)
        else:
            self._racy.discard(path)
            self._gone.discard(path)
            self._changed[path] = file

    def _keep(self, path: bytes, file: File) -> None:
        current = self._state.get(path)
        same = isinstance(current, File) and current.same_content(file)
        if isinstance(current, File) and same and current.stamp.mode == file.stamp.mode:
            # Read once more to be sure: the directories above need not be made again.
            current.stamp = file.stamp
            return
        self.changes += 1
        self._meter.edits.note(b"cfs/" + path)
        self._state.put(path, file)


def _each(pending: set[bytes], survey: Callable[[bytes], None]) -> None:
    """In the order of names, so that files of one directory come together; one that fails stays pending."""
    for path in sorted(pending):
        pending.discard(path)
        try:
            survey(path)
        except BaseException:
            pending.add(path)
            raise
