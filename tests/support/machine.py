"""Random lives of a project: changes, late events, failures, crashes; and what must hold whatever happens."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import ClassVar
from unittest.mock import patch

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from pollinator.chunks.upload import Uploader
from pollinator.daemon.sync import engine, outbox
from pollinator.daemon.sync.engine import SyncEngine
from pollinator.daemon.sync.sealed import Sealed
from pollinator.daemon.watch.base import Skip, Watch
from pollinator.daemon.watch.choose import open_watch
from pollinator.v1.spec_pb2 import RunSpec
from pollinator.v1.tree_pb2 import SnapshotRef
from pollinator.wire.errors import Unavailable
from support.storing import random_bytes
from support.syncing import (
    FAILURE,
    Clock,
    CoarseStamps,
    LateWatch,
    Listing,
    PutsByHand,
    WitnessStore,
    crash_image,
    on_disk,
    read_back,
)
from support.user import Disk

SPEC = RunSpec(project="demo", command="true")
MEMORY = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None

# Few names and contents, so that they meet again. Contents come in pairs that no stamp tells apart.
CONTENTS = {name: random_bytes(200, name.encode()) for name in "AaBbCcDd"} | {"X": b"x", "x": b"y"}
OTHER = {CONTENTS[name]: CONTENTS[name.swapcase()] for name in CONTENTS} | {b"a\n": b"b\n", b"b\n": b"a\n"}
PLACES = ("src/a", "src/b", "src/c", "data/a", "src/a/a", "src/a/b", "src/b/a", "src/a/a/a")
RULES = ".pollinatorignore"
PACK_BYTES = 500

Happening = tuple[str, str, int, str]
"""What, where, which of the things that are there, and contents."""
KINDS = (
    "write", "write", "save", "rewrite", "rewrite", "remove", "move", "mode", "mode", "folder", "link",
    "time", "clock", "rules", "overflow", "no effect", "no answer",
)  # fmt: skip
happenings = st.lists(
    st.tuples(
        st.sampled_from(KINDS), st.sampled_from(PLACES), st.integers(0, 15), st.sampled_from([*CONTENTS])
    ),
    max_size=4,
)


class SyncMachine(RuleBasedStateMachine):
    """The engine over a real folder, with a store in memory; time, events and puts are the test's."""

    coarse: ClassVar[bool] = True
    """Stamps are those of an old kernel."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="pol-sync-", dir=MEMORY))
        self.clock = self._make_clock()
        self.stamps = CoarseStamps(self.clock)
        self.puts = PutsByHand()
        self.store = WitnessStore()
        self.watch: LateWatch | None = None
        self.disk = Disk(self.folder / "project", self.stamps, lambda: self.watch)
        self.index = self.folder / "index-0.db"
        self.lives = 0
        self.sealed: list[tuple[SnapshotRef, dict[str, Listing]]] = []
        self.names: dict[str, bytes] = {}
        self.engine: SyncEngine | None = None
        self._patches = ExitStack()
        self._patch()
        self._start()

    @rule(
        happenings=happenings,
        events=st.sampled_from((9, 1, 0)),
        puts=st.integers(0, 2),
        at=st.integers(0, 3),
    )
    def step(self, happenings: list[Happening], events: int, puts: int, at: int) -> None:
        """Some of what happened is announced by now, and some of what was sent has arrived."""
        self._let(happenings)
        if self.watch is not None:
            self.watch.deliver(events)
        for _ in range(puts):
            self.puts.let(at)
        self._engine.step()

    @rule(happenings=happenings)
    def audit(self, happenings: list[Happening]) -> None:
        """It is due, and nobody has changed anything without its being announced."""
        self._let(happenings)
        self.clock.pass_ms(engine.AUDIT_S * 1000 + 1)
        with self._all_announced():
            self._engine.step()

        assert 0 == self._engine.status().missed

    @rule(happenings=happenings, puts=st.integers(0, 2), index_lost=st.booleans())
    def crash(self, happenings: list[Happening], puts: int, index_lost: bool) -> None:
        """Some of what was on its way still arrives, and nobody learns of it."""
        self._let(happenings)
        for _ in range(puts):
            self.puts.let(0)
        self.lives += 1
        fresh = self.folder / f"index-{self.lives}.db"
        if not index_lost:
            crash_image(self.index, fresh)
        self._engine.close()
        self.index = fresh
        self._start()

    @rule(happenings=happenings)
    def seal(self, happenings: list[Happening]) -> None:
        self._let(happenings)
        sealed = self._seal()
        expected = self._expected()

        assert expected == read_back(self.store, sealed.ref)
        self._note(sealed, expected)
        requests = self.store.requests
        again = self._seal()

        assert sealed.ref == again.ref
        assert requests == self.store.requests, "nothing changed, so nothing was to be asked"

    @invariant()
    def the_store_holds_nothing_wrong(self) -> None:
        assert [] == self.store.wrong

    def teardown(self) -> None:
        try:
            self.seal([])
            for ref, listing in self.sealed:
                assert listing == read_back(self.store, ref), "an earlier snapshot is not what it was"
        finally:
            self._engine.close()
            self._patches.close()
            shutil.rmtree(self.folder)

    @property
    def _engine(self) -> SyncEngine:
        assert self.engine is not None
        return self.engine

    @contextmanager
    def _all_announced(self) -> Generator[None]:
        """What a drain promises: all that was done before it."""
        if self.watch is not None:
            self.watch.complete = True
        yield
        if self.watch is not None:
            self.watch.complete = False

    def _make_clock(self) -> Clock:
        return Clock()

    def _patch(self) -> None:
        enter = self._patches.enter_context
        if self.coarse:
            enter(self.stamps.used())
        enter(self.puts.used())
        enter(patch.object(outbox, "Uploader", self._uploader))
        enter(patch.object(outbox, "UNLISTED_PACKS", 3))

    def _uploader(self, store: WitnessStore, **options: object) -> Uploader:
        return Uploader(store, pack_bytes=PACK_BYTES, **options)  # type: ignore[arg-type] # passed on

    def _start(self) -> None:
        self.engine = SyncEngine(
            self.disk.root,
            self.index,
            self.store,
            watch=self._open_watch,
            clock_ns=self.clock.time_ns,
            monotonic=self.clock.monotonic,
        )
        self._engine.step()

    def _open_watch(self, root: Path, skip: Skip) -> Watch:
        self.watch = LateWatch(root, skip, self.clock)
        return self.watch

    def _seal(self) -> Sealed:
        """Seal, as often as it takes a store that fails now and then."""
        with self._all_announced():
            while True:
                try:
                    return self._engine.seal(SPEC, accept_deletions=True)
                except Unavailable as error:
                    if error is not FAILURE:
                        raise

    def _let(self, happenings: list[Happening]) -> None:
        """Much of it makes no sense at the time: then nothing happens."""
        for kind, place, at, name in happenings:
            data = CONTENTS[name]
            self._change(kind, place, at, data)
            match kind:
                case "time":
                    self.clock.pass_ms((1, 30, 1500)[at % 3])
                case "clock":
                    # Not by the same both ways: a clock that is put right to the tick could not be told
                    # from one that was never wrong, and no real one is.
                    self.clock.set_by_ms((-3_600_007, 3_611_113)[at % 2])
                case "rules":
                    self._set_rules(place, at)
                case "overflow" if self.watch is not None:
                    self.watch.overflow()
                case "no effect":
                    self.store.fail_before = at % 3
                case "no answer":
                    self.store.fail_after = at % 3
                case _:
                    pass

    def _change(self, kind: str, place: str, at: int, data: bytes) -> None:
        there = self._there()
        thing = [*there, "src"][at % (len(there) + 1)]
        match kind:
            case "write":
                self.disk.write(place, data)
            case "save":
                self.disk.save(place, data)
            case "rewrite":
                files = [path for path, what in there.items() if what == "file"]
                for file in files[at % (len(files) + 1) :][:1]:
                    self.disk.write(file, OTHER[self.disk.read(file)])
            case "remove":
                self.disk.remove(thing)
            case "move":
                self.disk.move(thing, place)
            case "mode":
                self.disk.set_mode(thing, (0o644, 0o755, 0o600)[at % 3])
            case "folder":
                self.disk.make_folder(place)
            case "link":
                self.disk.link(place, ("a", "nowhere")[at % 2])
            case _:
                pass

    def _set_rules(self, place: str, at: int) -> None:
        """One name is ignored, in a folder or everywhere, or not any more."""
        names = (b"a\n", b"b\n")[at % 2]
        outer = self.disk.root / RULES
        if at < 5:
            outer.write_bytes(names)
        elif at < 8:
            outer.unlink(missing_ok=True)
        else:
            self.disk.write(f"{place}/{RULES}", names)

    def _there(self) -> dict[str, str]:
        """What is there, and of what kind."""
        found = {
            f"{tree}/{os.fsdecode(path)}": what[0]
            for tree, below in on_disk(self.disk.root).items()
            for path, what in below.items()
        }
        return dict(sorted(found.items()))

    def _expected(self) -> dict[str, Listing]:
        """What is there and not ignored."""
        found = on_disk(self.disk.root)
        rules = {
            f"{tree}/{os.fsdecode(path)}".removesuffix(RULES): data.decode().strip()
            for tree, below in found.items()
            for path, (kind, _, data) in below.items()
            if kind == "file" and path.endswith(RULES.encode())
        }
        if (self.disk.root / RULES).exists():
            rules[""] = (self.disk.root / RULES).read_text().strip()
        return {
            tree: {
                path: what
                for path, what in below.items()
                if not _ignored(f"{tree}/{os.fsdecode(path)}", rules)
            }
            for tree, below in found.items()
        }

    def _note(self, sealed: Sealed, listing: dict[str, Listing]) -> None:
        """The same content has the same name, for ever."""
        self.sealed.append((sealed.ref, listing))
        assert self.names.setdefault(_canonical(listing), sealed.ref.digest) == sealed.ref.digest
        assert len(set(self.names.values())) == len(self.names)
        files = [what for below in listing.values() for what in below.values() if what[0] == "file"]

        assert len(files) == sealed.report.files == self._engine.status().files
        assert sum(len(data) for _, _, data in files) == sealed.report.bytes == self._engine.status().bytes


def _canonical(listing: dict[str, Listing]) -> str:
    return repr([(tree, sorted(below.items())) for tree, below in sorted(listing.items())])


def _ignored(path: str, rules: dict[str, str]) -> bool:
    """A name below one of these folders is what the folder ignores."""
    return any(
        path.startswith(folder) and name in path.removeprefix(folder).split("/")
        for folder, name in rules.items()
    )


class RealClock(Clock):
    """The system's; only what nobody can set may be turned forward."""

    def time_ns(self) -> int:
        return time.time_ns()

    def monotonic(self) -> float:
        return time.monotonic() + super().monotonic()


class WatchedMachine(SyncMachine):
    """The same with the system's own watcher, stamps and clock."""

    coarse = False

    def _make_clock(self) -> Clock:
        return RealClock()

    def _open_watch(self, root: Path, skip: Skip) -> Watch:
        return open_watch(root, skip)
