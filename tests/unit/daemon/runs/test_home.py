"""Results on their way to a folder of the user."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from pollinator.chunks.capture import capture
from pollinator.daemon.pool import Pool
from pollinator.daemon.runs import home as under_test
from pollinator.daemon.runs.home import ResultsHome
from pollinator.daemon.sync.results import Applied
from pollinator.daemon.sync.stores import StoreKeeper
from pollinator.v1.run_pb2 import ProgressKind, Run
from pollinator.v1.store_pb2 import FolderStore, StoreSettings
from pollinator.wire.errors import InvalidInput, WrongState
from pollinator.wire.progress import Teller


class Place:
    """A home, and runs that have left results in a store."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.keeper = StoreKeeper(folder / "stores")
        self.home = ResultsHome(self.keeper, folder / "ledgers", folder / "cache", Pool("test", 2))

    def run(self, name: str, text: str, root: str = "project") -> Run:
        """A run that has left one file."""
        left = self.folder / f"left by {name}"
        left.mkdir()
        (left / "r.txt").write_text(text)
        settings = StoreSettings(folder=FolderStore(path=str(self.folder / "store")))
        store_id, store = self.keeper.open(settings, "p")
        place = self.folder / root
        (place / "cfs").mkdir(parents=True, exist_ok=True)
        (place / "project.yaml").touch()
        return Run(id=name, root=str(place), project="p", store_id=store_id, result=capture(left, store).ref)


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
        both.wait(0.2)
        inside.pop()
        return Applied(0, 0, ())

    monkeypatch.setattr(under_test, "apply_results", apply)

    await asyncio.gather(*(place.home.bring(run, quiet()) for run in runs))

    assert together == max(most)
