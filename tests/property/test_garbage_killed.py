"""A collection killed at any instant, again and again: the store stays valid, and garbage goes in the end."""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pollinator.chunks.folder import FolderStore
from pollinator.chunks.keeping import write_ref
from pollinator.chunks.read import SnapshotReader
from pollinator.chunks.upload import Uploader
from pollinator.daemon.garbage.check import Checker
from pollinator.executors.conformance.trees import random_bytes, store_tree
from pollinator.v1.keeping_pb2 import Kept, Ref
from pollinator.v1.spec_pb2 import RunSpec
from pollinator.v1.tree_pb2 import FileNode, PackIndex, Snapshot, SnapshotRef, Tree
from support.nursery import Nursery
from support.thorough import times

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="each life is a fork"),
    pytest.mark.timeout(900),
]

KILLS = times(60, 200)
LONGEST_LIFE_S = 0.15
GRACE_S = 0.2
WRITER, COLLECTOR = "a" * 32, "b" * 32

# Everything is imported once; each life is a fork, so that most of it is spent collecting.
SCRIPT = """
import os, sys
from pathlib import Path
from pollinator.chunks.folder import FolderStore
from pollinator.chunks.garbage.collect import Collector

def live(store, client, grace_s):
    while True:
        done = Collector(FolderStore(Path(store)), client, float(grace_s)).collect(lambda *_: None)
        removed = sum(each.objects for each in done.removed)
        os.write(1, f"collected {removed} {done.repacked_packs}\\n".encode())

for _ in sys.stdin:
    child = os.fork()
    if not child:
        live(*sys.argv[1:])
    os.write(1, b"born %d\\n" % child)
    os.waitpid(child, 0)
    os.write(1, b"dead\\n")
"""


class Collectors(Nursery):
    """Starts lives of a collector and hears what they say."""

    def __init__(self, store: Path) -> None:
        super().__init__(SCRIPT, str(store), COLLECTOR, str(GRACE_S))
        self.removed = self.repacked = 0

    def bear(self) -> int:
        """Begin a life; returns its process."""
        self.say("")
        return int(self.hear("born"))

    def hear(self, word: str) -> str:
        """Listen until a word is said; returns what follows it."""
        for line in self.lines():
            said, _, rest = line.partition(" ")
            if said == "collected":
                removed, repacked = map(int, rest.split())
                self.removed += removed
                self.repacked += repacked
            if said == word:
                return rest
        raise AssertionError("the nursery has ended")


@pytest.fixture
def nursery(tmp_path: Path) -> Iterator[Collectors]:
    made = Collectors(tmp_path / "store")
    yield made
    made.close()


def publish(store: FolderStore, numbers: list[int]) -> SnapshotRef:
    """A snapshot of some files, two of which share a pack."""
    rows: list[PackIndex] = []
    uploader = Uploader(store, on_stored=rows.append, pack_bytes=6000)
    try:
        files = {b"%d" % number: random_bytes(4000, b"%d" % number) for number in numbers}
        tree = Tree(digest=store_tree(files, uploader))
        uploader.flush()
        return uploader.publish(Snapshot(version=1, src=tree, spec=RunSpec()), rows, [])
    finally:
        uploader.close()


def names(store: FolderStore, ref: SnapshotRef) -> list[int]:
    """The files of a snapshot, all of which can be read."""
    reader = SnapshotReader(store)
    found: list[int] = []
    for path, node in reader.walk(reader.open(ref).src):
        assert isinstance(node, FileNode)
        assert random_bytes(4000, path) == reader.content(node)
        found.append(int(path))
    return sorted(found)


def keep(store: FolderStore, refs: list[SnapshotRef]) -> None:
    write_ref(store, WRITER, Ref(kept=[Kept(snapshot=ref) for ref in refs], view_s=1))


def test_whatever_is_kept_can_be_read_after_all_kills_and_the_rest_goes(
    nursery: Collectors, tmp_path: Path
) -> None:
    chance = random.Random(1)
    store = FolderStore(tmp_path / "store")
    kept: dict[str, tuple[SnapshotRef, list[int]]] = {}
    for _ in range(KILLS):
        # Each time with new contents: what a condemned pack holds is not to be counted on.
        numbers = sorted(chance.sample(range(10**6), 4))
        ref = publish(store, numbers)
        kept[ref.key] = (ref, numbers)
        for key in [*kept][:-3]:
            del kept[key]
        keep(store, [ref for ref, _ in kept.values()])
        process = nursery.bear()
        end = time.monotonic() + chance.uniform(0, LONGEST_LIFE_S)
        while time.monotonic() < end:
            pass
        os.kill(process, signal.SIGKILL)
        nursery.hear("dead")
        for ref, numbers in kept.values():
            assert numbers == names(store, ref)

    process = nursery.bear()
    deadline = time.monotonic() + 60
    while len(list(store.keys("s/"))) > len(kept):
        nursery.hear("collected")
        assert time.monotonic() < deadline, "garbage stays"
    os.kill(process, signal.SIGKILL)
    nursery.hear("dead")
    checked = Checker(store, {}, read_data=True).check(lambda _doing, _done, _total: None)

    assert [] == list(checked.flaws)
    assert sorted(kept) == sorted(store.keys("s/"))
    assert nursery.removed
