"""Laying out killed at any instant, again and again: the next try gives the exact tree and leaves nothing."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pollinator.chunks.folder import FolderStore
from pollinator.chunks.upload import Uploader
from pollinator.executors.conformance.trees import File, Link, Listing, random_bytes, store_tree
from pollinator.v1.spec_pb2 import RunSpec
from pollinator.v1.tree_pb2 import PackIndex, Snapshot, SnapshotRef, Tree
from support.nursery import Nursery
from support.storing import listed, weight
from support.thorough import times

pytestmark = pytest.mark.timeout(900)

KILLS = times(20, 200)
"""Of each kind."""
LONGEST_LIFE_S = 0.4

# Everything is imported once; each life is a fork. A number is a snapshot to be laid out once, "live" means
# all of them in turn until it is killed.
SCRIPT = """
import itertools, os, sys, time
from pathlib import Path
from pollinator.chunks.folder import FolderStore
from pollinator.chunks.read import SnapshotReader
from pollinator.daemon.sync.ledger import Ledger
from pollinator.daemon.sync.results import apply_results
from pollinator.executors import spares
from pollinator.executors.files import Files
from pollinator.v1.run_pb2 import StartRunRequest
from pollinator.v1.tree_pb2 import SnapshotRef

root = Path(sys.argv[1])
refs = [SnapshotRef.FromString(bytes.fromhex(each)) for each in sys.argv[3:]]
spares.FREE_SHARE = 1.0  # however full this machine's disk is

class Far:
    # Not beside this process, as far as that can tell.
    def __init__(self):
        self._store = FolderStore(root / "store")
    def __getattr__(self, name):
        return getattr(self._store, name)

def lay_out(number, files):
    request = StartRunRequest()
    request.snapshot.snapshot.CopyFrom(refs[number])
    files.lay_out(request, root / "work", lambda _: None)
    files.prepare(request)
    deadline = time.monotonic() + 30
    while not any(path.name[0] != "." for path in (root / "cache/spares").iterdir()):
        assert time.monotonic() < deadline, "no spare is made"
        time.sleep(0.001)

def bring(number, _):
    reader = SnapshotReader(Far())
    with Ledger(root / "ledgers", root / "work") as ledger:
        apply_results(reader, reader.open(refs[number]).src, root / "work", ledger, f"run{number}")

def live(numbers):
    (root / "cache").mkdir(exist_ok=True)
    files = Files(lambda request: Far(), root / "cache", 1 << 30)
    for number in numbers:
        work(number, files)
    os._exit(0)

work = {"files": lay_out, "home": bring}[sys.argv[2]]
for line in sys.stdin:
    child = os.fork()
    if not child:
        try:
            live(itertools.cycle(range(len(refs))) if line.strip() == "live" else [int(line)])
        finally:
            import traceback
            traceback.print_exc()
            os._exit(1)
    os.write(1, b"%d\\n" % child)
    os.write(1, b"%d\\n" % os.waitpid(child, 0)[1])
"""


def tree(number: int) -> Listing:
    """Trees with much in common."""
    files: dict[bytes, bytes] = {
        b"%02d" % at: random_bytes(700, b"%d" % (at if at % 7 else at + 1000 * number)) for at in range(60)
    }
    return {
        b"dir": {b"deep": files, b"only%d" % number: {b"f": b"f" * 300}},
        b"large": random_bytes(2_200_000, b"%d" % (number % 2)),
        b"run.sh": File(b"#!/bin/sh\n" * 30, 0o755 if number % 2 else 0o644),
        b"link": Link(b"dir/deep/%02d" % number),
        b"turns": {b"f": b"x" * 200} if number % 2 else b"x" * 200,
        **files,
    }


class Layers(Nursery):
    """Starts lives, one at a time."""

    def __init__(self, root: Path, kind: str, trees: list[Listing]) -> None:
        self.root = root
        (root / "ledgers").mkdir()
        (root / "work").mkdir()
        store = FolderStore(root / "store")
        refs = [_published(store, listing).SerializeToString().hex() for listing in trees]
        super().__init__(SCRIPT, str(root), kind, *refs)

    def once(self, number: int) -> None:
        """One life that lays one snapshot out and ends."""
        self._bear(str(number))
        assert 0 == self._hear(), "it could not be laid out"

    def killed_after(self, life_s: float) -> None:
        """One life, ended at whatever it is."""
        child = self._bear("live")
        time.sleep(life_s)  # what is tested is that the moment does not matter
        os.kill(child, signal.SIGKILL)
        assert signal.SIGKILL == self._hear()

    def _bear(self, what: str) -> int:
        self.say(what)
        return self._hear()

    def _hear(self) -> int:
        return int(next(self.lines()))


def _published(store: FolderStore, listing: Listing) -> SnapshotRef:
    rows: list[PackIndex] = []
    uploader = Uploader(store, on_stored=rows.append, pack_bytes=200_000)
    try:
        src = Tree(digest=store_tree(listing, uploader), bytes=weight(listing))
        uploader.flush()
        return uploader.publish(Snapshot(version=1, src=src, spec=RunSpec()), rows, [])
    finally:
        uploader.close()


@contextmanager
def nursery(root: Path, kind: str, trees: list[Listing]) -> Generator[Layers]:
    made = Layers(root, kind, trees)
    try:
        yield made
    finally:
        made.close()


def kill_and_look(lives: Layers, trees: list[Listing], look: Callable[[int], object]) -> None:
    """Kill again and again; after each the next tree must be there as it is without any kill."""
    expected: dict[int, object] = {}
    for number in range(len(trees)):
        lives.once(number)
        expected[number] = look(number)
    luck = random.Random()
    for turn in range(KILLS):
        lives.killed_after(luck.uniform(0, LONGEST_LIFE_S))
        number = turn % len(trees)
        lives.once(number)

        assert expected[number] == look(number)


def test_runs_have_their_exact_files_however_often_the_executor_was_killed(tmp_path: Path) -> None:
    # From the first to the second nothing goes that would be missed.
    trees = [tree(0), {**tree(0), b"more": b"m" * 300}, tree(1)]
    with nursery(tmp_path, "files", trees) as lives:

        def look(number: int) -> object:
            spares = [path.name[0] for path in (tmp_path / "cache/spares").iterdir()]
            assert [False] == [name == "." for name in spares], "something is left in the making"
            assert ["data", "src"] == sorted(os.listdir(tmp_path / "work"))
            found = listed(tmp_path / "work/src")
            assert weight(trees[number]) == sum(
                len(data) for kind, _, data in found.values() if kind == "file"
            )
            return found

        kill_and_look(lives, trees, look)


def test_results_are_exact_and_no_conflict_however_often_the_daemon_was_killed(tmp_path: Path) -> None:
    # What other runs left stays, so all of them leave the same names.
    files = [{b"%02d" % at: random_bytes(700, b"%d %d" % (at, run)) for at in range(60)} for run in range(3)]
    trees: list[Listing] = [{**each, b"d": each} for each in files]
    with nursery(tmp_path, "home", trees) as lives:

        def look(number: int) -> object:
            assert 61 == len(os.listdir(tmp_path / "work")), "something is left in the making"
            found = listed(tmp_path / "work")
            for name, data in files[number].items():
                assert data == found[name][2] == found[b"d/" + name][2]
            return found

        kill_and_look(lives, trees, look)
