"""When packs are sent, and what a seal leaves to the background."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import pytest

from pollinator.daemon.sync import outbox
from pollinator.daemon.sync.engine import RULES_S
from pollinator.daemon.sync.outbox import PATIENCE_S, QUIET_S, Outbox
from support.projects import Project, project
from support.storing import MemoryStore, random_bytes
from support.syncing import read_back

__all__ = ["project"]


class Desk:
    """An outbox whose time is the test's."""

    def __init__(self, folder: Path) -> None:
        self.now = 100.0
        self.arrivals = 0
        self.store = MemoryStore()
        self.box = Outbox(folder / "index.db", self.store, lambda: self.now, wake=self._arrived)
        self._given = 0

    def give(self) -> None:
        self._given += 1
        self.box.sink(self._given.to_bytes(32), b"some data")

    def sent(self, *, more: bool = False) -> bool:
        """Work; True when nothing waits for more any longer."""
        self.box.work(more)
        return math.isinf(self.box.rest_s())

    def _arrived(self) -> None:
        self.arrivals += 1


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    desk = Desk(tmp_path)
    yield desk
    desk.box.close()
    assert desk.store.requests == desk.arrivals


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


def test_the_list_of_many_packs_is_not_made_while_somebody_waits(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox, "QUIET_S", 0.0)
    monkeypatch.setattr(outbox, "UNLISTED_PACKS", 3)
    for number in range(8):
        project.write("src/f", random_bytes(1000, b"%d" % number))
        sealed = project.seal()

        assert 1 == sealed.report.requests
        assert project.disk == read_back(project.store, sealed.ref)
    assert isinstance(project.store, MemoryStore)
    assert not list(project.store.keys("i/"))
    project.settle()

    assert 1 == len(list(project.store.keys("i/")))


def test_nothing_has_to_be_done_when_nothing_happens(project: Project) -> None:
    project.write("src/f", random_bytes(1000))
    project.seal()
    while project.engine.rest_s() < RULES_S:
        project.engine.wait(0.01)
        project.engine.step()

    assert project.disk == project.sealed()
    assert RULES_S == project.engine.rest_s()
