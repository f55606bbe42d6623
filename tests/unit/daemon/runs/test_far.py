"""What an executor lacks of a snapshot is put into its own store, and nothing else, in few calls."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pollinator.chunks.keeping import write_lease
from pollinator.chunks.layout import lay_out
from pollinator.chunks.read import SnapshotReader
from pollinator.daemon.runs.far import FarStore
from pollinator.daemon.sync import outbox
from pollinator.executors.conformance.trees import Listing, random_bytes
from pollinator.executors.own import OwnStores
from pollinator.v1.keeping_pb2 import Lease
from pollinator.v1.tree_pb2 import SnapshotRef
from pollinator.wire.errors import PollinatorError, WrongState
from support.peer import Peer, peer
from support.storing import MemoryStore, Publisher, listed

__all__ = ["peer"]

LARGE = random_bytes(300_000)
TREE: Listing = {b"a": {b"deep": {b"large": LARGE, b"x": b"x" * 200}}, b"b": b"b" * 200, b"main": b"1" * 200}


class World:
    """A store at home, and the store of an executor."""

    def __init__(self, folder: Path, peer: Peer) -> None:
        self.folder = folder
        self._peer = peer
        self.home = MemoryStore()
        self._publisher = Publisher(self.home, pack_bytes=1000)
        self.far = self.opened()

    def opened(self) -> FarStore:
        return FarStore(self.folder / "far.db", self._peer.open("demo"))

    def restart(self) -> None:
        self.far.close()
        self.far = self.opened()

    @property
    def store(self) -> Path:
        return self._peer.folder / "store/pollinator/demo"

    def sealed(self, tree: Listing) -> SnapshotRef:
        return self._publisher.publish(tree, flush=True)[0]

    def send(self, ref: SnapshotRef, go_on: Callable[[], object] = bool) -> SnapshotRef:
        return self.far.send(SnapshotReader(self.home), ref, go_on)

    def runs(self, tree: Listing) -> None:
        """Send a tree, and see that the executor can lay it out."""
        ref = self.sealed(tree)
        far = self.send(ref)
        assert ref.digest == far.digest
        reader = SnapshotReader(self._peer.store("demo"))
        expected, found = self.folder / "expected", self.folder / "found"
        for root, each, at in (expected, SnapshotReader(self.home), ref), (found, reader, far):
            root.mkdir(exist_ok=True)
            place = root / far.key.replace("/", "-")
            place.mkdir()
            lay_out(each, each.open(at).src, place)
        assert listed(expected) == listed(found)

    def cost(self, tree: Listing) -> tuple[int, int]:
        """Calls and bytes for one more tree."""
        calls, sent = self.far.store.requests, self.far.store.sent.total
        self.runs(tree)
        return self.far.store.requests - calls, self.far.store.sent.total - sent


@pytest.fixture
def world(tmp_path: Path, peer: Peer) -> Iterator[World]:
    made = World(tmp_path, peer)
    yield made
    made.far.close()


def changed(word: bytes) -> Listing:
    return {**TREE, b"main": word * 200}


def test_a_snapshot_is_there_with_all_that_it_needs(world: World) -> None:
    world.runs(TREE)


def test_after_a_small_change_two_calls_carry_that_and_no_more(world: World) -> None:
    world.runs(TREE)

    calls, sent = world.cost(changed(b"2"))

    # Whether all is there is asked beside the only put.
    assert 2 == calls
    assert sent < 1500


def test_what_was_sent_before_a_restart_is_not_sent_again(world: World) -> None:
    world.runs(TREE)
    world.restart()

    _, sent = world.cost(changed(b"2"))

    assert sent < 1500


def test_the_same_again_sends_nothing(world: World) -> None:
    ref = world.sealed(TREE)
    first = world.send(ref)
    sent = world.far.store.sent.total

    assert first == world.send(ref)
    assert sent == world.far.store.sent.total


@pytest.mark.parametrize("again", [False, True], ids=["another snapshot", "the same"])
def test_what_somebody_took_away_is_sent_again(world: World, again: bool) -> None:
    world.runs(TREE)
    for path in world.store.rglob("*"):
        if path.is_file():
            path.unlink()

    if again:
        for folder in ("expected", "found"):
            (world.folder / folder).rename(world.folder / f"{folder}-before")
    world.runs(TREE if again else changed(b"2"))


def test_what_is_doubted_is_looked_at(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.runs(TREE)
    # So much is there that not all of it can be asked for each time.
    monkeypatch.setattr("pollinator.daemon.runs.far.MAX_KEYS", 0)
    for path in world.store.glob("[ps]/*/*"):
        path.unlink()
    world.far.doubt()

    world.runs(changed(b"2"))


def test_what_a_wish_ends_is_gone_on_with(world: World) -> None:
    ref = world.sealed({b"%d" % number: random_bytes(5000, b"%d" % number) for number in range(50)})
    looks = iter(range(20))

    def go_on() -> None:
        if next(looks, None) is None:
            raise WrongState("cancelled", reason="cancelled")

    with pytest.raises(PollinatorError, match="cancelled"):
        world.send(ref, go_on)

    world.send(ref)


def test_lists_of_what_is_there_are_written_in_the_background(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox, "LIST_QUIET_S", 0.0)
    tree = {b"%d" % number: b"%d" % number * 100 for number in range(5000)}
    world.runs(tree)

    while world.far.rest_s() < math.inf or not list(world.store.glob("i/*/*")):
        world.far.work()

    _, sent = world.cost({**tree, b"0": b"changed" * 100})
    assert sent < 100_000


def test_what_its_executor_means_to_remove_is_sent_again(world: World) -> None:
    world.runs(TREE)
    own = OwnStores(world.store.parent.parent, {"run2"}.__contains__)
    own.collect(keep_s=0.0)
    world.restart()

    far = world.send(world.sealed(changed(b"2")))
    write_lease(own.of("demo"), "run2", Lease(source=far))
    for _ in range(3):
        own.collect(keep_s=0.0)

    reader = SnapshotReader(own.of("demo"))
    lay_out(reader, reader.open(far).src, world.folder)
    assert b"2" * 200 == (world.folder / "main").read_bytes()
    assert LARGE == (world.folder / "a/deep/large").read_bytes()
