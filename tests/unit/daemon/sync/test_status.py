"""What the sync engine says about itself: where it is, what the watcher missed, what it cannot watch."""

from __future__ import annotations

import errno
import os
import sys
import threading
import time
from pathlib import Path

import pytest

from pollinator.daemon.scan import listings
from pollinator.daemon.sync import biggest, dirty, engine, outbox
from pollinator.daemon.sync.reading import read_file
from pollinator.daemon.watch.base import Changes, Skip, Watch
from pollinator.daemon.watch.inotify import InotifyWatch
from pollinator.daemon.watch.kernel import Inotify, limit
from pollinator.daemon.watch.poll import PollWatch
from pollinator.executors.conformance.trees import random_bytes
from support.projects import IN_SYNC, SCANNING, SYNCING, Project, project
from support.storing import MemoryStore
from support.syncing import Clock

__all__ = ["project"]

linux = pytest.mark.skipif(sys.platform != "linux", reason="inotify is Linux's")


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits for quiet."""
    monkeypatch.setattr(outbox, "QUIET_S", 0.0)


def test_it_scans_then_syncs_then_is_in_sync(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox, "QUIET_S", 3600.0)
    project.write("src/f", random_bytes(1000))

    assert SCANNING == project.engine.status().state
    project.engine.step()
    status = project.engine.status()

    assert (SYNCING, 0) == (status.state, status.synced_ns)
    assert status.backlog.bytes > 900
    monkeypatch.setattr(outbox, "QUIET_S", 0.0)
    before = time.time_ns()
    status = project.settle()

    assert (IN_SYNC, 0, 0) == (status.state, status.backlog.files, status.backlog.bytes)
    assert (1, 1000) == (status.files, status.bytes)
    assert before <= status.synced_ns <= time.time_ns()


def test_what_is_on_its_way_is_not_in_the_store_yet(project: Project) -> None:
    assert isinstance(project.store, MemoryStore)
    project.store.gate = threading.Event()
    project.write("src/f", random_bytes(1000))
    for _ in range(5):
        project.engine.step()

        assert SYNCING == project.engine.status().state
        assert project.engine.status().backlog.bytes > 900
    project.store.gate.set()

    assert IN_SYNC == project.settle().state


def test_the_time_of_being_in_sync_moves_with_changes_only(project: Project) -> None:
    project.write("src/f", "x")
    first = project.settle().synced_ns
    project.engine.step()
    project.seal()

    assert first == project.settle().synced_ns
    project.write("src/g", "y")
    project.seal()

    assert first < project.engine.status().synced_ns


class Deaf:
    """Hears nothing about paths that contain ``unheard``."""

    def __init__(self, root: Path, skip: Skip) -> None:
        self._watch = InotifyWatch(root, skip)
        self.kind = self._watch.kind
        self.degraded = ""

    def start(self) -> None:
        self._watch.start()

    def drain(self) -> Changes:
        changes = self._watch.drain()
        return Changes(
            paths=frozenset(path for path in changes.paths if b"unheard" not in path),
            subtrees=frozenset(path for path in changes.subtrees if b"unheard" not in path),
        )

    def wait(self, timeout_s: float) -> bool:
        return self._watch.wait(timeout_s)

    def refresh(self) -> None:
        self._watch.refresh()

    def close(self) -> None:
        self._watch.close()


@linux
class TestAudit:
    """Now and then everything is looked at, to find what the watcher missed."""

    @pytest.fixture(autouse=True)
    def due(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """An audit is due whenever nothing else is to do."""
        monkeypatch.setattr(engine, "AUDIT_S", -1.0)

    @pytest.fixture(autouse=True)
    def deaf(self, project: Project) -> None:
        project.watch = Deaf

    def test_what_was_missed_is_found_counted_and_mended(self, project: Project) -> None:
        for name in ("changed", "deleted", "closed"):
            project.write(f"src/unheard-{name}", "x")
        project.write("src/unheard-folder/f", "x")
        (project.src / "unheard-link").symlink_to("a")
        project.settle()
        while project.engine.rest_s() < engine.RULES_S:
            project.settle()  # until no file is read again in any case
        assert 0 == project.engine.status().missed, "all this was there before"

        project.write("src/unheard-changed", "y")
        (project.src / "unheard-deleted").unlink()
        (project.src / "unheard-closed").chmod(0o600)
        (project.src / "unheard-link").unlink()
        (project.src / "unheard-link").symlink_to("b")
        project.write("src/unheard-new", "z")
        (project.src / "unheard-folder/f").unlink()
        (project.src / "unheard-folder").rmdir()
        project.write("src/heard", "x")
        project.settle()
        project.settle()

        assert 6 == project.engine.status().missed
        assert project.disk == project.sealed()
        project.settle()

        assert 6 == project.engine.status().missed

    def test_what_happens_meanwhile_is_not_missed(
        self, project: Project, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        project.write("src/d/f", "x")
        project.settle()

        def busy(*arguments: object) -> object:
            project.write("src/d/f", random_bytes(10, os.urandom(4)))
            project.write("src/new/deep/f", "x")
            (project.src / "new").rename(project.src / f"n{time.monotonic_ns()}")
            return listings(*arguments)  # type: ignore[arg-type] # passed on

        monkeypatch.setattr(dirty, "listings", busy)
        for _ in range(5):
            project.engine.step()

        assert 0 == project.engine.status().missed


class Stingy(Inotify):
    """Gives only so many watches."""

    left = 3

    def add(self, path: bytes, mask: int) -> int:
        if self.left <= 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)
        self.left -= 1
        return super().add(path, mask)


@linux
def test_folders_without_a_watch_are_polled_and_the_setting_is_named(project: Project) -> None:
    def stingy(root: Path, skip: Skip) -> Watch:
        return InotifyWatch(root, skip, events=Stingy())

    project.watch = stingy
    for number in range(5):
        project.write(f"src/d{number}/f", "x")
    assert project.disk == project.sealed()
    status = project.engine.status()

    assert "inotify" == status.watching
    assert "5 of 8 directories" in status.degraded
    named = int(status.degraded.rpartition("sudo sysctl fs.inotify.max_user_watches=")[2])
    assert named > limit("max_user_watches")
    for number in range(5):
        project.write(f"src/d{number}/f", "y")

    assert project.disk == project.sealed()
    assert IN_SYNC == project.settle().state


class Counting(PollWatch):
    """Counts how often everything is looked at."""

    drains = 0

    def __init__(self, root: Path, _skip: Skip) -> None:
        super().__init__(root, "polling")

    def drain(self) -> Changes:
        Counting.drains += 1
        return super().drain()


class TestPolling:
    """Where there is nothing to listen to."""

    @pytest.fixture(autouse=True)
    def polled(self, project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(Counting, "drains", 0)
        project.watch = Counting

    def test_everything_is_found_by_looking(self, project: Project) -> None:
        project.write("src/a/f", "x")
        assert project.disk == project.sealed()
        project.write("src/a/f", "y")
        project.write("src/b/g", "z")

        assert project.disk == project.sealed()
        assert ("poll", "polling") == (project.engine.status().watching, project.engine.status().degraded)

    def test_packs_are_sent_in_the_background(self, project: Project) -> None:
        project.write("src/f", random_bytes(1000))

        assert IN_SYNC == project.settle().state

    def test_without_news_nothing_is_looked_at(self, project: Project) -> None:
        project.write("src/f", "x")
        project.settle()
        before = Counting.drains
        project.engine.step(news=False)

        assert before == Counting.drains
        (project.root / ".pollinatorignore").write_text("x\n")
        project.engine.step(news=False)

        assert before < Counting.drains, "new rules are news"


class TestClock:
    """Somebody sets the clock, or files carry times that cannot be."""

    @pytest.fixture
    def clock(self, project: Project) -> Clock:
        clock = Clock()
        clock.now_ns = time.time_ns()
        project.clock_ns = clock.time_ns
        return clock

    @pytest.mark.parametrize("step_ms", [-3_600_000, 3_600_000, -50, 50])
    def test_a_clock_that_is_set_loses_nothing(self, project: Project, clock: Clock, step_ms: int) -> None:
        project.write("src/f", "one")
        assert project.disk == project.sealed()
        clock.set_by_ms(step_ms)
        project.write("src/f", "two")
        assert project.disk == project.sealed()
        project.write("src/f", "six")

        assert project.disk == project.sealed()

    def test_a_file_from_the_future_is_read_by_every_seal_until_then(
        self, project: Project, clock: Clock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        file = project.write("src/f", "x")
        later = clock.now_ns + 60 * 10**9
        os.utime(file, ns=(later, later))
        clock.pass_ms(5000)
        reads: list[bytes] = []

        def counting(path: bytes, *others: object) -> object:
            reads.append(path)
            return read_file(path, *others)  # type: ignore[arg-type] # passed on

        monkeypatch.setattr(dirty, "read_file", counting)
        first = project.seal().ref
        project.engine.step()
        project.seal()

        assert 2 == len(reads), "once by each seal, and not in the background"
        clock.pass_ms(70_000)
        project.seal()
        assert (first, 3) == (project.seal().ref, len(reads))


def test_the_biggest_are_named_until_all_is_in_the_store(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(biggest, "MANY_BYTES", 1000)
    assert isinstance(project.store, MemoryStore)
    project.store.gate = threading.Event()
    project.write("data/large", random_bytes(2000))
    while not project.engine.status().backlog.unsent_bytes:
        project.engine.step()

    assert [b"data/large"] == [each.path for each in project.engine.backlog().biggest]
    project.store.gate.set()

    assert () == project.settle().backlog.biggest
