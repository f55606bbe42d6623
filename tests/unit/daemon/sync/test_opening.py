"""Watched projects: opened for good, in the store and under the name that a run needs."""

from __future__ import annotations

from pathlib import Path

import pytest

from pollinator.v1.project_pb2 import ProjectState
from pollinator.v1.run_pb2 import StartRunRequest
from pollinator.wire.errors import InvalidInput, NeedsLogin, NotFound, PollinatorError, WrongState
from support.opening import Place
from support.scripted_executor import moved


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


async def test_a_project_is_opened_once_and_for_good(place: Place) -> None:
    async with place.daemon() as daemon:
        first = await daemon.projects.open(place.root, place.store("s"))
        again = await daemon.projects.open(place.root, None)

        assert first is again
    async with place.daemon() as daemon:
        (project,) = daemon.projects.all()

        assert (place.root, "p", first.store_id) == (project.worker.root, project.name, project.store_id)
        assert project is await daemon.projects.open(place.root, place.store("s"))


async def test_another_store_or_another_name_is_another_worker(place: Place) -> None:
    async with place.daemon() as daemon:
        first = await daemon.projects.open(place.root, place.store("s"))
        second = await daemon.projects.open(place.root, place.store("t"))
        place.name("q")
        third = await daemon.projects.open(place.root, None)

        assert [third] == daemon.projects.all()
        assert 3 == len({first.worker, second.worker, third.worker})
        assert 3 == len({first.store_id, second.store_id, third.store_id})
        assert ("q", place.store("t")) == (third.name, third.settings)


async def test_new_credentials_for_the_same_store_are_used_from_then_on(place: Place) -> None:
    async with place.daemon() as daemon:
        first = await daemon.projects.open(place.root, place.store("s"))
        renewed = await daemon.projects.open(place.root, place.store("./s"))

        assert first.store_id == renewed.store_id
        assert first.worker is not renewed.worker


async def test_a_run_is_sealed_in_its_own_store_and_under_its_own_name(place: Place) -> None:
    async with place.daemon() as daemon:
        accepted = await daemon.projects.open(place.root, place.store("s"))
        run = place.run_of(accepted.store_id)
        await daemon.projects.open(place.root, place.store("t"))
        place.name("q")

        project = await daemon.projects.open_for(run)

        assert ("p", accepted.store_id) == (project.name, project.store_id)
        assert project is await daemon.projects.open_for(run)


async def test_a_run_is_sealed_in_its_store_also_when_its_project_was_forgotten(place: Place) -> None:
    async with place.daemon() as daemon:
        accepted = await daemon.projects.open(place.root, place.store("s"))
        await daemon.projects.forget(str(place.root))

        project = await daemon.projects.open_for(place.run_of(accepted.store_id))

        assert accepted.store_id == project.store_id


async def test_a_store_that_nobody_knows_any_more_is_no_other_store(place: Place) -> None:
    async with place.daemon() as daemon:
        with pytest.raises(NeedsLogin):
            await daemon.projects.open_for(place.run_of("0123456789abcdef"))

        assert [] == daemon.projects.all()


async def test_a_forgotten_project_stays_forgotten_and_keeps_its_files(place: Place) -> None:
    async with place.daemon() as daemon:
        project = await daemon.projects.open(place.root, place.store("s"))
        await daemon.close(place.root)

        with pytest.raises(NotFound):
            daemon.projects.get(str(place.root))
        with pytest.raises(PollinatorError) as caught:
            await project.worker.call(lambda: None)
        assert "project_closed" == caught.value.reason
    async with place.daemon() as daemon:
        assert [] == daemon.projects.all()
    assert (place.root / "project.yaml").exists()


async def test_a_project_of_which_a_run_is_being_sealed_is_not_forgotten(place: Place) -> None:
    async with place.daemon() as daemon:
        project = await daemon.projects.open(place.root, place.store("s"))
        daemon.log.accept(place.run_of(project.store_id), StartRunRequest())

        with pytest.raises(WrongState) as caught:
            await daemon.close(place.root)
        assert "being_sealed" == caught.value.reason
        for state in ("SNAPSHOTTING", "LAUNCHING"):
            daemon.log.append("a", moved(state))
        await daemon.close(place.root)
        assert [] == daemon.projects.all()


async def test_a_project_that_is_gone_says_what_to_do(place: Place) -> None:
    async with place.daemon() as daemon:
        project = await daemon.projects.open(place.root, place.store("s"))
        place.root.rename(place.folder / "moved")

        state = project.describe()

        assert ProjectState.PROJECT_STATE_MISSING == state.state
        assert f"pollinator status --forget {place.root}" in state.problem
        with pytest.raises(NotFound) as caught:
            await daemon.projects.open(place.root, None)
        assert "was the project moved" in caught.value.hint


@pytest.mark.parametrize("text", ["", "projectname: p\n", "projectname: p\nenvironment:\n  cmdd: x\n"])
async def test_a_spec_that_cannot_be_meant_opens_nothing(place: Place, text: str) -> None:
    (place.root / "project.yaml").write_text(text)
    async with place.daemon() as daemon:
        with pytest.raises(InvalidInput):
            await daemon.projects.open(place.root, None)

        assert [] == daemon.projects.all()


async def test_a_store_that_cannot_be_had_leaves_the_other_projects_alone(place: Place) -> None:
    other = Place(place.folder / "other")
    async with place.daemon() as daemon:
        first = await daemon.projects.open(place.root, place.store("s"))
        await daemon.projects.open(other.root, place.store("t"))
    (place.folder / "stores" / first.store_id).unlink()

    async with place.daemon() as daemon:
        assert [other.root] == [project.worker.root for project in daemon.projects.all()]
