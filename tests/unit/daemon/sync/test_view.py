"""What a writer does about objects that others mean to remove."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from pollinator.chunks.keeping import write_condemned, write_moves
from pollinator.chunks.keys import CONDEMNED
from pollinator.daemon.sync import outbox
from pollinator.daemon.sync.engine import SyncEngine
from pollinator.daemon.sync.outbox import Outbox
from pollinator.daemon.sync.view import LOOKS, VIEW_S, View
from pollinator.executors.conformance.trees import random_bytes
from pollinator.v1.keeping_pb2 import Condemned, CondemnedObject, Moves
from pollinator.v1.spec_pb2 import RunSpec
from pollinator.v1.tree_pb2 import SnapshotRef
from pollinator.wire.errors import Denied, Unavailable
from support.sandbox import wait_until
from support.storing import MemoryStore
from support.syncing import FAILURE, on_disk, read_back

COLLECTOR = "c" * 32


class Writer:
    """A project, an engine, and a clock that also runs while the machine sleeps."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "project"
        self.file = self.folder / "cfs" / "data" / "file"
        self.file.parent.mkdir(parents=True)
        (self.folder / "cfs" / "src").mkdir()
        self.store = MemoryStore()
        self.now = 1000.0
        self.index = folder / "index.db"
        self.engine = self.opened()

    def opened(self) -> SyncEngine:
        return SyncEngine(self.folder, self.index, self.store, uptime=lambda: self.now)

    def seal(self) -> SnapshotRef:
        return self.engine.seal(RunSpec()).ref

    def seal_data(self, data: bytes) -> SnapshotRef:
        self.file.write_bytes(data)
        return self.seal()

    def condemn(self, *keys: str) -> None:
        objects = [CondemnedObject(key=key) for key in keys]
        write_condemned(self.store, COLLECTOR, Condemned(objects=objects))

    def readable(self, ref: SnapshotRef) -> bool:
        return read_back(self.store, ref) == on_disk(self.folder)


@pytest.fixture
def writer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Writer]:
    monkeypatch.setattr(outbox, "BACK_OFF_S", 0.0)
    made = Writer(tmp_path)
    yield made
    made.engine.close()


def test_what_is_condemned_is_stored_again_under_another_key(writer: Writer) -> None:
    first = writer.seal_data(random_bytes(5000))
    writer.condemn(first.key)
    writer.now += VIEW_S / LOOKS + 1
    writer.engine.step()
    again = writer.seal()
    del writer.store.objects[first.key]

    assert first.digest == again.digest
    assert first.key != again.key
    assert writer.readable(again)


def test_a_seal_goes_by_no_view_that_is_too_old(writer: Writer) -> None:
    first = writer.seal_data(random_bytes(5000))
    writer.condemn(first.key)
    fresh = writer.seal()
    writer.now += VIEW_S + 1
    late = writer.seal()

    assert first == fresh
    assert first.key != late.key


def test_a_seal_without_changes_asks_for_nothing_while_the_view_is_young(
    writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = writer.seal_data(random_bytes(5000))
    writer.now += VIEW_S - 1

    def fail(*_prefix: str) -> Iterator[str]:
        raise AssertionError("the store was asked")

    monkeypatch.setattr(writer.store, "keys", fail)
    requests = writer.store.requests

    assert first == writer.seal()
    assert requests == writer.store.requests


def test_a_seal_leaves_the_look_that_is_due_to_the_background(writer: Writer) -> None:
    """Also where chunks of a large file are found to be stored already."""
    large = random_bytes(8 * 2**20)
    first = writer.seal_data(large)
    writer.condemn(first.key)
    writer.now += VIEW_S / LOOKS + 1
    writer.file.write_bytes(large + b"more")
    sealed = writer.engine.seal(RunSpec())
    gets = len(writer.store.gets)
    writer.engine.step()

    assert 1 == sealed.report.requests
    assert gets < len(writer.store.gets)


def test_a_machine_that_slept_while_it_published_looks_again(
    writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = writer.seal_data(random_bytes(5000))
    put = writer.store.put

    def sleepy(key: str, data: bytes | memoryview) -> None:
        put(key, data)
        if key.startswith("s/"):
            monkeypatch.undo()
            writer.now += 3 * VIEW_S
            writer.condemn(first.key)
            del writer.store.objects[first.key]

    monkeypatch.setattr(writer.store, "put", sleepy)
    (writer.folder / "cfs" / "data" / "other").write_bytes(random_bytes(300))
    ref = writer.seal()

    assert writer.readable(ref)


def test_after_a_long_sleep_what_is_gone_is_noticed_though_no_list_tells_of_it(writer: Writer) -> None:
    first = writer.seal_data(random_bytes(5000))
    del writer.store.objects[first.key]
    writer.now += 2 * VIEW_S + 1

    assert writer.readable(writer.seal())


def test_a_list_that_was_written_before_a_long_sleep_and_is_gone_is_not_named(
    writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox, "UNLISTED_PACKS", 0)
    monkeypatch.setattr(outbox, "LIST_QUIET_S", 0.0)
    writer.seal_data(random_bytes(5000))
    writer.engine.step()
    wait_until(lambda: any(writer.store.keys("i/")), "a list is written")
    writer.now += 2 * VIEW_S + 1
    for key in list(writer.store.keys("i/")):
        writer.store.delete(key)

    (writer.folder / "cfs" / "data" / "other").write_bytes(random_bytes(6000))

    assert writer.readable(writer.seal())


def test_what_was_moved_is_not_sent_again(writer: Writer) -> None:
    first = writer.seal_data(random_bytes(5000))
    (row,) = writer.engine.with_outbox(Outbox.rows)
    body = writer.store.objects[first.key]
    copy = type(row)(key="p/ab/ab" + "0" * 62, entries=row.entries)
    writer.store.put(copy.key, body)
    write_moves(writer.store, Moves(left=[first.key], packs=[copy]))
    writer.condemn(first.key)
    writer.now += VIEW_S + 1
    sent = len(writer.store.puts)
    writer.seal()
    put = writer.store.puts[sent:]
    del writer.store.objects[first.key]

    assert ["s"] == [key[0] for key in put]
    assert len(writer.store.objects[put[0]]) < 1000
    assert writer.readable(writer.seal())


def test_a_claim_names_the_head_and_what_no_snapshot_names_yet(
    writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox, "QUIET_S", 0.0)
    first = writer.seal_data(random_bytes(5000))
    writer.file.write_bytes(random_bytes(6000))
    while not writer.engine.with_outbox(Outbox.claims).packs:
        writer.engine.step()
    before = writer.engine.with_outbox(Outbox.claims)
    second = writer.seal()
    after = writer.engine.with_outbox(Outbox.claims)
    writer.engine.close()
    writer.engine = writer.opened()
    restarted = writer.engine.with_outbox(Outbox.claims)

    assert (first, 1, VIEW_S) == (before.head, len(before.packs), before.view_s)
    assert (second, ()) == (after.head, after.packs)
    assert second == restarted.head


def test_one_who_may_not_list_says_so_and_goes_on(writer: Writer, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_prefix: str) -> Iterator[str]:
        raise Denied("you may not list", reason="store_denied")

    monkeypatch.setattr(writer.store, "keys", refuse)

    assert writer.readable(writer.seal_data(b"data"))
    assert 0 == writer.engine.with_outbox(Outbox.claims).view_s


def test_a_store_that_does_not_answer_makes_no_view_young(monkeypatch: pytest.MonkeyPatch) -> None:
    store, now = MemoryStore(), 0.0
    view = View(store, lambda: now)
    view.look()
    now = VIEW_S + 1

    def fail(*_prefix: str) -> Iterator[str]:
        raise FAILURE

    monkeypatch.setattr(store, "keys", fail)
    with pytest.raises(Unavailable):
        view.look()

    assert view.too_old


def test_the_age_of_a_view_counts_from_the_beginning_of_the_look(monkeypatch: pytest.MonkeyPatch) -> None:
    store, now = MemoryStore(), 0.0
    view = View(store, lambda: now)

    def slow(prefix: str = "") -> Iterator[str]:
        nonlocal now
        assert f"{CONDEMNED}/" == prefix
        now += 100
        return iter(())

    monkeypatch.setattr(store, "keys", slow)
    view.look()

    assert 100 == view.age_s
