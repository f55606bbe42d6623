"""A snapshot of many files serves again, as long as it is of what is there and wanted."""

from __future__ import annotations

import pytest

from pollinator.executors.colonies import matching
from pollinator.executors.conformance.trees import Listing
from support.colonies.machines import Stage

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("rclone_s3")]

TREE: Listing = {b"main.py": b"print(1)\n", b"lib": {b"__init__.py": b"", b"x.py": b"x"}}
CONTENT = {"main.py": b"print(1)\n", "lib/__init__.py": b"", "lib/x.py": b"x"}


@pytest.fixture(autouse=True)
def _many(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three files are many."""
    monkeypatch.setattr(matching, "MANY", 3)


def snapshots(stage: Stage, label: str = "") -> list[str]:
    """Those that the server has of a label."""
    found = stage.ask("getsnapshotsmsg") or ()
    return [each["snapshotid"] for each in found if each["label"] == (label or stage.label)]


async def test_an_unchanged_tree_of_many_files_has_the_same_snapshot_again(stage: Stage) -> None:
    here = await stage.machine()
    first = await here.publish(stage.label, TREE, "run 1")

    second = await here.publish(stage.label, TREE, "run 2")

    assert first.id == second.id
    assert CONTENT == await here.seen(second)


async def test_it_does_so_after_its_run_has_ended_and_in_the_next_life(stage: Stage) -> None:
    here = await stage.machine()
    first = await here.publish(stage.label, TREE, "run 1")
    await here.files.release("run 1")

    second = await (await stage.machine()).publish(stage.label, TREE, "run 2")

    assert first.id == second.id
    assert [first.id] == snapshots(stage)


@pytest.mark.double_only("tells what it was asked")
async def test_to_have_it_again_costs_a_listing_and_to_have_another_costs_none(stage: Stage) -> None:
    here = await stage.machine()
    await here.publish(stage.label, TREE, "run 1")
    stage.site.double.mark()

    await here.publish(stage.label, TREE, "run 2")

    assert {"getsnapshotmsg": 1, "getfilelabelsmsg": 1, "getfilesmsg": 2} == stage.asked()
    stage.site.double.mark()

    await here.publish(stage.label, {**TREE, b"main.py": b"print(2)\n"}, "run 3")

    assert {"addfilemsg": 1, "createsnapshotmsg": 1} == stage.asked()


async def test_it_stays_until_the_last_run_that_has_it_needs_it_no_more(stage: Stage) -> None:
    here = await stage.machine()
    first = await here.publish(stage.label, TREE, "run 1")
    await here.publish(stage.label, TREE, "run 2")
    changed = await here.publish(stage.label, {**TREE, b"main.py": b"print(2)\n"}, "run 3")

    await here.files.release("run 1")
    assert {first.id, changed.id} == set(snapshots(stage))
    assert CONTENT == await here.seen(first)

    await here.files.release("run 2")
    assert [changed.id] == snapshots(stage)


async def test_one_is_kept_however_many_runs_there_were(stage: Stage) -> None:
    here = await stage.machine()
    for at in range(4):
        await here.publish(stage.label, {**TREE, b"main.py": b"%d" % at}, f"run {at}")
        await here.files.release(f"run {at}")

    last = await here.publish(stage.label, {**TREE, b"main.py": b"3"}, "run")

    assert [last.id] == snapshots(stage)


async def test_a_change_has_a_snapshot_of_its_own(stage: Stage) -> None:
    here = await stage.machine()
    first = await here.publish(stage.label, TREE, "run 1")

    second = await here.publish(stage.label, {**TREE, b"main.py": b"print(2)\n"}, "run 2")
    third = await here.publish(stage.label, TREE, "run 3")

    assert CONTENT | {"main.py": b"print(2)\n"} == await here.seen(second)
    assert CONTENT == await here.seen(third)
    assert 3 == len({first.id, second.id, third.id})


async def test_a_deletion_has_a_snapshot_of_its_own(stage: Stage) -> None:
    here = await stage.machine()
    await here.publish(stage.label, {**TREE, b"old.py": b"2"}, "run 1")
    await here.files.release("run 1")

    second = await here.publish(stage.label, TREE, "run 2")

    assert CONTENT == await here.seen(second)
    assert stage.label == second.label
    assert {stage.label: ["main.py"], f"{stage.label}/lib": ["__init__.py", "x.py"]} == stage.there()


async def test_it_does_not_serve_where_somebody_has_removed_it(stage: Stage) -> None:
    here = await stage.machine()
    first = await here.publish(stage.label, TREE, "run 1")
    stage.ask("removesnapshotmsg", snapshotid=first.id, name="")

    second = await here.publish(stage.label, TREE, "run 2")

    assert first.id != second.id
    assert CONTENT == await here.seen(second)


async def test_it_does_not_serve_where_somebody_has_removed_a_file_of_it(stage: Stage) -> None:
    here = await stage.machine()
    await here.publish(stage.label, TREE, "run 1")
    stage.ask("removefilemsg", label=f"{stage.label}/lib", name="x.py", fileid="")

    assert CONTENT == await here.seen(await here.publish(stage.label, TREE, "run 2"))


async def test_it_does_not_serve_where_the_original_has_sent_a_file_anew(stage: Stage) -> None:
    here = await stage.machine()
    await here.publish(stage.label, TREE, "run 1")
    stage.ask("removefilemsg", label=f"{stage.label}/lib", name="x.py", fileid="")
    stage.add(f"{stage.label}/lib", "x.py", b"x")

    assert CONTENT == await here.seen(await here.publish(stage.label, TREE, "run 2"))


async def test_it_does_not_serve_where_others_have_put_a_file(stage: Stage) -> None:
    here = await stage.machine()
    await here.publish(stage.label, TREE, "run 1")
    stage.add(f"{stage.label}/lib", "theirs.py", b"theirs")

    second = await here.publish(stage.label, TREE, "run 2")

    assert CONTENT == await here.seen(second)
    assert stage.label != second.label


async def test_few_files_have_a_new_one_each_time(stage: Stage) -> None:
    here = await stage.machine()
    first = await here.publish(stage.label, {b"main.py": b"1"}, "run 1")
    second = await here.publish(stage.label, {b"main.py": b"1"}, "run 2")

    assert first.id != second.id
    for holder in ("run 1", "run 2"):
        await here.files.release(holder)
    assert [] == snapshots(stage)
