"""Random lives of projects: changes, late events, failures, crashes; and what must hold whatever happens."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from contextlib import ExitStack
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
from pollinator.executors.conformance.trees import random_bytes
from pollinator.v1.spec_pb2 import RunSpec
from pollinator.v1.tree_pb2 import SnapshotRef
from pollinator.wire.errors import Unavailable
from support.place import Place
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
    small_chunks,
)
from support.user import Disk

SPEC = RunSpec(project="demo", command="true")
MEMORY = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None

# Few names and contents, so that they meet again. Contents come in pairs that no stamp tells apart.
LARGE = random_bytes(5000, b"large")
CONTENTS = {name: random_bytes(200, name.encode()) for name in "AaBbCcDd"} | {
    "X": b"x",
    "x": b"y",
    "L": LARGE,
    "l": LARGE[:2500] + bytes([LARGE[2500] ^ 1]) + LARGE[2501:],
    "M": LARGE[:1000] + b"inserted" + LARGE[1000:],
    "m": LARGE[:1000] + b"Inserted" + LARGE[1000:],
}
OTHER = {CONTENTS[name]: CONTENTS[name.swapcase()] for name in CONTENTS} | {b"a\n": b"b\n", b"b\n": b"a\n"}
PLACES = ("src/a", "src/b", "src/c", "data/a", "src/a/a", "src/a/b", "src/b/a", "src/a/a/a")
RULES = ".pollinatorignore"
PACK_BYTES = (500, 100, 3000, 100_000)
"""Several chunks in a pack, one in each, packs for large files, and all that is left for the snapshot's."""

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


who = st.integers(0, 1)


class SyncMachine(RuleBasedStateMachine):
    """An engine over a real folder, with a store in memory; time, events and puts are the test's."""

    coarse: ClassVar[bool] = True
    """Stamps are those of an old kernel."""
    names_of_places: ClassVar[tuple[str, ...]] = ("here",)

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="pol-sync-", dir=MEMORY))
        self.clock = self._make_clock()
        self.stamps = CoarseStamps(self.clock)
        self.puts = PutsByHand()
        self.store = WitnessStore()
        self.places = [Place(self.folder / name, self.stamps, PACK_BYTES[0]) for name in self.names_of_places]
        self.sealed: list[tuple[SnapshotRef, dict[str, Listing]]] = []
        self.names: dict[str, bytes] = {}
        self._patches = ExitStack()
        self._patch()
        for place in self.places:
            self._start(place)

    @rule(
        at=who,
        happenings=happenings,
        events=st.sampled_from((9, 1, 0)),
        puts=st.integers(0, 2),
        which=st.integers(0, 3),
    )
    def step(self, at: int, happenings: list[Happening], events: int, puts: int, which: int) -> None:
        """Some of what happened is announced by now, and some of what was sent has arrived."""
        place = self._let(at, happenings)
        if place.watch is not None:
            place.watch.deliver(events)
        for _ in range(puts):
            self.puts.let(which)
        place.engine.step()

    @rule(at=who, happenings=happenings)
    def audit(self, at: int, happenings: list[Happening]) -> None:
        """It is due, and nobody has changed anything without its being announced."""
        self._let(at, happenings)
        self.clock.pass_ms(engine.AUDIT_S * 1000 + 1)
        for place in self.places:
            with place.all_announced():
                place.engine.step()

            assert 0 == place.engine.status().missed

    @rule(
        at=who,
        happenings=happenings,
        puts=st.integers(0, 2),
        index_lost=st.booleans(),
        pack_bytes=st.sampled_from(PACK_BYTES),
    )
    def crash(
        self, at: int, happenings: list[Happening], puts: int, index_lost: bool, pack_bytes: int
    ) -> None:
        """Some of what was on its way still arrives, and nobody learns of it."""
        place = self._let(at, happenings)
        for _ in range(puts):
            self.puts.let(0)
        before = place.index
        place.lives += 1
        if not index_lost:
            crash_image(before, place.index)
        place.engine.close()
        place.pack_bytes = pack_bytes
        self._start(place)

    @rule(at=who, happenings=happenings, meanwhile=st.sampled_from((None, None, "step", "seal")))
    def seal(self, at: int, happenings: list[Happening], meanwhile: str | None) -> None:
        """Perhaps while another does something."""
        place = self._let(at, happenings)
        other = self.places[at - 1]
        if other is not place and meanwhile == "step":
            self.store.meanwhile = other.engine.step
        if other is not place and meanwhile == "seal":
            self.store.meanwhile = lambda: self._seal_and_compare(other)
        self._seal_and_compare(place)
        self.store.meanwhile = None
        requests = self.store.requests
        again = self._seal(place)

        assert self.sealed[-1][0] == again.ref
        assert requests == self.store.requests, "nothing changed, so nothing was to be asked"

    @invariant()
    def the_store_holds_nothing_wrong(self) -> None:
        assert [] == self.store.wrong

    def teardown(self) -> None:
        try:
            for place in self.places:
                self._seal_and_compare(place)
            for ref, listing in self.sealed:
                assert listing == read_back(self.store, ref), "an earlier snapshot is not what it was"
        finally:
            for place in self.places:
                place.engine.close()
            self._patches.close()
            shutil.rmtree(self.folder)

    def _make_clock(self) -> Clock:
        return Clock()

    def _patch(self) -> None:
        enter = self._patches.enter_context
        if self.coarse:
            enter(self.stamps.used())
        enter(self.puts.used())
        enter(small_chunks())
        enter(patch.multiple(outbox, UNLISTED_PACKS=3, TOO_MANY=1))

    def _start(self, place: Place) -> None:
        def uploader(store: WitnessStore, **options: object) -> Uploader:
            return Uploader(store, pack_bytes=place.pack_bytes, **options)  # type: ignore[arg-type] # passed on

        def open_watch(root: Path, skip: Skip) -> Watch:
            return self._open_watch(place, root, skip)

        place.started = SyncEngine(
            place.disk.root,
            place.index,
            self.store,
            watch=open_watch,
            clock_ns=self.clock.time_ns,
            monotonic=self.clock.monotonic,
        )
        # Its outbox is made by the first step.
        with patch.object(outbox, "Uploader", uploader):
            place.engine.step()

    def _open_watch(self, place: Place, root: Path, skip: Skip) -> Watch:
        place.watch = LateWatch(root, skip, self.clock)
        return place.watch

    def _seal_and_compare(self, place: Place) -> None:
        sealed = self._seal(place)
        expected = self._expected(place.disk)

        assert expected == read_back(self.store, sealed.ref)
        self._note(place, sealed, expected)

    def _seal(self, place: Place) -> Sealed:
        """Seal, as often as it takes a store that fails now and then."""
        with place.all_announced():
            while True:
                try:
                    return place.engine.seal(SPEC, accept_deletions=True)
                except Unavailable as error:
                    if error is not FAILURE:
                        raise

    def _let(self, who: int, happenings: list[Happening]) -> Place:
        """Much of it makes no sense at the time: then nothing happens. Returns the place where it did."""
        here = self.places[who % len(self.places)]
        for kind, place, at, name in happenings:
            data = CONTENTS[name]
            self._change(here.disk, kind, place, at, data)
            match kind:
                case "time":
                    self.clock.pass_ms((1, 30, 1500)[at % 3])
                case "clock":
                    # Not by the same both ways: a clock that is put right to the tick could not be told
                    # from one that was never wrong, and no real one is.
                    self.clock.set_by_ms((-3_600_007, 3_611_113)[at % 2])
                case "rules":
                    self._set_rules(here.disk, place, at)
                case "overflow" if here.watch is not None:
                    here.watch.overflow()
                case "no effect":
                    self.store.fail_before = at % 3
                case "no answer":
                    self.store.fail_after = at % 3
                case _:
                    pass
        return here

    def _change(self, disk: Disk, kind: str, place: str, at: int, data: bytes) -> None:
        there = _there(disk)
        thing = [*there, "src"][at % (len(there) + 1)]
        match kind:
            case "write":
                disk.write(place, data)
            case "save":
                disk.save(place, data)
            case "rewrite":
                files = [path for path, what in there.items() if what == "file"]
                for file in files[at % (len(files) + 1) :][:1]:
                    disk.write(file, OTHER[disk.read(file)])
            case "remove":
                disk.remove(thing)
            case "move":
                disk.move(thing, place)
            case "mode":
                disk.set_mode(thing, (0o644, 0o755, 0o600)[at % 3])
            case "folder":
                disk.make_folder(place)
            case "link":
                disk.link(place, ("a", "nowhere")[at % 2])
            case _:
                pass

    def _set_rules(self, disk: Disk, place: str, at: int) -> None:
        """One name is ignored, in a folder or everywhere, or not any more."""
        names = (b"a\n", b"b\n")[at % 2]
        outer = disk.root / RULES
        if at < 5:
            outer.write_bytes(names)
        elif at < 8:
            outer.unlink(missing_ok=True)
        else:
            disk.write(f"{place}/{RULES}", names)

    def _expected(self, disk: Disk) -> dict[str, Listing]:
        """What is there and not ignored."""
        found = on_disk(disk.root)
        rules = {
            f"{tree}/{os.fsdecode(path)}".removesuffix(RULES): data.decode().strip()
            for tree, below in found.items()
            for path, (kind, _, data) in below.items()
            if kind == "file" and path.endswith(RULES.encode())
        }
        if (disk.root / RULES).exists():
            rules[""] = (disk.root / RULES).read_text().strip()
        return {
            tree: {
                path: what
                for path, what in below.items()
                if not _ignored(f"{tree}/{os.fsdecode(path)}", rules)
            }
            for tree, below in found.items()
        }

    def _note(self, place: Place, sealed: Sealed, listing: dict[str, Listing]) -> None:
        """The same content has the same name, for ever."""
        self.sealed.append((sealed.ref, listing))
        assert self.names.setdefault(_canonical(listing), sealed.ref.digest) == sealed.ref.digest
        assert len(set(self.names.values())) == len(self.names)
        files = [what for below in listing.values() for what in below.values() if what[0] == "file"]

        assert len(files) == sealed.report.files == place.engine.status().files
        assert sum(len(data) for _, _, data in files) == sealed.report.bytes == place.engine.status().bytes


def _there(disk: Disk) -> dict[str, str]:
    """What is there, and of what kind."""
    found = {
        f"{tree}/{os.fsdecode(path)}": what[0]
        for tree, below in on_disk(disk.root).items()
        for path, what in below.items()
    }
    return dict(sorted(found.items()))


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

    def _open_watch(self, place: Place, root: Path, skip: Skip) -> Watch:
        return open_watch(root, skip)


class TwoMachines(SyncMachine):
    """Two machines with a folder each, on one store: what one writes, the other may write as well."""

    names_of_places = ("here", "there")
