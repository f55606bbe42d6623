"""Files that come out of ColonyFS: verified, and never anywhere but in their folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from pollinator.executors.colonies import landing
from pollinator.executors.conformance.trees import random_bytes
from pollinator.wire.errors import Corrupt, InvalidInput, NotFound, WrongState
from support.colonies.machines import Stage, held

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("colony_s3")]

EVIL = [
    ("", "../evil"),
    ("", "/evil"),
    ("", "a/b"),
    ("", ".."),
    ("/..", "evil"),
    ("/a/../..", "evil"),
    ("//a", "evil"),
    ("/", "evil"),
    ("/.", "evil"),
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "outer" / "inner"
    made.mkdir(parents=True)
    return made


async def test_names_that_lead_elsewhere_are_refused_and_the_rest_comes(stage: Stage, folder: Path) -> None:
    here = await stage.machine()
    stage.add(stage.label, "good", b"good")
    for below, name in EVIL:
        stage.add(stage.label + below, name, b"evil")

    pulled = await here.files.pull(stage.label, folder)

    assert {"inner/good": b"good"} == held(folder.parent)
    assert 1 == pulled.files
    assert len(EVIL) == len(pulled.refused)
    assert any("'../evil'" in each for each in pulled.refused)
    assert {"good"} == (await here.files.listing(stage.label)).keys()


@pytest.mark.parametrize(("below", "name"), EVIL)
async def test_nothing_of_a_snapshot_with_such_a_name_comes(
    stage: Stage, folder: Path, below: str, name: str
) -> None:
    here = await stage.machine()
    stage.add(stage.label, "good", b"good")
    stage.add(stage.label + below, name, b"evil")
    snapshot = stage.ask("createsnapshotmsg", label=stage.label, name=stage.label[-20:] + below + name)

    with pytest.raises(InvalidInput, match="leads elsewhere") as caught:
        await here.files.pull_snapshot(snapshot["snapshotid"], folder)

    assert "bad_path" == caught.value.reason
    assert {} == held(folder.parent)


async def test_such_names_of_others_are_in_no_run(stage: Stage) -> None:
    here = await stage.machine()
    for below, name in EVIL:
        stage.add(stage.label + below, name, b"evil")

    for content in (b"1", b"2"):
        snapshot = await here.publish(stage.label, {b"main.py": content})

        assert {"main.py": content} == await here.seen(snapshot)


async def test_a_name_that_the_database_does_not_take_is_an_error(stage: Stage) -> None:
    here = await stage.machine()

    with pytest.raises(InvalidInput, match="is no label"):
        await here.publish(f"{stage.label}\0", {b"main.py": b"1"})


async def test_a_file_within_a_file_is_refused(stage: Stage, folder: Path) -> None:
    here = await stage.machine()
    stage.add(stage.label, "a", b"a file")
    stage.add(f"{stage.label}/a", "b", b"in a file")

    pulled = await here.files.pull(stage.label, folder)

    assert {"a": b"a file"} == held(folder)
    assert ("a file in what is a file: 'a/b'",) == pulled.refused


async def test_a_link_in_the_folder_leads_nowhere(stage: Stage, folder: Path, tmp_path: Path) -> None:
    here = await stage.machine()
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "x").write_bytes(b"mine")
    (folder / "a").symlink_to(outside)
    stage.add(f"{stage.label}/a", "x", b"theirs")

    with pytest.raises(WrongState):
        await here.files.pull(stage.label, folder)

    assert {"x": b"mine"} == held(outside)


async def test_a_link_in_place_of_a_file_is_replaced_and_not_followed(
    stage: Stage, folder: Path, tmp_path: Path
) -> None:
    here = await stage.machine()
    (tmp_path / "mine").write_bytes(b"mine")
    (folder / "x").symlink_to(tmp_path / "mine")
    stage.add(stage.label, "x", b"theirs")

    await here.files.pull(stage.label, folder)

    assert b"mine" == (tmp_path / "mine").read_bytes()
    assert {"x": b"theirs"} == held(folder)


@pytest.mark.parametrize("damage", [b"other" * 100, b"short", b"long" * 1000, b""])
async def test_bytes_that_are_not_what_the_colony_says_are_refused(
    stage: Stage, folder: Path, damage: bytes
) -> None:
    here = await stage.machine()
    added = stage.add(stage.label, "x", b"right" * 100)
    stage.server.put(added["ref"]["s3object"]["object"], damage)
    (folder / "x").write_bytes(b"before")

    with pytest.raises(Corrupt, match="'x'") as caught:
        await here.files.pull(stage.label, folder)

    assert "colony_file_damaged" == caught.value.reason
    assert {"x": b"before"} == held(folder)


async def test_bytes_that_are_nowhere_are_an_error_that_says_so(stage: Stage, folder: Path) -> None:
    here = await stage.machine()
    stage.add(stage.label, "x", b"lost", store=False)

    with pytest.raises(Corrupt, match="are not in s3:"):
        await here.files.pull(stage.label, folder)

    assert {} == held(folder)


async def test_a_file_that_was_damaged_on_its_way_is_fetched_again(
    stage: Stage, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = await stage.machine()
    stage.add(stage.label, "x", b"right" * 100)
    get, told = here.objects.get, list[int]()
    pieces = [b"wrong" * 100]

    def once_wrong(name: str, offset: int, length: int) -> bytes:
        return pieces.pop() if pieces else get(name, offset, length)

    monkeypatch.setattr(here.objects, "get", once_wrong)

    await here.files.pull(stage.label, folder, tell=told.append)

    assert {"x": b"right" * 100} == held(folder)
    assert 500 == told[-1]


async def test_what_is_there_already_is_not_fetched(
    stage: Stage, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = await stage.machine()
    stage.add(stage.label, "same", b"same")
    stage.add(f"{stage.label}/a", "other", b"right")
    (folder / "a").mkdir()
    (folder / "same").write_bytes(b"same")
    (folder / "a" / "other").write_bytes(b"wrong")
    (folder / "more").write_bytes(b"more")
    requests = here.objects.requests

    await here.files.pull(stage.label, folder)

    assert {"same": b"same", "a/other": b"right", "more": b"more"} == held(folder)
    assert 1 == here.objects.requests - requests


async def test_some_files_may_be_asked_for(stage: Stage) -> None:
    here = await stage.machine()
    for name in "abc":
        stage.add(f"{stage.label}/below", name, name.encode())

    assert {"below/b": b"b"} == await here.pulled(stage.label, paths={"below/b", "nothing"})


async def test_a_large_file_comes_in_pieces(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(landing, "PIECE_BYTES", 1000)
    here = await stage.machine()
    data = random_bytes(10_500)
    stage.add(stage.label, "large", data)
    begun, told = list[int](), list[int]()

    found = await here.pulled(stage.label, tell=told.append, begin=begun.append)

    assert {"large": data} == found
    assert [10_500] == begun
    assert [*range(1000, 10_001, 1000), 10_500] == told


async def test_who_is_told_may_end_it_and_nothing_is_left_in_the_making(
    stage: Stage, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(landing, "PIECE_BYTES", 1000)
    here = await stage.machine()
    for number in range(20):
        stage.add(stage.label, f"{number}", random_bytes(5000))

    def tell(done: int) -> None:
        if done > 20_000:
            raise WrongState("cancelled", reason="cancelled")

    with pytest.raises(WrongState, match="cancelled"):
        await here.files.pull(stage.label, folder, tell=tell)

    assert all(5000 == len(data) for data in held(folder).values())


@pytest.mark.double_only("tells what it was asked")
async def test_a_snapshot_is_fetched_without_asking_again_for_what_is_known(
    stage: Stage, folder: Path
) -> None:
    here, there = await stage.machine(), await stage.machine("there")
    snapshot = await here.publish(stage.label, {b"main.py": b"1", b"lib": {b"x": b"2"}})
    await there.seen(snapshot)
    stage.site.double.mark()

    assert {"main.py": b"1", "lib/x": b"2"} == await there.seen(snapshot)
    assert {"getsnapshotmsg": 1} == stage.asked()


async def test_a_snapshot_of_which_a_file_was_removed_is_an_error(stage: Stage, folder: Path) -> None:
    here, there = await stage.machine(), await stage.machine("there")
    snapshot = await here.publish(stage.label, {b"main.py": b"1", b"x": b"2"})
    stage.ask("removefilemsg", label=stage.label, name="x")

    with pytest.raises(NotFound, match=r"1 files of snapshot \w+ are not in the colony"):
        await there.files.pull_snapshot(snapshot.id, folder)

    assert {} == held(folder)


async def test_a_snapshot_that_is_not_there_is_not_found(stage: Stage, folder: Path) -> None:
    here = await stage.machine()

    with pytest.raises(NotFound):
        await here.files.pull_snapshot("0" * 64, folder)


async def test_what_the_original_leaves_in_folders_does_not_come(stage: Stage) -> None:
    here = await stage.machine()
    stage.add(stage.label, ".cfs", b"{}")
    stage.add(f"{stage.label}/a", ".cfs", b"{}")
    stage.add(stage.label, "x", b"x")

    assert {"x": b"x"} == await here.pulled(stage.label)
