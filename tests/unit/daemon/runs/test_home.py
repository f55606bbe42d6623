"""Results on their way to a folder of the user."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from pollinator.chunks.capture import capture
from pollinator.chunks.store import Store
from pollinator.chunks.upload import Uploader
from pollinator.daemon.pool import Pool
from pollinator.daemon.runs import home as under_test
from pollinator.daemon.runs.home import ResultsHome
from pollinator.daemon.sync.results import Applied
from pollinator.daemon.sync.stores import StoreKeeper
from pollinator.executors.conformance.trees import Listing, random_bytes, store_tree
from pollinator.v1.run_pb2 import ProgressKind, Run
from pollinator.v1.store_pb2 import FolderStore, StoreSettings
from pollinator.v1.tree_pb2 import PackIndex, Snapshot, Tree
from pollinator.wire.errors import AlreadyExists, Corrupt, Exhausted, InvalidInput, WrongState
from pollinator.wire.progress import Teller
from support.disk import full_disk


class Place:
    """A home, and runs that have left results in a store."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.keeper = StoreKeeper(folder / "stores")
        self.settings = StoreSettings(folder=FolderStore(path=str(folder / "store")))
        self.home = ResultsHome(self.keeper, folder / "ledgers", folder / "cache", Pool("test", 2))

    def run(self, name: str, text: str, root: str = "project") -> Run:
        """A run that has left one file."""
        left = self.folder / f"left by {name}"
        left.mkdir()
        (left / "r.txt").write_text(text)
        store_id, store = self.keeper.open(self.settings, "p")
        place = self.folder / root
        (place / "cfs").mkdir(parents=True, exist_ok=True)
        (place / "project.yaml").touch()
        return Run(id=name, root=str(place), project="p", store_id=store_id, result=capture(left, store).ref)

    def sealed(self, name: str, src: Listing) -> Run:
        """A run that ran with these files."""
        store_id, store = self.keeper.open(self.settings, "p")
        rows: list[PackIndex] = []
        uploader = Uploader(store, on_stored=rows.append)
        trees = [Tree(digest=store_tree(listing, uploader)) for listing in (src, {b"d": b"data" * 99})]
        uploader.flush()
        ref = uploader.publish(Snapshot(version=1, src=trees[0], data=trees[1]), rows, [])
        uploader.close()
        return Run(id=name, project="p", store_id=store_id, snapshot=ref)


def quiet() -> Teller:
    """Nobody listens."""
    return Teller(lambda _: None, ProgressKind.PROGRESS_KIND_FETCH)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    place = Place(tmp_path)
    yield place
    place.home.pool.close()


async def test_results_are_laid_into_the_project_and_conflicts_are_told(place: Place) -> None:
    first, second = place.run("a", "of a"), place.run("b", "of b")
    result = place.folder / "project" / "cfs" / "result"

    told = await place.home.bring(first, quiet())
    (result / "r.txt").write_text("edited")
    told += await place.home.bring(second, quiet())

    assert ["conflict"] == [notice.code for notice in told]
    assert {"r.txt": "edited", "r.txt.b": "of b"} == {
        each.name: each.read_text() for each in result.iterdir()
    }


async def test_a_project_that_is_gone_gets_nothing_and_that_is_told(
    place: Place,
) -> None:
    run = place.run("a", "of a")
    (place.folder / "project" / "project.yaml").unlink()

    (told,) = await place.home.bring(run, quiet())

    assert "project_missing" == told.code
    assert "pollinator pull a DIR" in told.text
    assert not (place.folder / "project" / "cfs" / "result").exists()


async def test_a_run_that_came_as_a_snapshot_has_no_folder_here(place: Place) -> None:
    run = place.run("a", "of a")
    run.ClearField("root")

    assert [] == await place.home.bring(run, quiet())
    with pytest.raises(InvalidInput) as caught:
        await place.home.pull(run, "", quiet())
    assert "directory_missing" == caught.value.reason
    assert 1 == (await place.home.pull(run, str(place.folder / "wanted"), quiet())).files_written


async def test_a_run_without_results_brings_nothing_and_cannot_be_fetched(place: Place) -> None:
    run = place.run("a", "of a")
    run.ClearField("result")

    assert [] == await place.home.bring(run, quiet())
    with pytest.raises(WrongState) as caught:
        await place.home.pull(run, "", quiet())
    assert "no_results" == caught.value.reason


@pytest.mark.parametrize(("roots", "together"), [(("one", "one"), 1), (("one", "two"), 2)])
async def test_runs_that_end_together_enter_a_folder_one_after_another(
    place: Place, monkeypatch: pytest.MonkeyPatch, roots: tuple[str, str], together: int
) -> None:
    runs = [place.run(f"run {number}", "x", root) for number, root in enumerate(roots)]
    inside: list[int] = []
    most: list[int] = []
    both = threading.Event()

    def apply(*_: object, **__: object) -> Applied:
        inside.append(1)
        most.append(len(inside))
        if len(inside) == 2:
            both.set()
        both.wait(0.2 if together == 1 else 20)
        inside.pop()
        return Applied(0, 0, ())

    monkeypatch.setattr(under_test, "apply_results", apply)

    await asyncio.gather(*(place.home.bring(run, quiet()) for run in runs))

    assert together == max(most)


SRC: Listing = {b"main.py": b"print(1)\n" * 100, b"lib": {b"a.py": b"a" * 500}}


async def test_a_checkout_is_what_the_run_ran_with(place: Place) -> None:
    target = place.folder / "new" / "deep"
    answer = await place.home.checkout(place.sealed("a", SRC), str(target), quiet())

    assert ["data", "src"] == sorted(os.listdir(target))
    assert b"a" * 500 == (target / "src/lib/a.py").read_bytes()
    assert (3, 900 + 500 + 396) == (answer.files, answer.bytes)


async def test_a_checkout_that_fails_leaves_nothing_and_is_in_nobodys_way(place: Place) -> None:
    run, target = place.sealed("a", SRC), place.folder / "target"
    (pack,) = (place.folder / "store").rglob("p/??/*")
    body = pack.read_bytes()
    pack.write_bytes(bytes(len(body)))
    target.mkdir()

    with pytest.raises(Corrupt) as caught:
        await place.home.checkout(run, str(target), quiet())
    left = os.listdir(target)
    pack.write_bytes(body)
    await place.home.checkout(run, str(target), quiet())

    assert pack.name in caught.value.message
    assert ([], 3) == (left, sum(path.is_file() for path in target.rglob("*")))


async def test_a_full_disk_during_a_checkout_says_so_and_leaves_nothing(place: Place) -> None:
    run, target = place.sealed("a", {b"large": random_bytes(3_000_000)}), place.folder / "target"
    with full_disk(1_000_000), pytest.raises(Exhausted) as caught:
        await place.home.checkout(run, str(target), quiet())

    assert "disk_full" == caught.value.reason
    assert [] == os.listdir(target)


async def test_what_a_killed_checkout_left_is_in_nobodys_way(place: Place) -> None:
    target = place.folder / "target"
    (target / ".pollinator-0123456789abcdefcheckout" / "src").mkdir(parents=True)
    await place.home.checkout(place.sealed("a", SRC), str(target), quiet())

    assert ["data", "src"] == sorted(os.listdir(target))


async def test_a_folder_with_something_in_it_is_no_place_for_a_checkout(place: Place) -> None:
    run, target = place.sealed("a", SRC), place.folder / "target"
    target.mkdir()
    (target / "mine").touch()
    for each in (target, target / "mine"):
        with pytest.raises(AlreadyExists):
            await place.home.checkout(run, str(each), quiet())

    assert ["mine"] == os.listdir(target)


async def test_every_store_that_was_opened_is_closed(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    run, sealed = place.run("a", "of a"), place.sealed("b", SRC)
    closed: list[Store] = []
    opened: list[Store] = []
    reopen = place.keeper.reopen

    def counted(store_id: str, project: str) -> Store:
        store = reopen(store_id, project)
        opened.append(store)
        monkeypatch.setattr(store, "close", lambda: closed.append(store))
        return store

    monkeypatch.setattr(place.keeper, "reopen", counted)
    await place.home.bring(run, quiet())
    await place.home.pull(run, str(place.folder / "pulled"), quiet())
    await place.home.checkout(sealed, str(place.folder / "target"), quiet())
    with pytest.raises(AlreadyExists):
        await place.home.checkout(sealed, str(place.folder / "target"), quiet())

    assert (4, opened) == (len(opened), closed)
