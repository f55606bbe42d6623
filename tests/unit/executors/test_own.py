"""The stores beside an executor: what nobody needs any more goes, and nothing else."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pollinator.chunks.capture import capture
from pollinator.chunks.keeping import condemned_keys, write_lease
from pollinator.executors.own import OwnStores
from pollinator.v1.keeping_pb2 import Lease
from pollinator.v1.tree_pb2 import SnapshotRef


class World:
    """One project's store, in which things grow old at once."""

    def __init__(self, folder: Path) -> None:
        self.needed: set[str] = set()
        self.own = OwnStores(folder / "store", self.needed.__contains__)
        self.store = self.own.of("demo")
        self._folder = folder

    def put(self, run: str) -> SnapshotRef:
        """What a run left."""
        files = self._folder / run
        files.mkdir()
        (files / "file").write_bytes(run.encode() * 1000)
        ref = capture(files, self.store).ref
        write_lease(self.store, run, Lease(result=ref))
        return ref

    def forget(self) -> None:
        """Collect as often as it takes, with no time to pass."""
        for _ in range(3):
            self.own.collect(keep_s=0.0)

    def has(self, ref: SnapshotRef) -> bool:
        return not self.store.missing([ref.key])


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_what_is_needed_stays_for_ever(world: World, tmp_path: Path) -> None:
    ref = world.put("run1")
    world.needed.add("run1")
    # A daemon that was away for two months.
    os.utime(tmp_path / "store/pollinator/demo/l/run1", (0, 0))

    world.forget()

    assert world.has(ref)


def test_what_nobody_needs_is_condemned_and_then_removed(world: World) -> None:
    ref = world.put("run1")

    world.own.collect(keep_s=0.0)
    assert world.has(ref)
    assert ref.key in condemned_keys(world.store)
    world.own.collect(keep_s=0.0)

    assert not world.has(ref)
    assert [] == list(world.store.keys("l/"))


def test_what_was_put_there_of_late_stays(world: World) -> None:
    ref = world.put("run1")

    for _ in range(3):
        world.own.collect()

    assert world.has(ref)


def test_one_project_that_is_damaged_holds_up_no_other(world: World, tmp_path: Path) -> None:
    ref = world.put("run1")
    write_lease(world.own.of("aaa"), "run2", Lease())
    (tmp_path / "store/pollinator/aaa/l/run2").write_bytes(b"rubbish")
    world.needed.add("run2")

    world.forget()

    assert not world.has(ref)


def test_nothing_is_there_yet(tmp_path: Path) -> None:
    OwnStores(tmp_path / "store", lambda _: False).collect()
