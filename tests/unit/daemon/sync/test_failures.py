"""Full disks, and stores that fail or forget: nothing is lost, and the status says why."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from pollinator.chunks.folder import FolderStore
from pollinator.daemon.sync import engine, outbox
from pollinator.daemon.sync.outbox import Outbox
from pollinator.executors.conformance.trees import random_bytes
from pollinator.wire.errors import Denied, Exhausted, Unavailable
from support.disk import full_disk, grow, small_disk
from support.projects import IN_SYNC, SYNCING, Project, project
from support.sandbox import wait_until
from support.storing import MemoryStore
from support.syncing import FAILURE, read_back

__all__ = ["project"]


@pytest.fixture
def memory(project: Project) -> MemoryStore:
    """The project's store."""
    assert isinstance(project.store, MemoryStore)
    return project.store


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits for quiet, or for a store to recover."""
    monkeypatch.setattr(outbox, "QUIET_S", 0.0)
    monkeypatch.setattr(outbox, "BACK_OFF_S", 0.0)


def listed(project: Project) -> bool:
    """Let the background work; True when a list of packs is known to be stored."""
    project.engine.step()
    return any(key.startswith("i/") for key in project.engine.with_outbox(Outbox.claims).packs)


class TestStore:
    """A store that fails."""

    def test_a_failed_seal_says_so_and_the_next_one_has_everything(
        self, project: Project, memory: MemoryStore
    ) -> None:
        project.write("src/f", random_bytes(1000))
        memory.fail_puts.append(FAILURE)
        with pytest.raises(Unavailable) as caught:
            project.seal()

        assert caught.value is FAILURE
        assert FAILURE.message in project.engine.status().problem
        assert project.disk == project.sealed()
        assert not project.engine.status().problem

    def test_a_failure_in_the_background_is_shown_until_something_gets_through(
        self, project: Project, memory: MemoryStore
    ) -> None:
        project.write("src/f", random_bytes(1000))
        memory.fail_puts += [FAILURE] * 3
        while len(memory.puts) < 3:
            project.engine.step()
            if memory.puts:
                status = project.engine.status()

                assert SYNCING == status.state
        assert FAILURE.message == project.engine.status().problem
        assert (IN_SYNC, "") == (project.settle().state, project.engine.status().problem)
        assert project.disk == project.sealed()

    def test_the_rest_between_tries_grows_until_something_gets_through(
        self, project: Project, memory: MemoryStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(outbox, "BACK_OFF_S", 1000.0)
        now = 0.0
        box = outbox.Outbox(project.index, memory, lambda: now)

        def rest() -> float:
            nonlocal now
            box.note_failure(FAILURE)
            start = now
            while box.resting:
                now += 0.5
            return now - start

        assert [1.0, 2.0, 4.0, 8.0] == [rest() for _ in range(4)]
        memory.gate = threading.Event()
        box.sink(b"1" * 32, b"data")
        box.work()
        assert FAILURE.message == box.problem, "nothing has got through yet"
        memory.gate.set()
        while box.unsent_bytes:
            box.work()

        assert ("", 1.0) == (box.problem, rest())
        box.close()

    def test_a_seal_does_not_rest(
        self, project: Project, memory: MemoryStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(outbox, "BACK_OFF_S", 1000.0)
        project.write("src/f", random_bytes(1000))
        memory.fail_puts.append(FAILURE)
        with pytest.raises(Unavailable):
            project.seal()

        assert project.disk == project.sealed()

    def test_a_defect_in_between_leaves_no_chunk_behind(
        self, project: Project, memory: MemoryStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Not even an error nobody has thought of makes a snapshot name what is not stored."""
        project.write("src/f", random_bytes(1000))

        def fail(_key: str, _data: bytes) -> None:
            raise MemoryError

        with monkeypatch.context() as patched:
            patched.setattr(memory, "put", fail)
            with pytest.raises(MemoryError):
                project.seal()

        assert project.disk == project.sealed()

    def test_nothing_is_asked_of_it_when_nothing_changed(self, project: Project, memory: MemoryStore) -> None:
        project.write("src/f", random_bytes(1000))
        project.seal()
        project.settle()
        memory.fail_puts.append(FAILURE)
        sealed = project.seal()

        assert (0, 0, 0) == (sealed.report.requests, sealed.report.chunks, sealed.report.bytes_uploaded)


class TestForgetfulStore:
    """A store that loses what was put there: emptied by somebody, or restored from an old backup."""

    @pytest.fixture(autouse=True)
    def sealed_before(self, project: Project) -> None:
        project.write("src/f", random_bytes(1000))
        project.write("data/g", random_bytes(3_000_000))
        project.settle()
        project.seal()
        project.write("data/h", random_bytes(500))
        project.seal()
        project.settle()

    def test_an_emptied_one_is_filled_again_by_the_first_seal(
        self, project: Project, memory: MemoryStore
    ) -> None:
        project.restart()
        memory.objects.clear()

        assert project.disk == project.sealed()

    def test_one_emptied_meanwhile_is_filled_again_after_the_next_audit(
        self, project: Project, memory: MemoryStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        memory.objects.clear()
        monkeypatch.setattr(engine, "AUDIT_S", -1.0)
        project.settle()

        assert project.disk == project.sealed()

    def test_a_lost_pack_is_stored_again_once_there_is_time(
        self, project: Project, memory: MemoryStore
    ) -> None:
        for key in [key for key in memory.objects if key.startswith("p/")]:
            project.restart()
            del memory.objects[key]
            project.settle()

            assert project.disk == project.sealed()

    def test_what_index_objects_list_is_found_elsewhere_by_then(
        self, project: Project, memory: MemoryStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with monkeypatch.context() as patched:
            patched.setattr(outbox, "UNLISTED_PACKS", 0)
            project.write("src/new", random_bytes(700))
            project.seal()
            wait_until(lambda: listed(project), "the packs are listed")
        for key in [key for key in memory.objects if key[0] in "pi"]:
            project.restart()
            del memory.objects[key]
            # So that what is stored again is not the very same pack.
            project.write("src/f", random_bytes(1000, key.encode()))
            project.settle()

            assert project.disk == project.sealed()

    def test_one_that_may_not_be_listed_is_trusted(
        self, project: Project, memory: MemoryStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def refuse(*_arguments: object) -> Iterator[str]:
            raise Denied("you may not list", reason="store_denied")

        monkeypatch.setattr(memory, "keys", refuse)
        project.restart()

        assert IN_SYNC == project.settle().state
        assert project.disk == project.sealed()

    def test_a_new_store_is_given_everything(self, project: Project, tmp_path: Path) -> None:
        project.close()
        first = project.store
        project.store = FolderStore(tmp_path / "store")
        project.restart()
        sealed = project.seal()

        assert sealed.report.chunks >= 4
        assert project.disk == read_back(project.store, sealed.ref)
        assert first.identity != project.store.identity


class TestFullDisk:
    """No space for the store, or for the index."""

    def test_a_store_without_space_is_named_and_goes_on_when_there_is_some(
        self, project: Project, tmp_path: Path
    ) -> None:
        small = tmp_path / "small"
        small.mkdir()
        with small_disk(small, "3m"):
            project.store = FolderStore(small / "store")
            project.write("data/f", random_bytes(4 * 2**20))
            with pytest.raises(Exhausted) as caught:
                project.seal()

            assert "disk_full" == caught.value.reason
            assert project.settle_until_problem().startswith("cannot write to the store")
            grow(small, "30m")

            assert project.disk == project.sealed()

    def test_an_index_without_space_is_named_and_kept(self, project: Project, tmp_path: Path) -> None:
        small = tmp_path / "small"
        small.mkdir()
        with small_disk(small, "2m"):
            project.index = small / "index.db"
            project.write("src/f", random_bytes(1000))
            first = project.seal().ref
            with (small / "ballast").open("wb") as ballast:
                fill(ballast.fileno())
            for number in range(300):
                project.write(f"data/f{number}", random_bytes(1000, b"%d" % number))
            with pytest.raises(Exhausted) as caught:
                project.seal()

            assert "disk_full" == caught.value.reason
            assert str(project.index) in caught.value.message
            project.restart()
            with pytest.raises(Exhausted):
                project.seal()
            (small / "ballast").unlink()
            sealed = project.seal()

            assert project.disk == read_back(project.store, sealed.ref)
            project.restart()
            shutil.rmtree(project.data)
            project.data.mkdir()

            assert first == project.seal(accept_deletions=True).ref
            project.close()

    def test_an_index_that_cannot_be_made_is_named(self, project: Project) -> None:
        with full_disk(0), pytest.raises(Exhausted):
            project.seal()

        assert project.disk == project.sealed()


def fill(descriptor: int) -> None:
    """Write until nothing more fits."""
    try:
        while True:
            os.write(descriptor, bytes(4096))
    except OSError:
        pass
