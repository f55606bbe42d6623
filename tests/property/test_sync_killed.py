"""The sync engine killed at any instant, again and again: nothing is lost, and what it said stays true."""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pollinator.chunks.pack import parse_footer, verify
from pollinator.chunks.store import Store
from pollinator.chunks.stores import open_store
from pollinator.daemon.index import Index
from pollinator.executors.conformance.trees import random_bytes
from pollinator.v1.store_pb2 import StoreSettings
from pollinator.v1.tree_pb2 import SnapshotRef
from support.nursery import Nursery
from support.s3_servers import S3Server
from support.storing import MemoryStore
from support.syncing import Listing, crash_image, on_disk, read_back
from support.thorough import times
from support.watching import Mischief

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="the watcher elsewhere takes its time"),
    pytest.mark.timeout(900),
]

KILLS = times(30, 200)
"""For each store."""
LONGEST_LIFE_S = 0.3
PROJECT = "killed"

# Everything is imported once; each life is a fork, so that most of it is spent syncing.
SCRIPT = """
import functools, os, sys, time
from pathlib import Path
from pollinator.chunks.stores import open_store
from pollinator.chunks.upload import Uploader
from pollinator.daemon.sync import outbox
from pollinator.daemon.sync.engine import SyncEngine
from pollinator.v1.spec_pb2 import RunSpec
from pollinator.v1.store_pb2 import StoreSettings
from pollinator.wire.errors import PollinatorError
from support.syncing import small_chunks

outbox.QUIET_S = 0.0
outbox.UNLISTED_PACKS = 5
outbox.TOO_MANY = 1
root, index = map(Path, sys.argv[1:3])
settings = StoreSettings.FromString(bytes.fromhex(sys.argv[3]))

class Slow(Uploader):
    def _put(self, key, body):
        time.sleep(0.02)
        super()._put(key, body)

outbox.Uploader = functools.partial(Slow, pack_bytes=100_000)

def live():
    engine = SyncEngine(root, index, open_store(settings, sys.argv[4]))
    said = None
    while True:
        engine.step()
        try:
            ref = engine.seal(RunSpec(), accept_deletions=True).ref
        except PollinatorError as error:
            os.write(1, f"refused {error.message}\\n".encode(errors="replace"))
            continue
        if ref != said:
            os.write(1, f"sealed {ref.digest.hex()} {ref.key}\\n".encode())
            said = ref

for _ in sys.stdin:
    child = os.fork()
    if not child:
        with small_chunks(scale=32):
            live()
    os.write(1, b"born %d\\n" % child)
    os.waitpid(child, 0)
    os.write(1, b"dead\\n")
"""


class Engines(Nursery):
    """Starts lives of an engine, one at a time, and hears what they say."""

    def __init__(self, folder: Path, settings: StoreSettings) -> None:
        self.root = folder / "project"
        self.index = folder / "index.db"
        self.sealed: dict[str, SnapshotRef] = {}
        self.last: SnapshotRef | None = None
        for name in ("src", "data"):
            (self.root / "cfs" / name).mkdir(parents=True)
        arguments = [str(self.root), str(self.index), settings.SerializeToString().hex(), PROJECT]
        super().__init__(SCRIPT, *arguments)
        self._child = 0

    def bear(self) -> None:
        """Begin a life."""
        self.say("")
        self._child = int(self.hear("born"))

    def kill(self) -> None:
        """End it, at whatever it is."""
        os.kill(self._child, signal.SIGKILL)
        self.hear("dead")

    def hear(self, word: str) -> str:
        """Listen until a word is said; returns what follows it."""
        for line in self.lines():
            said, _, rest = line.partition(" ")
            if said == "sealed":
                digest, key = rest.split()
                self.last = self.sealed[key] = SnapshotRef(digest=bytes.fromhex(digest), key=key)
            if said == word:
                return rest
        raise AssertionError("the nursery has ended")


@contextmanager
def nursery(folder: Path, settings: StoreSettings) -> Generator[Engines]:
    """A nursery; whoever lives there ends with it."""
    made = Engines(folder, settings)
    try:
        yield made
    finally:
        made.close()


class Auditor:
    """Knows every byte of a store: objects never change, so each is fetched once."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._copy = MemoryStore()
        self._holds: dict[str, frozenset[bytes]] = {}

    def look(self) -> set[str]:
        """Fetch what is new, and look at every byte of it; returns all keys."""
        there = set(self._store.keys())
        for key in there - self._holds.keys():
            body = self._store.get(key)
            verify(key, body)
            self._copy.objects[key] = body
            self._holds[key] = frozenset(entry.digest for entry in parse_footer(key, body).entries)
        return there

    def read(self, ref: SnapshotRef) -> dict[str, Listing]:
        """A snapshot, as it was when the store was looked at."""
        return read_back(self._copy, ref)

    def compare(self, index: Path, copy: Path) -> None:
        """What an index that a crash has left says is stored is so, byte for byte."""
        there = self.look()
        known = Index(crash_image(index, copy), self._store.identity)
        try:
            assert not known.rebuilt
            assert set() == known.keys() - there
            assert set() == known.stored - frozenset[bytes]().union(*self._holds.values())
            for key, row in known.unlisted.items():
                assert {entry.digest for entry in row.entries} == self._holds[key]
        finally:
            known.close()


@pytest.fixture(params=["folder", "rclone"])
def settings(request: pytest.FixtureRequest, tmp_path: Path) -> StoreSettings:
    """How to reach a store."""
    if request.param == "folder":
        made = StoreSettings()
        made.folder.path = str(tmp_path / "store")
        return made
    server: S3Server = request.getfixturevalue("rclone_s3")
    return server.settings(prefix=tmp_path.name)


def test_killed_at_any_instant_it_loses_nothing(settings: StoreSettings, tmp_path: Path) -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")  # noqa: T201 - shown when the test fails
    chance = random.Random(seed)
    sealed: dict[str, dict[str, Listing]] = {}
    store = open_store(settings, PROJECT)
    auditor = Auditor(store)
    with nursery(tmp_path, settings) as lives:
        make_a_change = Mischief(lives.root / "cfs/src", seed=seed)
        for number in range(KILLS):
            lives.bear()
            if chance.random() < 0.3:
                time.sleep(chance.uniform(0, 0.1))
            else:
                _note(lives, auditor, sealed)
                _live(chance, lives.root, make_a_change)
            lives.kill()
            if lives.index.exists():
                auditor.compare(lives.index, tmp_path / f"index-{number}.db")
        lives.bear()
        _note(lives, auditor, sealed)
        lives.kill()

    assert lives.sealed.keys() <= auditor.look()
    assert len(lives.sealed) > KILLS / 2, "hardly anything was sealed"
    for ref in lives.sealed.values():
        found = auditor.read(ref)

        assert sealed.get(ref.key, found) == found
    store.close()


def _note(lives: Engines, auditor: Auditor, sealed: dict[str, dict[str, Listing]]) -> None:
    """What is sealed first in a life is what is on disk, for nobody has changed anything since it began."""
    lives.hear("sealed")
    assert lives.last is not None
    there = on_disk(lives.root)
    auditor.look()

    assert there == auditor.read(lives.last)
    sealed[lives.last.key] = there


def _live(chance: random.Random, root: Path, make_a_change: Mischief) -> None:
    end = time.monotonic() + chance.uniform(0, LONGEST_LIFE_S)
    while time.monotonic() < end:
        make_a_change()
        path = root / f"cfs/data/f{chance.randrange(5)}"
        size = chance.choice((10, 1000, 50_000, 300_000))
        if path.exists() and chance.random() < 0.5:
            # A large file is cut again around such a change.
            with path.open("r+b") as file:
                file.seek(chance.randrange(size))
                file.write(b"%d" % chance.randrange(20))
        else:
            path.write_bytes(random_bytes(size, b"%d" % chance.randrange(20)))
