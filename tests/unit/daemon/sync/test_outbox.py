"""When packs are sent and listed, and what a seal leaves to the background."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pytest

from pollinator.chunks.keeping import write_condemned
from pollinator.chunks.pack import parse_footer
from pollinator.chunks.upload import Uploader
from pollinator.daemon.sync import outbox
from pollinator.daemon.sync.engine import RULES_S
from pollinator.daemon.sync.outbox import BACK_OFF_S, LIST_QUIET_S, PATIENCE_S, QUIET_S, Outbox
from pollinator.executors.conformance.trees import random_bytes
from pollinator.v1.keeping_pb2 import Condemned, CondemnedObject
from pollinator.v1.tree_pb2 import PackFooter, Snapshot
from support.projects import Project, project
from support.sandbox import wait_until
from support.storing import MemoryStore
from support.syncing import FAILURE, read_back

__all__ = ["project"]


@dataclass
class SlowLists(MemoryStore):
    """Takes a list of packs only when it is let; everything else at once."""

    let: threading.Event = field(default_factory=threading.Event)
    lists: list[str] = field(default_factory=list[str])
    """Those that are there or on their way."""

    def put(self, key: str, data: bytes | memoryview) -> None:
        if key.startswith("i/"):
            self.lists.append(key)
            assert self.let.wait(10)
        super().put(key, data)


class Desk:
    """An outbox whose time is the test's."""

    def __init__(self, folder: Path) -> None:
        self.now = 100.0
        self.arrivals = 0
        self.store = SlowLists()
        self.store.let.set()
        self.box = Outbox(folder / "index.db", self.store, lambda: self.now, wake=self._arrived)
        self._given = 0
        self._lists_ended = 0

    def give(self) -> None:
        self._given += 1
        self.box.sink(self._given.to_bytes(32), b"some data")

    def sent(self, *, more: bool = False) -> bool:
        """Work; True when nothing waits for more any longer."""
        self.box.work(more)
        return math.isinf(self.box.rest_s())

    def store_packs(self, count: int) -> None:
        """Each with one chunk, and all of them acknowledged."""
        for _ in range(count):
            self.give()
            self.now += QUIET_S
            self.box.work()
            wait_until(self._all_stored, "the pack is stored")

    def begin_list(self) -> str:
        """A list of packs is on its way, and stays there; returns its key."""
        self.store.let.clear()
        self.store_packs(4)
        self.now += LIST_QUIET_S
        self.box.work()
        wait_until(lambda: bool(self.store.lists), "a list is under way")
        (key,) = self.store.lists
        return key

    def end_list(self) -> None:
        """It arrives, and the outbox has had time to take it in."""
        self._lists_ended += 1
        self.store.let.set()
        packs = sum(key.startswith("p/") for key in self.store.puts)
        wait_until(lambda: self.arrivals == packs + self._lists_ended, "the list has arrived")
        self.box.work()

    def publish(self, took_s: float = 0.0) -> PackFooter:
        """A snapshot with a new chunk; what its pack says."""
        self.give()
        self.now += took_s
        ref = self.box.publish(Snapshot(version=1, git_commit=f"{self._given}"), {})
        assert ref is not None
        return parse_footer(ref.key, self.store.objects[ref.key])

    def _all_stored(self) -> bool:
        self.box.work()
        return not self.box.unsent_bytes

    def _arrived(self) -> None:
        self.arrivals += 1


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    desk = Desk(tmp_path)
    yield desk
    desk.store.let.set()
    desk.box.close()
    assert desk.arrivals == sum(key[0] in "pi" for key in desk.store.puts)


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Four packs are many."""
    monkeypatch.setattr(outbox, "UNLISTED_PACKS", 3)


def test_a_pack_is_sent_when_nothing_more_came_for_a_moment(desk: Desk) -> None:
    assert math.isinf(desk.box.rest_s())
    desk.give()
    desk.now += QUIET_S / 2
    desk.give()

    assert QUIET_S == pytest.approx(desk.box.rest_s())
    desk.now += QUIET_S * 0.99
    assert not desk.sent()
    desk.now += QUIET_S * 0.02
    assert desk.sent()


def test_a_pack_waits_for_files_that_are_being_read(desk: Desk) -> None:
    desk.give()
    desk.now += 10 * PATIENCE_S

    assert not desk.sent(more=True)
    assert desk.sent()


def test_a_trickle_does_not_keep_a_pack_open_for_ever(desk: Desk) -> None:
    started = desk.now
    while not desk.sent():
        desk.give()
        desk.now += QUIET_S / 2

    assert desk.now - started <= PATIENCE_S + QUIET_S
    desk.give()

    assert not desk.sent(), "its time begins with its first chunk"


@pytest.mark.usefixtures("few")
def test_a_seal_makes_one_request_however_much_is_to_be_listed(project: Project) -> None:
    for number in range(20):
        project.write("src/f", random_bytes(1000, b"%d" % number))
        sealed = project.seal()

        assert 1 == sealed.report.requests
        assert project.disk == read_back(project.store, sealed.ref)


@pytest.mark.usefixtures("few")
def test_packs_are_listed_when_nothing_happened_for_a_while(desk: Desk) -> None:
    desk.store_packs(4)

    assert LIST_QUIET_S - QUIET_S == pytest.approx(desk.box.rest_s())
    desk.now += LIST_QUIET_S / 2
    footer = desk.publish(took_s=LIST_QUIET_S / 2)
    desk.box.work()

    assert 4 == len(footer.packs)
    assert LIST_QUIET_S == pytest.approx(desk.box.rest_s()), "a run may start now, and use the line"
    assert [] == desk.store.lists
    desk.now += LIST_QUIET_S
    desk.box.work()
    desk.end_list()

    assert 1 == len(desk.store.lists)
    assert math.isinf(desk.box.rest_s())


@pytest.mark.usefixtures("few")
def test_a_seal_does_not_wait_for_a_list_that_is_under_way(desk: Desk) -> None:
    key = desk.begin_list()
    before = desk.publish()
    desk.end_list()
    after = desk.publish()

    assert (4, []) == (len(before.packs), list(before.indexes))
    assert (1, [key]) == (len(after.packs), list(after.indexes))
    assert key not in desk.box.claims().packs, "a snapshot names it"


@pytest.mark.usefixtures("few")
def test_nothing_is_listed_twice_at_a_time(desk: Desk) -> None:
    desk.begin_list()

    assert math.isinf(desk.box.rest_s())
    desk.now += 10 * LIST_QUIET_S
    desk.box.work()

    assert 1 == len(desk.store.lists)


@pytest.mark.usefixtures("few")
def test_a_list_that_leads_to_what_was_lost_meanwhile_is_not_used(desk: Desk) -> None:
    desk.begin_list()
    lost = next(key for key in desk.store.puts if key.startswith("p/"))
    desk.box.abandon({lost})
    desk.box.lost = False
    desk.end_list()

    assert [] == list(desk.publish().indexes)


@pytest.mark.usefixtures("few")
def test_a_list_that_was_condemned_meanwhile_is_not_used(desk: Desk) -> None:
    key = desk.begin_list()
    write_condemned(desk.store, "c" * 32, Condemned(objects=[CondemnedObject(key=key)]))
    desk.box.look()
    desk.end_list()
    # Now another is under way.
    desk.end_list()
    (again,) = desk.publish().indexes

    assert again != key


@pytest.mark.usefixtures("few")
def test_a_list_that_cannot_be_written_is_nobodys_trouble(desk: Desk) -> None:
    desk.begin_list()
    desk.store.fail_puts.append(FAILURE)
    desk.end_list()

    assert "" == desk.box.problem
    assert 4 == len(desk.publish().packs)
    assert BACK_OFF_S == pytest.approx(desk.box.rest_s())
    desk.now += BACK_OFF_S
    desk.box.work()
    desk.end_list()

    assert 1 == len(desk.publish().indexes)


@pytest.mark.usefixtures("few")
def test_very_many_packs_are_listed_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also while files are read for a seal: its snapshot would have to carry all that is not listed."""
    monkeypatch.setattr(outbox, "Uploader", partial(Uploader, pack_bytes=1))
    desk = Desk(tmp_path)

    def listed() -> bool:
        desk.give()
        return bool(desk.store.lists)

    wait_until(listed, "a list is written")
    desk.box.close()
    (first, *_) = desk.store.lists

    assert 12 < len(parse_footer(first, desk.store.objects[first]).packs)


def test_nothing_has_to_be_done_when_nothing_happens(project: Project) -> None:
    project.write("src/f", random_bytes(1000))
    project.seal()
    while project.engine.rest_s() < RULES_S:
        project.engine.wait(0.01)
        project.engine.step()

    assert project.disk == project.sealed()
    assert RULES_S == project.engine.rest_s()
