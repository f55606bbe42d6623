"""The sync engine killed at any instant, again and again: what it said is sealed can be read for ever."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pollinator.chunks.folder import FolderStore
from pollinator.v1.tree_pb2 import SnapshotRef
from support.storing import random_bytes
from support.syncing import on_disk, read_back
from support.watching import Mischief

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="the watcher elsewhere takes its time"),
    pytest.mark.timeout(240),
]

KILLS = 40
LONGEST_LIFE_S = 0.3

# Everything is imported once; each life is a fork, so that most of it is spent syncing.
NURSERY = """
import functools, os, sys, time
from pathlib import Path
from pollinator.chunks.folder import FolderStore
from pollinator.chunks.upload import Uploader
from pollinator.daemon.sync import outbox
from pollinator.daemon.sync.engine import SyncEngine
from pollinator.v1.spec_pb2 import RunSpec
from pollinator.wire.errors import PollinatorError

outbox.QUIET_S = 0.0
outbox.Uploader = functools.partial(Uploader, pack_bytes=100_000)
outbox.UNLISTED_PACKS = 5

class Distant(FolderStore):
    def put(self, key, data):
        time.sleep(0.02)
        super().put(key, data)

def live(root, index, store):
    engine = SyncEngine(root, index, Distant(store))
    while True:
        engine.step()
        try:
            ref = engine.seal(RunSpec(), accept_deletions=True).ref
        except PollinatorError as error:
            os.write(1, f"refused {error.message}\\n".encode(errors="replace"))
            continue
        os.write(1, f"sealed {ref.digest.hex()} {ref.key}\\n".encode())

for _ in sys.stdin:
    child = os.fork()
    if not child:
        live(*map(Path, sys.argv[1:]))
    os.write(1, b"born %d\\n" % child)
    os.waitpid(child, 0)
    os.write(1, b"dead\\n")
"""


class Nursery:
    """Starts lives of an engine and hears what they say."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "project"
        self.store = FolderStore(folder / "store")
        self.sealed: dict[str, SnapshotRef] = {}
        for name in ("src", "data"):
            (self.root / "cfs" / name).mkdir(parents=True)
        places = (self.root, folder / "index.db", folder / "store")
        command = [sys.executable, "-c", NURSERY, *map(str, places)]
        path = os.pathsep.join(sys.path)
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": path}
        )

    def bear(self) -> int:
        """Begin a life; returns its process."""
        assert self._process.stdin is not None
        self._process.stdin.write(b"\n")
        self._process.stdin.flush()
        return int(self.hear("born"))

    def hear(self, word: str) -> str:
        """Listen until a word is said; returns what follows it."""
        assert self._process.stdout is not None
        for line in self._process.stdout:
            said, _, rest = line.decode().strip().partition(" ")
            if said == "sealed":
                digest, key = rest.split()
                self.sealed[key] = SnapshotRef(digest=bytes.fromhex(digest), key=key)
            if said == word:
                return rest
        raise AssertionError("the nursery has ended")

    def close(self) -> None:
        """Nobody lives any more."""
        self._process.kill()
        self._process.communicate()


@pytest.fixture
def nursery(tmp_path: Path) -> Iterator[Nursery]:
    made = Nursery(tmp_path)
    yield made
    made.close()


def test_whatever_was_sealed_before_a_kill_can_be_read_after_all_of_them(nursery: Nursery) -> None:
    chance = random.Random(1)
    make_a_change = Mischief(nursery.root / "cfs/src", seed=1)
    for _ in range(KILLS):
        process = nursery.bear()
        end = time.monotonic() + chance.uniform(0, LONGEST_LIFE_S)
        while time.monotonic() < end:
            make_a_change()
            size = chance.choice((10, 1000, 50_000, 300_000))
            Path(nursery.root, f"cfs/data/f{chance.randrange(5)}").write_bytes(
                random_bytes(size, b"%d" % chance.randrange(20))
            )
        os.kill(process, signal.SIGKILL)
        nursery.hear("dead")

    process = nursery.bear()
    for _ in range(2):
        nursery.hear("sealed")
    os.kill(process, signal.SIGKILL)
    nursery.hear("dead")
    last = [*nursery.sealed.values()][-1]

    assert on_disk(nursery.root) == read_back(nursery.store, last)
    assert len(nursery.sealed) > KILLS / 4, "hardly anything was sealed"
    for ref in nursery.sealed.values():
        read_back(nursery.store, ref)
