"""What the tests of the sync engine share: late events, a coarse clock, puts by hand, reading back."""

from __future__ import annotations

import os
import shutil
import sys
from collections import deque
from collections.abc import Callable, Collection, Generator
from concurrent.futures import Future
from contextlib import ExitStack, chdir, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import ParamSpec, TypeVar
from unittest.mock import patch

from pollinator.chunks import upload
from pollinator.chunks.digest import digest_of
from pollinator.chunks.keys import is_snapshot
from pollinator.chunks.pack import parse_footer, verify
from pollinator.chunks.read import SnapshotReader
from pollinator.chunks.store import Store
from pollinator.daemon.scan import Stamp
from pollinator.daemon.watch.base import Changes, Skip, lineage, topmost
from pollinator.v1.tree_pb2 import DirectoryNode, FileNode, Snapshot, SnapshotRef, Tree
from pollinator.wire.errors import Corrupt, PollinatorError, Unavailable
from support.storing import MemoryStore, listed

Listing = dict[bytes, tuple[str, int, bytes]]
"""Path to kind, permissions, and content or target."""

FAILURE = Unavailable("the store is away", reason="store_busy")

_Values = ParamSpec("_Values")
_Result = TypeVar("_Result")


class Clock:
    """Time that passes only when the test says so."""

    def __init__(self) -> None:
        self.now_ns = 1_700_000_000_123_456_789
        self._monotonic_ns = 0

    def pass_ms(self, milliseconds: float) -> None:
        """Let time pass."""
        self.now_ns += round(milliseconds * 1e6)
        self._monotonic_ns += round(milliseconds * 1e6)

    def set_by_ms(self, milliseconds: float) -> None:
        """Somebody sets the time of day, forwards or back."""
        self.now_ns += round(milliseconds * 1e6)

    def time_ns(self) -> int:
        """The time of day."""
        return self.now_ns

    def monotonic(self) -> float:
        """Time that no one can set."""
        return self._monotonic_ns / 1e9


TICK_NS = 10_000_000
"""The clock that file systems stamp with, on a kernel of 100 Hz."""


class CoarseStamps:
    """Stamps as such a kernel makes them: two changes within a tick look alike."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._times: dict[tuple[int, int], tuple[int, int]] = {}

    @contextmanager
    def used(self) -> Generator[None]:
        """The engine sees these instead of the system's."""
        with patch.object(Stamp, "of", self.stamp):
            yield

    def written(self, path: str) -> None:
        """The contents of a file were changed, or it was made."""
        self._times[_identity(path)] = (self._tick(), self._tick())

    def touched(self, path: str) -> None:
        """A file was renamed or has another mode."""
        modified, _ = self._times.get(_identity(path), (0, 0))
        self._times[_identity(path)] = (modified, self._tick())

    def stamp(self, info: os.stat_result) -> Stamp:
        """Stands in for ``Stamp.of``."""
        modified, changed = self._times.get((info.st_dev, info.st_ino), (1, 1))
        return Stamp(info.st_size, modified, changed, info.st_ino, info.st_dev, info.st_mode)

    def _tick(self) -> int:
        return self._clock.now_ns - self._clock.now_ns % TICK_NS + 1


def _identity(path: str) -> tuple[int, int]:
    info = os.lstat(path)
    return info.st_dev, info.st_ino


class LateWatch:
    """A watch whose events come when the test says so; placed in directories as inotify's are.

    A drain hands over what was delivered, and everything while ``complete`` is set: the barrier.
    """

    kind = "late"
    degraded = ""

    def __init__(self, root: Path, skip: Skip, clock: Clock) -> None:
        self._root = os.fsencode(root)
        self._skip = skip
        self._clock = clock
        self._watched: set[bytes] = set()
        self._waiting: deque[Changes] = deque()
        self._delivered: list[Changes] = []
        self._refreshing = False
        self.complete = False

    def start(self) -> None:
        self.adopt(b"")

    def drain(self) -> Changes:
        if self.complete:
            self.deliver(len(self._waiting))
        if self._refreshing:
            self._refreshing = False
            self._watched.clear()
            self.adopt(b"")
            self._delivered.append(Changes(subtrees=frozenset((b"",))))
        delivered, self._delivered = self._delivered, []
        return Changes(
            paths=frozenset[bytes]().union(*(each.paths for each in delivered)),
            subtrees=topmost(frozenset[bytes]().union(*(each.subtrees for each in delivered))),
            beside=True,
        )

    def wait(self, timeout_s: float) -> bool:
        self._clock.pass_ms(timeout_s * 1000)
        return bool(self._delivered)

    def refresh(self) -> None:
        self._refreshing = True

    def close(self) -> None:
        self._watched.clear()

    def deliver(self, count: int) -> None:
        """The first of the events that wait arrive."""
        for _ in range(min(count, len(self._waiting))):
            self._delivered.append(self._waiting.popleft())

    def overflow(self) -> None:
        """The queue was full: what waits is lost, and only that is known."""
        self._waiting.clear()
        self._refreshing = True

    def changed(self, path: bytes) -> None:
        """Something about ``path`` changed, or it is gone."""
        if path.rpartition(b"/")[0] in self._watched:
            self._waiting.append(Changes(paths=frozenset((path,))))

    def appeared(self, path: bytes) -> None:
        """A directory is there, with all that it holds."""
        if path.rpartition(b"/")[0] in self._watched and self.adopt(path):
            self._waiting.append(Changes(subtrees=frozenset((path,))))

    def left(self, path: bytes) -> None:
        """A directory is not there any more."""
        self.changed(path)
        self._watched = {each for each in self._watched if path not in lineage(each)}

    def adopt(self, path: bytes) -> bool:
        """Place watches."""
        if path and self._skip(path):
            return False
        self._watched.add(path)
        with os.scandir(os.path.join(self._root, path) if path else self._root) as listing:
            below = [entry.name for entry in listing if entry.is_dir(follow_symlinks=False)]
        for name in below:
            self.adopt(path + b"/" + name if path else name)
        return True


@dataclass(eq=False)
class _Put:
    owner: _Threads
    future: Future[object]
    work: Callable[[], object]

    def make(self) -> None:
        try:
            self.future.set_result(self.work())
        except (PollinatorError, AssertionError) as error:
            self.future.set_exception(error)


class PutsByHand:
    """Stands in for the threads that put packs: a put happens when the test says so, or is waited for."""

    def __init__(self) -> None:
        self.waiting: list[_Put] = []

    @contextmanager
    def used(self) -> Generator[None]:
        """Uploaders made meanwhile leave their puts here."""

        def threads(_workers: int, **_options: str) -> _Threads:
            return _Threads(self)

        with patch.object(upload, "ThreadPoolExecutor", threads), patch.object(upload, "wait", self._wait):
            yield

    def let(self, at: int) -> None:
        """One of the puts that wait is made."""
        if self.waiting:
            self.waiting.pop(at % len(self.waiting)).make()

    def _wait(self, futures: Collection[Future[object]], return_when: str = "") -> None:
        """Make all puts that somebody waits for."""
        del return_when
        wanted = set(futures)
        while awaited := [put for put in self.waiting if put.future in wanted]:
            self.waiting.remove(awaited[0])
            awaited[0].make()


class _Threads:
    """Those of one uploader."""

    def __init__(self, puts: PutsByHand) -> None:
        self._puts = puts

    def submit(
        self, work: Callable[_Values, _Result], *args: _Values.args, **kwargs: _Values.kwargs
    ) -> Future[_Result]:
        future: Future[_Result] = Future()
        put = _Put(self, future, lambda: work(*args, **kwargs))  # type: ignore[arg-type] # any result
        self._puts.waiting.append(put)
        return future

    def shutdown(self, *, wait: bool, cancel_futures: bool) -> None:
        del wait, cancel_futures
        self._puts.waiting = [put for put in self._puts.waiting if put.owner is not self]


@dataclass
class WitnessStore(MemoryStore):
    """Looks at everything that is put, and at every snapshot as a reader would see it in that moment."""

    fail_before: int = 0
    """So many puts fail without effect."""
    fail_after: int = 0
    """So many puts take effect, and the answer is lost."""
    wrong: list[str] = field(default_factory=list[str])
    """What no store should ever hold."""
    meanwhile: Callable[[], object] | None = None
    """Happens before the next put."""

    def put(self, key: str, data: bytes | memoryview) -> None:
        happening, self.meanwhile = self.meanwhile, None
        if happening is not None:
            happening()
        self.puts.append(key)
        if self.fail_before:
            self.fail_before -= 1
            raise FAILURE
        self.objects[key] = bytes(data)
        self.times[key] = self.clock_ns()
        self._look_at(key, data)
        if self.fail_after:
            self.fail_after -= 1
            raise FAILURE

    def _look_at(self, key: str, data: bytes | memoryview) -> None:
        if key[0] in "rglm":
            return
        try:
            verify(key, data)
            footer = parse_footer(key, data)
            if is_snapshot(key):
                read_back(self, ref_of(key, footer.snapshot))
            early = {row.key for row in footer.packs} - self.objects.keys()
            if early:
                raise Corrupt(f"{early} are listed and not there", reason="bad_pack")
        except PollinatorError as error:
            self.wrong.append(f"{key}: {error!r}")
            raise AssertionError(self.wrong[-1]) from error


def ref_of(key: str, snapshot: Snapshot) -> SnapshotRef:
    """What names a snapshot in this pack."""
    digest = digest_of(snapshot.SerializeToString(deterministic=True))
    return SnapshotRef(digest=digest, key=key)


def read_back(store: Store, ref: SnapshotRef) -> dict[str, Listing]:
    """The trees of a snapshot, from the store alone."""
    reader = SnapshotReader(store)
    snapshot = reader.open(ref)
    return {
        name: tree_listing(reader, tree) for name, tree in (("src", snapshot.src), ("data", snapshot.data))
    }


def tree_listing(reader: SnapshotReader, tree: Tree) -> Listing:
    """What a tree holds."""
    found: Listing = {}
    for path, node in reader.walk(tree):
        match node:
            case FileNode():
                found[path] = ("file", node.mode, reader.content(node))
            case DirectoryNode():
                found[path] = ("folder", node.mode, b"")
            case _:
                found[path] = ("link", 0o777, node.target)
    return found


def on_disk(root: Path) -> dict[str, Listing]:
    """What lies in the trees of a project."""
    return {name: listed(root / "cfs" / name) for name in ("src", "data")}


def crash_image(index: Path, copy: Path) -> Path:
    """What a crash leaves of an index: its files as they are in this moment."""
    for suffix in ("", "-wal"):
        if os.path.exists(f"{index}{suffix}"):
            shutil.copyfile(f"{index}{suffix}", f"{copy}{suffix}")
    return copy


@contextmanager
def small_chunks(scale: int = 1) -> Generator[None]:
    """Files of some kilobytes are large, with many chunks in several lists; folders have many pieces."""
    cutting = {
        "MIN_CHUNK": 64,
        "AVERAGE_CHUNK": 256,
        "MAX_CHUNK": 1024,
        "FIXED_CHUNK": 300,
        "SMALLEST_HOLE": 4096,
        "WINDOW": 4096,
        "FIRST_WINDOW": 2048,
        "BYTES_FOR_A_CHANGE": 1024,
    }
    listing = {"MAX_CHUNKS": 6, "MAX_ENTRIES": 5, "SPLIT_MASK": 3}
    with ExitStack() as patches:
        for module in [each for name, each in sys.modules.items() if name.startswith("pollinator.")]:
            for name, value in ({name: scale * size for name, size in cutting.items()} | listing).items():
                if hasattr(module, name):
                    patches.enter_context(patch.object(module, name, value))
        yield


@contextmanager
def nested(folder: Path, depth: int, name: str = "d") -> Generator[None]:
    """Folders in each other, deeper than what removes folders can go."""
    with chdir(folder):
        for _ in range(depth):
            os.mkdir(name)
            os.chdir(name)
    try:
        yield
    finally:
        with chdir(folder):
            while os.path.isdir(name):
                os.chdir(name)
            for _ in range(depth):
                os.chdir("..")
                os.rmdir(name)
