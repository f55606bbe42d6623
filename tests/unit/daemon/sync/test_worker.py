"""A project at work: its thread, its status for everybody else, and its end."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from pollinator.daemon.sync import outbox, worker
from pollinator.daemon.sync.engine import SyncEngine
from pollinator.daemon.sync.sealed import Sealed, SyncStatus
from pollinator.daemon.sync.worker import ProjectWorker
from pollinator.executors.conformance.trees import random_bytes
from pollinator.wire.errors import Halted, Unavailable
from support.projects import HALTED, IN_SYNC, SPEC
from support.storing import MemoryStore
from support.syncing import on_disk, read_back


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Short rests."""
    monkeypatch.setattr(outbox, "QUIET_S", 0.01)
    monkeypatch.setattr(worker, "RETRY_S", 0.01)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "project"
    (root / "cfs/src").mkdir(parents=True)
    (root / "cfs/data").mkdir()
    return root


class SlowStore(MemoryStore):
    """Takes nothing until it is let go."""

    def __init__(self) -> None:
        super().__init__()
        self.putting = threading.Event()
        self.let_go = threading.Event()

    def put(self, key: str, data: bytes | memoryview) -> None:
        """Take an object, late."""
        self.putting.set()
        assert self.let_go.wait(50)
        super().put(key, data)


@asynccontextmanager
async def working(root: Path, store: MemoryStore | None = None) -> AsyncGenerator[ProjectWorker]:
    """A worker until the block ends."""
    made = ProjectWorker(root, root.parent / "index.db", store or MemoryStore())
    async with asyncio.timeout(50), asyncio.TaskGroup() as group:
        group.create_task(made.run())
        yield made
        await made.close()


async def until(made: ProjectWorker, wanted: Callable[[SyncStatus], bool]) -> SyncStatus:
    """Follow the status as a client does."""
    while True:
        seen = made.version
        if wanted(made.status):
            return made.status
        await made.changed(seen, 20)


async def test_what_is_saved_is_in_the_store_soon(root: Path) -> None:
    async with working(root) as made:
        (root / "cfs/src/f").write_bytes(random_bytes(1000))
        status = await until(made, lambda status: status.bytes == 1000 and status.state == IN_SYNC)

        assert status.synced_ns
        assert isinstance(made.store, MemoryStore)
        assert made.store.puts


async def test_a_seal_has_what_was_written_before_it(root: Path) -> None:
    async with working(root) as made:
        for number in range(20):
            (root / "cfs/src/f").write_text(f"{number}")
            sealed = await made.seal(SPEC, strict=False, git_commit="abc")

            assert on_disk(root) == read_back(made.store, sealed.ref)
            assert "abc" == sealed.snapshot.git_commit


async def test_nobody_waits_for_the_step_that_comes_after_a_seal(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    queued, let_go = threading.Event(), threading.Event()
    asked: list[object] = []
    async with working(root) as made:
        await until(made, lambda status: status.state == IN_SYNC)
        seal, step, call = SyncEngine.seal, SyncEngine.step, made.call

        def sealed_while_a_step_is_due(engine: SyncEngine, *args: object, **options: object) -> Sealed:
            (root / "cfs/src/news").write_text("x")
            assert queued.wait(50)
            return seal(engine, *args, **options)  # type: ignore[arg-type] # passed on

        def long_step(engine: SyncEngine, news: bool = True) -> bool:
            assert let_go.wait(50)
            return step(engine, news)

        async def noted(work: Callable[[], object]) -> object:
            asked.append(work)
            if len(asked) == 2:
                # The first was the seal.
                queued.set()
            return await call(work)

        monkeypatch.setattr(SyncEngine, "seal", sealed_while_a_step_is_due)
        monkeypatch.setattr(SyncEngine, "step", long_step)
        monkeypatch.setattr(made, "call", noted)
        try:
            await asyncio.wait_for(made.seal(SPEC, strict=False, git_commit=""), 20)
        finally:
            let_go.set()
            monkeypatch.undo()


async def test_no_change_of_the_status_passes_unseen(root: Path) -> None:
    """Whoever is slow to ask is answered at once when it changed meanwhile."""
    async with working(root) as made:
        await until(made, lambda status: status.state == IN_SYNC)
        seen = made.version
        (root / "cfs/src/f").write_text("x")
        await until(made, lambda status: status.files == 1 and status.state == IN_SYNC)
        started = asyncio.get_running_loop().time()
        await made.changed(seen, 20)

        assert asyncio.get_running_loop().time() - started < 5


async def test_asking_ends_with_its_time(root: Path) -> None:
    async with working(root) as made:
        await until(made, lambda status: status.state == IN_SYNC)
        await made.changed(made.version, 0.05)


async def test_a_halted_project_says_so_and_goes_on_by_itself(root: Path) -> None:
    async with working(root) as made:
        await until(made, lambda status: status.state == IN_SYNC)
        (root / "cfs").rename(root / "away")
        status = await until(made, lambda status: status.state == HALTED)

        assert "is gone" in status.problem
        with pytest.raises(Halted):
            await made.seal(SPEC, strict=False, git_commit="")
        (root / "away").rename(root / "cfs")
        status = await until(made, lambda status: status.state == IN_SYNC)

        assert not status.problem
        assert not made.problem


async def test_an_index_that_cannot_be_used_is_a_problem_of_the_project_alone(root: Path) -> None:
    index = root.parent / "index.db"
    index.mkdir()
    async with working(root) as made:
        while not made.problem:
            await made.changed(made.version, 20)

        assert "cannot use the index" in made.problem
        index.rmdir()
        await until(made, lambda status: status.state == IN_SYNC)
        while made.problem:
            await made.changed(made.version, 20)


async def test_a_closed_project_refuses_in_words(root: Path) -> None:
    async with working(root) as made:
        await until(made, lambda status: status.state == IN_SYNC)
    with pytest.raises(Unavailable) as caught:
        await made.seal(SPEC, strict=False, git_commit="")

    assert "project_closed" == caught.value.reason


async def test_a_seal_under_way_when_it_is_closed_ends_one_way_or_the_other(root: Path) -> None:
    for _ in range(10):
        async with working(root) as made:
            (root / "cfs/src/f").write_text("x")
            seals = (made.seal(SPEC, strict=False, git_commit="") for _ in range(3))
            answers = await asyncio.gather(*seals, made.close(), return_exceptions=True)

            errors = [type(answer) for answer in answers if isinstance(answer, BaseException)]
            assert {Unavailable} >= set(errors)


async def test_how_far_a_seal_is_can_be_asked_at_any_time(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("QUIET_S", "PATIENCE_S", "LARGE_REST"):
        # Nothing is sent before the seal.
        monkeypatch.setattr(outbox, name, 1 << 30)
    (root / "cfs/data/f").write_bytes(random_bytes(8 << 20))
    store = SlowStore()
    async with working(root, store) as made:
        assert (0, 0) == made.progress
        async with asyncio.TaskGroup() as group:
            group.create_task(made.seal(SPEC, strict=False, git_commit=""))
            await asyncio.to_thread(store.putting.wait, 10)
            done, total = made.progress
            store.let_go.set()

        # It may have been read once already, too soon after it was written for that to count.
        assert 0 <= done < total <= 2 * (9 << 20)
        assert (0, 0) == made.progress


async def test_what_was_read_and_sent_is_counted(root: Path) -> None:
    async with working(root) as made:
        (root / "cfs/data/f").write_bytes(random_bytes(3 << 20))
        await made.seal(SPEC, strict=False, git_commit="")

        assert made.meter.read.total >= 3 << 20
        assert made.meter.sent.total >= 3 << 20
        assert made.busy
        assert (b"data/f", 3 << 20) == ((one := (await made.biggest(5))[0]).path, one.bytes)


async def test_a_defect_that_a_project_meets_is_told_and_ends_nothing(root: Path) -> None:
    class Garbling(MemoryStore):
        defects = 1

        def put(self, key: str, data: bytes | memoryview) -> None:
            if self.defects:
                self.defects -= 1
                raise ValueError("a defect")
            super().put(key, data)

    store = Garbling()
    async with working(root, store) as made:
        (root / "cfs/src/f").write_bytes(random_bytes(1000))
        await until(made, lambda status: status.bytes == 1000 and status.state == IN_SYNC)
        sealed = await made.seal(SPEC, strict=False, git_commit="")

    assert 0 == store.defects
    assert 1 == made.errors["internal"]
    assert on_disk(root) == read_back(store, sealed.ref)
