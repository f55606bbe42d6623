"""Saying in the stores what is kept, and collecting the rest."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Generator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pollinator.chunks.folder import FolderStore
from pollinator.chunks.keeping import read_ref, write_lease
from pollinator.chunks.keys import lease_of_part, page_key
from pollinator.daemon.runs.keeping import Keeping, place_of
from pollinator.daemon.runs.tidy import Tidying
from pollinator.daemon.sync.projects import OpenProject
from pollinator.v1.keeping_pb2 import KeepReason, Lease
from pollinator.v1.run_pb2 import Run, RunEvent, RunState, StartRunRequest, StateChanged
from pollinator.v1.spec_pb2 import RunSpec
from pollinator.v1.tree_pb2 import SnapshotRef
from support.opening import Place, Watcher

HEAD, RECENT, PINNED = (
    KeepReason.KEEP_REASON_HEAD,
    KeepReason.KEEP_REASON_RECENT,
    KeepReason.KEEP_REASON_PINNED,
)


class Desk:
    """A daemon with one project, and what it says in the store."""

    def __init__(self, place: Place, daemon: Watcher, project: OpenProject) -> None:
        self.place = place
        self.daemon = daemon
        self.project = project
        self.store = FolderStore(place.folder / "store" / "pollinator" / "p")
        self.keeping = self.started()
        self._count = 0

    def started(self, newest: int = 1) -> Keeping:
        """As when the daemon starts."""
        daemon = self.daemon
        return Keeping(
            daemon.log,
            daemon.records,
            daemon.projects,
            daemon.keeper,
            self.place.folder,
            newest=newest,
            days=0,
        )

    async def seal(self) -> SnapshotRef:
        sealed = await self.project.worker.seal(RunSpec(), strict=False, git_commit="")
        return sealed.ref

    def ended_run(self, name: str, snapshot: SnapshotRef) -> Run:
        run = self.place.run_of(self.project.store_id)
        run.id = run.request_id = name
        run.state = RunState.RUN_STATE_ACCEPTED
        log = self.daemon.log
        log.accept(run, StartRunRequest(request_id=name))
        log.append(name, *map(moved, ("SNAPSHOTTING",)), RunEvent(sealed=snapshot))
        return log.append(name, *map(moved, ("LAUNCHING", "RUNNING", "COLLECTING", "SUCCEEDED")))

    async def say(self) -> list[tuple[str, str, int]]:
        """What the ref says after that: runs, snapshots, reasons."""
        await self.keeping.say(place_of(self.project))
        keys = list(self.store.keys("r/"))
        return [
            (kept.run_id, kept.snapshot.key, kept.why)
            for key in keys
            for kept in read_ref(self.store, key).kept
        ]


def no_report(_doing: str, _done: int, _total: int) -> None: ...


def moved(state: str) -> RunEvent:
    return RunEvent(state_changed=StateChanged(state=RunState.Value(f"RUN_STATE_{state}"), attempt=1))


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    place = Place(tmp_path)
    async with place.daemon() as daemon:
        project = await daemon.projects.open(place.root, place.store("store"))
        yield Desk(place, daemon, project)


async def test_nothing_is_said_of_a_project_of_which_there_is_nothing_to_say(desk: Desk) -> None:
    assert [] == await desk.say()
    assert [] == list(desk.store.keys("r/"))


async def test_the_last_that_was_sealed_is_kept(desk: Desk) -> None:
    ref = await desk.seal()

    assert [("", ref.key, HEAD)] == await desk.say()


async def test_a_ref_is_written_only_when_it_says_something_else(desk: Desk) -> None:
    await desk.seal()
    await desk.say()
    (before,) = desk.store.listing("r/")
    await desk.say()
    (again,) = desk.store.listing("r/")
    desk.keeping = desk.started()
    await desk.say()
    (restarted,) = desk.store.listing("r/")

    assert before == again
    assert (before.key, True) == (restarted.key, restarted.modified_ns > before.modified_ns)


async def test_the_newest_and_the_pinned_runs_are_kept(desk: Desk) -> None:
    ref = await desk.seal()
    runs = [desk.ended_run(name, ref) for name in ("01a", "01b", "01c")]
    desk.keeping.pin(runs[0], unpin=False)
    pinned = await desk.say()
    desk.keeping.pin(runs[0], unpin=True)

    assert {("", HEAD), ("01a", PINNED), ("01c", RECENT)} == {(run, why) for run, _, why in pinned}
    assert ["", "01c"] == sorted(run for run, _, _ in await desk.say())


async def test_two_that_say_it_at_the_same_time_do_so_one_after_the_other(desk: Desk) -> None:
    ref = await desk.seal()
    for name in ("01a", "01b", "01c"):
        desk.ended_run(name, ref)
    said = await asyncio.gather(*(desk.say() for _ in range(3)))

    assert [[("", HEAD), ("01c", RECENT)]] * 3 == [[(run, why) for run, _, why in each] for each in said]


async def test_a_run_whose_files_were_removed_is_not_kept_again_by_other_settings(desk: Desk) -> None:
    refs: list[SnapshotRef] = []
    for name in ("01a", "01b", "01c"):
        (desk.place.root / "cfs" / "data" / "file").write_text(name * 100)
        refs.append(await desk.seal())
        desk.ended_run(name, refs[-1])
    await desk.say()
    desk.store.delete(refs[0].key)
    desk.keeping = desk.started(newest=3)
    said = await desk.say()

    assert ["01b", "01c"] == sorted(run for run, _, why in said if why == RECENT)
    assert await desk.keeping.lost(desk.daemon.log.find("01a"))
    assert not await desk.keeping.lost(desk.daemon.log.find("01b"))


async def test_a_run_that_lost_its_files_while_it_was_kept_stays_wanted(desk: Desk) -> None:
    ref = await desk.seal()
    desk.ended_run("01a", ref)
    await desk.say()
    desk.store.delete(ref.key)
    desk.keeping = desk.started()

    assert "01a" in [run for run, _, _ in await desk.say()]


async def test_the_lease_of_a_run_goes_when_its_ref_is_written(desk: Desk) -> None:
    ref = await desk.seal()
    for name in ("01a", "01other"):
        write_lease(desk.store, name, Lease(source=ref))
    desk.ended_run("01a", ref)
    await desk.say()

    assert ["l/01other"] == list(desk.store.keys("l/"))


async def test_what_a_run_and_its_executor_told_each_other_goes_with_its_lease(desk: Desk) -> None:
    ref = await desk.seal()
    for name in ("01a", lease_of_part("01a", 1), "01other"):
        write_lease(desk.store, name, Lease(source=ref))
    for run in ("01a", "01other", "01b"):
        desk.store.put(page_key(run, "0a-b", 1), b"page")
    desk.ended_run("01a", ref)
    desk.ended_run("01b", ref)
    await desk.say()

    assert ["l/01other"] == list(desk.store.keys("l/"))
    # Of one without a lease nobody but a collection knows whether it is over.
    assert [page_key("01b", "0a-b", 1), page_key("01other", "0a-b", 1)] == list(desk.store.keys("t/"))


async def test_two_folders_of_one_daemon_are_two_clients(desk: Desk) -> None:
    assert desk.keeping.client("/a") == desk.started().client("/a") != desk.keeping.client("/b")


async def test_a_copy_of_the_state_on_another_machine_is_another_client(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    with other_machine(monkeypatch):
        other = desk.started()

    assert desk.keeping.client("/a") != other.client("/a")


async def test_a_collection_says_first_what_is_kept(desk: Desk) -> None:
    ref = await desk.seal()
    daemon = desk.daemon
    tidying = Tidying(daemon.log, daemon.projects, daemon.keeper, desk.keeping, every_s=60, grace_s=60)
    done = await (await tidying.begin(desk.project, no_report, dry_run=False))

    assert (1, []) == (done.kept_snapshots, list(done.problems))
    assert [("", ref.key, HEAD)] == await desk.say()


@contextmanager
def other_machine(monkeypatch: pytest.MonkeyPatch) -> Generator[None]:
    """Its id is another."""
    read_text = Path.read_text

    def read(self: Path, encoding: str | None = None) -> str:
        return "other" if self == Path("/etc/machine-id") else read_text(self, encoding)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "read_text", read)
        yield
