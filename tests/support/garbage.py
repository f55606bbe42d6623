"""Random lives of a store that two writers and two collectors share: whatever is kept stays readable."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from unittest.mock import patch

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from pollinator.chunks import upload
from pollinator.chunks.capture import capture
from pollinator.chunks.garbage import roots
from pollinator.chunks.garbage.collect import Collector
from pollinator.chunks.keeping import read_lease, read_ref, write_lease, write_ref
from pollinator.chunks.read import SnapshotReader
from pollinator.chunks.upload import Uploader
from pollinator.daemon.sync import outbox
from pollinator.daemon.sync.engine import SyncEngine
from pollinator.daemon.sync.outbox import Outbox
from pollinator.executors.conformance.trees import random_bytes
from pollinator.v1.keeping_pb2 import KeepReason, Kept, Lease, Ref
from pollinator.v1.spec_pb2 import RunSpec
from pollinator.v1.tree_pb2 import SnapshotRef
from pollinator.wire.errors import NotFound, PollinatorError
from support.shared_store import AllChanged, AtOnce, Client, Killed, Run, Shared, Way
from support.syncing import crash_image, tree_listing

MEMORY = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
HOUR_NS = 3_600_000_000_000
GRACE_S = 3600.0
VIEW_S = 1800.0
SKEWS_NS = (-HOUR_NS, 0, HOUR_NS)
PACK_BYTES = 700
SPEC = RunSpec(project="demo", command="true")
CONTENTS = [random_bytes(500, b"%d" % at) for at in range(2)]
NAMES = ("a", "b")
SHORT = (0, 5, 20)
LONG = (60, 62, 130)
MINUTES = SHORT + LONG


surprises = st.tuples(st.sampled_from(("none", "none", "nap", "kill")), st.integers(0, 16), st.integers(0, 3))
Surprise = tuple[str, int, int]
who = st.integers(0, 1)


class GarbageMachine(RuleBasedStateMachine):
    """Two daemons on one store in memory; its clock is the test's, and theirs are wrong by up to an hour."""

    def __init__(self) -> None:
        super().__init__()
        self.now_ns = 1_700_000_000_000_000_000
        self.folder = Path(tempfile.mkdtemp(prefix="pol-garbage-", dir=MEMORY))
        self.store = Shared(clock_ns=lambda: self.now_ns)
        self._patches = ExitStack()
        for place, name, value in (
            (outbox, "UNLISTED_PACKS", 2), (outbox, "TOO_MANY", 1),
            (outbox, "QUIET_S", 0.0), (outbox, "BACK_OFF_S", 0.0),
            (upload, "ThreadPoolExecutor", AtOnce), (upload, "wait", _no_wait),
            (outbox, "Uploader", _uploader),
        ):  # fmt: skip
            self._patches.enter_context(patch.object(place, name, value))
        self.clients = [self._client(name, skew) for name, skew in (("a" * 32, 0), ("b" * 32, 2))]
        self.opened: list[tuple[SnapshotReader, SnapshotRef]] = []
        self.published: dict[str, tuple[SnapshotRef, object]] = {}
        """Each snapshot that was said to be sealed and was kept ever since, by its key, and what is in it."""
        self.sealed_at: dict[str, int] = {}
        self.busy = False

    # What happens

    @rule(minutes=st.sampled_from(MINUTES))
    def time(self, minutes: int) -> None:
        self._pass(minutes)

    @rule(at=who, surprise=surprises)
    def work(self, at: int, surprise: Surprise) -> None:
        """A step in the background."""
        self._alive(at, surprise, lambda client: self._engine(client).step())

    @rule(
        at=who,
        name=st.sampled_from(NAMES),
        content=st.sampled_from(CONTENTS),
        surprise=surprises,
        run=st.booleans(),
        said=st.booleans(),
        early=st.booleans(),
    )
    def seal(
        self,
        at: int,
        name: str,
        content: bytes,
        surprise: Surprise,
        run: bool,
        said: bool,
        early: bool,
    ) -> None:
        """A file changes, all is sealed, and perhaps run by an executor; and then the ref is written.

        What changed may be stored early, in the background.
        """

        def work(client: Client) -> None:
            self._change(client, name, content)
            if early:
                self._engine(client).step()
            ref = self._engine(client).seal(SPEC, accept_deletions=True).ref
            self._publish(ref)
            if run:
                key = f"run{at}x{len(client.runs)}x{self.store.requests}"
                client.runs[key] = Run(ref)
                write_lease(self.store, key, Lease(source=ref))
            if said:
                self._say(client)

        self._alive(at, surprise, work)

    @rule(
        at=who,
        by=who,
        name=st.sampled_from(NAMES),
        times=st.tuples(*map(st.sampled_from, (LONG, SHORT, SHORT, (60, 60, 62, 130, 5)))),
        ways=st.tuples(*[st.booleans()] * 7),
        surprise=surprises,
        late=surprises,
    )
    def undo(
        self,
        at: int,
        by: int,
        name: str,
        times: tuple[int, int, int, int],
        ways: tuple[bool, bool, bool, bool, bool, bool, bool],
        surprise: Surprise,
        late: Surprise,
    ) -> None:
        """A change is taken back, perhaps, about when what it had replaced is collected, or later.

        Then the index may be lost.
        """
        first, second, third, fourth = times
        run, said, seen, more, early, back, lost = ways
        none = ("none", 0, 0)
        self.seal(at, name, CONTENTS[0], none, False, True, early)
        self.seal(at, name, CONTENTS[1], none, False, True, early)
        self._pass(first)
        if seen:
            self.work(at, none)
        self.collect(by, none, second)
        self._pass(third)
        if more:
            self._change(self.clients[at], "new", random_bytes(99, b"%d" % self.store.requests))
        if back:
            self.seal(at, name, CONTENTS[0], surprise, run, said, early)
        self.collect(by, late, fourth)
        if lost:
            self.lose(at)
            self.seal(at, name, CONTENTS[0], none, run, said, early)

    @rule(at=who, surprise=surprises)
    def say(self, at: int, surprise: Surprise) -> None:
        """The ref is written, and leases that it takes over go."""
        self._alive(at, surprise, self._say)

    @rule(at=who, content=st.sampled_from(CONTENTS), minutes=st.sampled_from(MINUTES))
    def finish(self, at: int, content: bytes, minutes: int) -> None:
        """The executor stores the results of a run, and its lease is the first to say so."""
        self._pass(minutes)
        for key, run in self.clients[at].runs.items():
            if run.result is None and self._kept(run.source):
                result = self.folder / "result"
                result.mkdir(exist_ok=True)
                (result / "out").write_bytes(content + key.encode())
                run.result = capture(result, self.store).ref
                self._publish(run.result)
                write_lease(self.store, key, Lease(source=run.source, result=run.result))
                return

    @rule(at=who)
    def lose(self, at: int) -> None:
        """The daemon ends, and its index is deleted before it is started again."""
        client = self.clients[at]
        if client.engine is not None:
            client.engine.close()
            client.engine = None
        client.lives += 1

    @rule(at=who)
    def drop(self, at: int) -> None:
        """The runs that have ended are not kept any more."""
        client = self.clients[at]
        for key in [key for key, run in client.runs.items() if run.result is not None and run.taken_over]:
            del client.runs[key]

    @rule(at=who, surprise=surprises, minutes=st.sampled_from(MINUTES))
    def collect(self, at: int, surprise: Surprise, minutes: int) -> None:
        self._pass(minutes)
        self._alive(at, surprise, self._collect, kills_engine=False)

    @rule(which=st.integers(0, 5))
    def open_reader(self, which: int) -> None:
        """Somebody begins to read, and goes on later."""
        for ref, _ in list(self.published.values())[which : which + 1]:
            if self._kept(ref):
                reader = SnapshotReader(self.store)
                reader.open(ref)
                self.opened.append((reader, ref))

    # What must hold

    @invariant()
    def what_is_kept_can_be_read(self) -> None:
        if not self.store.removed:
            return  # nothing has gone since the last look
        self.store.removed = 0
        for ref, content in self.published.values():
            if self._kept(ref):
                assert content == self._read(ref)
        for reader, ref in self.opened:
            if self._kept(ref):
                content = self.published[ref.key][1]

                assert content == _trees(reader, SnapshotReader(self.store).open(ref))

    def teardown(self) -> None:
        try:
            # All are gone for good: then nothing is needed by anybody.
            self.now_ns += round(roots.REF_LIFE_S * 1e9) + HOUR_NS
            for _ in range(4):
                for client in self.clients:
                    client.way.surprise = None
                    self._collect(client)
                self._pass(200)
            left = [key for key in self.store.objects if key[0] in "psim"]

            assert [] == left
        finally:
            for client in self.clients:
                if client.engine is not None:
                    client.engine.close()
            self._patches.close()
            shutil.rmtree(self.folder)

    # How

    def _client(self, name: str, skew: int) -> Client:
        folder = self.folder / name
        for tree in ("src", "data"):
            (folder / "cfs" / tree).mkdir(parents=True)
        return Client(name, folder, Way(self.store, SKEWS_NS[skew]))

    def _engine(self, client: Client) -> SyncEngine:
        if client.engine is None:
            client.engine = SyncEngine(
                client.folder,
                client.index,
                client.way,
                watch=AllChanged,
                clock_ns=lambda: self.now_ns + client.way.skew_ns,
                monotonic=lambda: self.now_ns / 1e9,
                uptime=lambda: self.now_ns / 1e9,
                view_s=VIEW_S,
            )
        return client.engine

    def _alive(
        self, at: int, surprise: Surprise, work: Callable[[Client], object], kills_engine: bool = True
    ) -> None:
        """Let a client do something, during which something may happen."""
        client = self.clients[at]
        kind, client.way.countdown, length = surprise
        match kind:
            case "nap":
                client.way.surprise = lambda: self._nap(at, length)
            case "kill":
                client.way.surprise = _kill
            case _:
                client.way.surprise = None
        try:
            work(client)
        except Killed:
            if kills_engine and client.engine is not None:
                before = client.index
                client.lives += 1
                crash_image(before, client.index)
                client.engine.close()
                client.engine = None
        finally:
            client.way.surprise = None

    def _nap(self, at: int, length: int) -> None:
        """Meanwhile the other daemon goes on, and collects."""
        other = self.clients[1 - at]
        if self.busy:
            self._pass(35)
            return
        self.busy = True
        for _ in range(length + 1):
            other.way.surprise = None
            self._pass((20, 65)[length % 2])
            self._collect(other)
            self.seal(1 - at, NAMES[0], CONTENTS[length // 2], ("none", 0, 0), False, True, True)
        self.busy = False

    def _change(self, client: Client, name: str, content: bytes) -> None:
        (client.folder / "cfs" / "src" / name).write_bytes(content)

    def _pass(self, minutes: int) -> None:
        self.now_ns += minutes * 60_000_000_000
        for key, (ref, _) in list(self.published.items()):
            if not self._kept(ref):
                del self.published[key]

    def _publish(self, ref: SnapshotRef) -> None:
        self.published[ref.key] = (ref, self._read(ref))
        self.sealed_at[ref.key] = self.now_ns

    def _say(self, client: Client) -> None:
        claims = self._engine(client).with_outbox(Outbox.claims)
        ref = Ref(packs=claims.packs, view_s=claims.view_s)
        if claims.head is not None:
            ref.kept.append(Kept(snapshot=claims.head, why=KeepReason.KEEP_REASON_HEAD))
        runs = list(client.runs.items())
        for key, run in runs:
            known = [each for each in (run.source, run.result) if each is not None and self._kept(each)]
            ref.kept.extend(Kept(snapshot=each, run_id=key) for each in known)
        whole = [(key, run) for key, run in runs if run.result is not None]
        write_ref(client.way, client.name, ref)
        for key, run in whole:
            client.way.delete(f"l/{key}")
            run.taken_over = True

    def _collect(self, client: Client) -> None:
        Collector(client.way, client.name, GRACE_S).collect(_no_report)

    def _kept(self, ref: SnapshotRef) -> bool:
        """Somebody says that he needs it, or nobody has had the time to say so."""
        if ref.key not in self.published:
            return False
        young = self.now_ns - self.store.times[ref.key] <= GRACE_S * 1e9
        just_said = self.now_ns - self.sealed_at[ref.key] <= VIEW_S * 1e9
        return young or just_said or ref.key in self._said()

    def _said(self) -> set[str]:
        said: set[str] = set()
        for key in self.store.keys("r/"):
            said.update(kept.snapshot.key for kept in read_ref(self.store, key).kept)
        for key in self.store.keys("l/"):
            lease = read_lease(self.store, key)
            said |= {lease.source.key, lease.result.key} - {""}
        return said

    def _read(self, ref: SnapshotRef) -> object:
        reader = SnapshotReader(self.store)
        try:
            return _trees(reader, reader.open(ref))
        except (NotFound, PollinatorError) as error:
            raise AssertionError(f"{ref.key} is kept and cannot be read: {error}") from error


def _trees(reader: SnapshotReader, snapshot: object) -> object:
    return [tree_listing(reader, getattr(snapshot, name)) for name in ("src", "data", "result")]


def _uploader(store: Way, **options: object) -> Uploader:
    return small_packs(store, **options)


def small_packs(store: Way, **options: object) -> Uploader:
    return Uploader(store, pack_bytes=PACK_BYTES, **options)  # type: ignore[arg-type] # passed on


def _no_wait(_futures: object, return_when: str = "") -> None: ...


def _no_report(_doing: str, _done: int, _total: int) -> None: ...


def _kill() -> None:
    raise Killed
