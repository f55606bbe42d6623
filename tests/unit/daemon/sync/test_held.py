"""A new index in a store that holds something already."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from pollinator.chunks.keeping import write_condemned, write_ref
from pollinator.chunks.keys import PACK
from pollinator.chunks.store import Listed
from pollinator.daemon.runs.retention import make_ref
from pollinator.daemon.sync import outbox
from pollinator.daemon.sync.engine import SyncEngine
from pollinator.daemon.sync.outbox import Outbox
from pollinator.executors.conformance.trees import random_bytes
from pollinator.v1.keeping_pb2 import Condemned, CondemnedObject
from pollinator.v1.spec_pb2 import RunSpec
from pollinator.v1.tree_pb2 import SnapshotRef
from pollinator.wire.errors import Denied, Unavailable
from support.storing import MemoryStore
from support.syncing import on_disk, read_back

FIRST, SECOND, COLLECTOR = "1" * 32, "2" * 32, "c" * 32


class Project:
    """A folder with 20 files, and engines over it that know nothing when they are opened."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "project"
        self.index = folder / "index"
        self.store = MemoryStore()
        self.engines: list[SyncEngine] = []
        for tree in ("src", "data"):
            (self.folder / "cfs" / tree).mkdir(parents=True)
        for number in range(20):
            (self.folder / "cfs" / "data" / f"{number}").write_bytes(random_bytes(40_000, b"%d" % number))

    def opened(self) -> SyncEngine:
        index = self.index.with_suffix(f".{len(self.engines)}")
        self.engines.append(SyncEngine(self.folder, index, self.store))
        return self.engines[-1]

    def say(self, engine: SyncEngine, client: str = FIRST) -> None:
        """Write the ref of an engine's client."""
        claims = engine.with_outbox(Outbox.claims)
        write_ref(self.store, client, make_ref(claims.head, claims.packs, claims.view_s, ()))

    def left_behind(self, client: str = FIRST) -> None:
        """All is sealed, the ref of an engine's client says so, and the engine ends."""
        engine = self.opened()
        engine.seal(RunSpec())
        self.say(engine, client)
        engine.close()

    def sealed_anew(self) -> tuple[SnapshotRef, int]:
        """A snapshot by an engine that knows nothing, and how many bytes it sent."""
        sealed = self.opened().seal(RunSpec(project="again"))
        return sealed.ref, sealed.report.bytes_uploaded


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    made = Project(tmp_path)
    yield made
    for engine in made.engines:
        engine.close()


def test_what_the_last_snapshot_needs_is_not_sent_again(project: Project) -> None:
    project.left_behind()
    ref, sent = project.sealed_anew()

    assert read_back(project.store, ref) == on_disk(project.folder)
    assert sent < 20_000


def test_what_no_snapshot_names_yet_is_not_sent_again(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox, "QUIET_S", 0.0)
    engine = project.opened()
    while not engine.with_outbox(Outbox.claims).packs:
        engine.step()
    project.say(engine)
    engine.close()
    ref, sent = project.sealed_anew()

    assert read_back(project.store, ref) == on_disk(project.folder)
    assert sent < 20_000


def test_what_lists_of_packs_tell_of_is_not_sent_again(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox, "QUIET_S", 0.0)
    monkeypatch.setattr(outbox, "LIST_QUIET_S", 0.0)
    monkeypatch.setattr(outbox, "UNLISTED_CHUNKS", 1)
    engine = project.opened()
    while not any(key.startswith("i/") for key in project.store.objects):
        engine.step()
    engine.seal(RunSpec())
    project.say(engine)
    engine.close()
    ref, sent = project.sealed_anew()

    assert read_back(project.store, ref) == on_disk(project.folder)
    assert sent < 20_000


def test_another_machine_with_the_same_files_sends_nothing_of_them(project: Project) -> None:
    project.left_behind(SECOND)
    ref, sent = project.sealed_anew()

    assert read_back(project.store, ref) == on_disk(project.folder)
    assert sent < 20_000


@pytest.mark.parametrize("how", ["condemned", "gone"])
def test_what_is_to_be_removed_or_gone_is_sent_again(project: Project, how: str) -> None:
    engine = project.opened()
    engine.step()
    engine.seal(RunSpec())
    project.say(engine)
    engine.close()
    packs = [key for key in project.store.objects if key.startswith((PACK, "s/"))]
    if how == "condemned":
        objects = [CondemnedObject(key=key) for key in sorted(packs)]
        write_condemned(project.store, COLLECTOR, Condemned(objects=objects))
    else:
        for key in packs:
            project.store.delete(key)
    ref, sent = project.sealed_anew()

    for key in packs:
        project.store.objects.pop(key, None)

    assert read_back(project.store, ref) == on_disk(project.folder)
    assert 800_000 < sent


def test_all_is_sent_where_nobody_can_tell_what_is_there(project: Project) -> None:
    project.left_behind()
    project.store.put(f"r/{SECOND}", b"no ref")
    ref, sent = project.sealed_anew()

    assert read_back(project.store, ref) == on_disk(project.folder)
    assert 800_000 < sent


def test_one_who_may_not_list_sends_all(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    project.left_behind()

    def refuse(*_prefix: str) -> Iterator[str]:
        raise Denied("no listing", reason="store_refused")

    monkeypatch.setattr(project.store, "keys", refuse)
    _, sent = project.sealed_anew()

    assert 800_000 < sent


def test_a_store_that_does_not_answer_is_asked_again(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.left_behind()
    again = project.opened()
    listing = project.store.listing

    def fail(prefix: str = "") -> Iterator[Listed]:
        if not prefix:
            raise Unavailable("no answer", reason="store_unavailable")
        return listing(prefix)

    with monkeypatch.context() as patched:
        patched.setattr(project.store, "listing", fail)
        with pytest.raises(Unavailable):
            again.seal(RunSpec(project="again"))
    sealed = again.seal(RunSpec(project="again"))

    assert read_back(project.store, sealed.ref) == on_disk(project.folder)
    assert sealed.report.bytes_uploaded < 20_000
