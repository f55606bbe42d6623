"""A label that others use as well: nobody loses a file, and a run sees its own files and no others."""

from __future__ import annotations

import asyncio

import pytest

from pollinator.executors.colonies import matching
from pollinator.executors.colonies.messages import Snapshot
from pollinator.executors.conformance.trees import Listing
from pollinator.wire.errors import Unavailable
from support.colonies.machines import CONTENT, TREE, Machine, Stage, contents_of

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("colony_s3")]


async def test_what_is_deleted_does_not_come_back(stage: Stage) -> None:
    here = await stage.machine()
    await here.publish(stage.label, {b"main.py": b"1", b"old.py": b"2", b"lib": {b"old.py": b"3"}}, "run 1")
    await here.files.release("run 1")
    gone = stage.revisions("old.py")[0]["ref"]["s3object"]["object"]

    snapshot = await here.publish(stage.label, {b"main.py": b"1"})

    assert {"main.py": b"1"} == await here.seen(snapshot)
    assert {"main.py": b"1"} == await (await stage.machine("there")).pulled(stage.label)
    assert {stage.label: ["main.py"]} == stage.there()
    assert gone not in stage.server.objects()


async def test_what_a_queued_run_needs_stays_although_it_is_deleted_here(stage: Stage) -> None:
    here = await stage.machine()
    queued = await here.publish(stage.label, {b"main.py": b"1" * 9, b"old.py": b"2"}, "queued")
    sent = stage.server.objects()

    later = await here.publish(stage.label, {b"main.py": b"1" * 9}, "later")

    assert {"main.py": b"1" * 9} == await here.seen(later)
    assert {"main.py": b"1" * 9, "old.py": b"2"} == await here.seen(queued)
    assert sent == stage.server.objects()

    await here.files.release("queued")
    last = await here.publish(stage.label, {b"main.py": b"1" * 9}, "last")

    assert stage.label == last.label
    assert {stage.label: ["main.py"]} == stage.there()
    assert {"main.py": b"1" * 9} == await here.seen(later)
    assert {"main.py": b"1" * 9} == await here.seen(last)


@pytest.mark.parametrize("change", [{b"a": b"2"}, {b"a": b"1", b"b": b"2"}, {}])
async def test_a_label_that_a_queued_run_will_read_stays_as_it_is(stage: Stage, change: Listing) -> None:
    here = await stage.machine()

    async def publish(tree: Listing, holder: str) -> Snapshot:
        return await here.files.publish(stage.label, contents_of(tree), holder, live=True)

    queued = await publish({b"a": b"1"}, "queued")
    same = await publish({b"a": b"1"}, "same")
    later = await publish(change, "later")

    wanted = {name.decode(): data for name, data in change.items()}
    assert stage.label == queued.label == same.label
    assert {"a": b"1"} == await here.pulled(queued.label)
    assert wanted == await here.pulled(later.label)
    assert wanted == await here.seen(later)

    for holder in ("queued", "same", "later"):
        await here.files.release(holder)
    assert stage.label == (await publish(change, "last")).label
    assert wanted == await here.pulled(stage.label)


@pytest.mark.parametrize("part", ["snapshots", "dirs"])
async def test_what_a_process_of_another_member_needs_stays(stage: Stage, part: str) -> None:
    here = await stage.machine()
    await here.publish(stage.label, {b"main.py": b"1", b"old.py": b"2"}, "run 1")
    await here.files.release("run 1")
    fs = {"mount": "/cfs", part: [{"label": stage.label, "dir": "/src", "snapshotid": "0" * 64}]}
    conditions = {"colonyname": stage.site.name, "executortype": f"none-{stage.project}"}
    spec = {"funcname": "execute", "conditions": conditions, "fs": fs, "maxexectime": 60, "maxwaittime": 60}
    process = stage.ask("submitfuncspecmsg", spec=spec)

    waiting = await here.publish(stage.label, {b"main.py": b"1"}, "run 2")

    assert {stage.label: ["main.py", "old.py"]} == stage.there()
    assert {"main.py": b"1"} == await here.seen(waiting)

    stage.ask("cancelprocessmsg", processid=process["processid"])
    await here.publish(stage.label, {b"main.py": b"1"}, "run 3")

    assert {stage.label: ["main.py"]} == stage.there()


async def test_a_released_snapshot_is_gone_from_the_server(stage: Stage) -> None:
    here = await stage.machine()
    await here.publish(stage.label, TREE, "run 1")
    kept = await here.publish(stage.label, TREE, "run 2")

    await here.files.release("run 1")
    await here.files.release("nobody")

    found = [each for each in stage.ask("getsnapshotsmsg") if each["label"] == stage.label]
    assert [kept.id] == [each["snapshotid"] for each in found]


async def test_files_of_others_stay_and_no_run_sees_them(stage: Stage) -> None:
    here = await stage.machine()
    await here.publish(stage.label, {b"main.py": b"1"})
    stage.add(f"{stage.label}/lib", "theirs.py", b"theirs", member=stage.site.user("other"))

    snapshot = await here.publish(stage.label, {b"main.py": b"2" * 99})

    assert {"main.py": b"2" * 99} == await here.seen(snapshot)
    assert {"main.py": b"2" * 99, "lib/theirs.py": b"theirs"} == await here.pulled(stage.label)
    assert stage.label != snapshot.label


@pytest.mark.double_only("tells what it was asked")
async def test_runs_beside_files_of_others_cost_little(stage: Stage) -> None:
    here = await stage.machine()
    stage.add(stage.label, "theirs.py", b"theirs")
    await here.publish(stage.label, TREE)
    before = stage.server.objects()
    stage.site.double.mark()

    snapshot = await here.publish(stage.label, TREE)

    assert {"getfilemsg": 1, "createsnapshotmsg": 1} == stage.asked()
    assert before == stage.server.objects()
    assert CONTENT == await here.seen(snapshot)


async def test_the_label_itself_serves_again_when_others_have_taken_their_files_away(stage: Stage) -> None:
    here = await stage.machine()
    stage.add(stage.label, "theirs.py", b"theirs")
    await here.publish(stage.label, TREE)
    stage.ask("removefilemsg", label=stage.label, name="theirs.py")

    assert stage.label == (await here.publish(stage.label, TREE)).label


async def test_what_executors_leave_in_a_label_beside_is_removed_when_nobody_reads_it(stage: Stage) -> None:
    here = await stage.machine()
    stage.add(stage.label, "theirs.py", b"theirs")
    first = await here.publish(stage.label, {b"main.py": b"1"}, "run 1")
    stage.add(first.label, "left-over", b"of an earlier run")

    second = await here.publish(stage.label, {b"main.py": b"2"}, "run 2")
    seen = await here.seen(second)
    for holder in ("run 1", "run 2"):
        await here.files.release(holder)
    third = await here.publish(stage.label, {b"main.py": b"3"}, "run 3")

    assert {"main.py": b"2"} == seen
    assert {"main.py": b"3"} == await here.seen(third)
    assert first.label == third.label
    assert {first.label: ["main.py"]} == stage.there(first.label)


async def test_what_others_have_put_there_with_the_same_content_is_not_sent(stage: Stage) -> None:
    await (await stage.machine()).publish(stage.label, TREE)
    before = stage.server.objects()

    snapshot = await (await stage.machine("there")).publish(stage.label, TREE)

    assert before == stage.server.objects()
    assert stage.label == snapshot.label


async def test_a_project_of_the_original_is_taken_over(stage: Stage) -> None:
    here = await stage.machine()
    stage.add(stage.label, "main.py", b"1" * 500)
    stage.add(stage.label, "__init__.py", b"")
    stage.add(f"{stage.label}/lib", "x.py", b"old")
    before = stage.server.objects()

    snapshot = await here.publish(
        stage.label, {b"main.py": b"1" * 500, b"__init__.py": b"", b"lib": {b"x.py": b"new"}}
    )

    assert {"main.py": b"1" * 500, "__init__.py": b"", "lib/x.py": b"new"} == await here.seen(snapshot)
    assert 1 == len(stage.server.objects().keys() - before.keys())


async def test_what_was_synced_once_is_known_and_goes_when_it_is_deleted_here(stage: Stage) -> None:
    here = await stage.machine()
    stage.add(stage.label, "main.py", b"1")
    stage.add(stage.label, "old.py", b"2")
    await here.publish(stage.label, {b"main.py": b"1", b"old.py": b"2"}, "run 1")
    await here.files.release("run 1")

    await here.publish(stage.label, {b"main.py": b"1"})

    assert {stage.label: ["main.py"]} == stage.there()


async def test_results_are_added_and_those_of_others_stay(stage: Stage) -> None:
    here = await stage.machine()
    label = f"{stage.project}/result"
    stage.add(label, "before.txt", b"before")
    stage.add(label, "same.txt", b"same" * 99)
    before = stage.server.objects()

    await here.push(label, {b"same.txt": b"same" * 99, b"out": {b"new.txt": b"new", b"empty": b""}})

    assert {
        "before.txt": b"before",
        "same.txt": b"same" * 99,
        "out/new.txt": b"new",
        "out/empty": b"",
    } == await here.pulled(label)
    assert 2 == len(stage.server.objects().keys() - before.keys())


async def test_two_runs_at_a_time_see_each_what_is_theirs(stage: Stage) -> None:
    here = await stage.machine()
    trees: list[Listing] = [{b"main.py": b"%d" % at, b"only-%d" % at: b"x"} for at in range(4)]

    snapshots = await asyncio.gather(
        *(here.publish(stage.label, tree, f"run {at}") for at, tree in enumerate(trees))
    )

    for at, snapshot in enumerate(snapshots):
        assert {"main.py": b"%d" % at, f"only-{at}": b"x"} == await here.seen(snapshot)


async def test_what_others_change_meanwhile_is_noticed(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    here = await stage.machine()
    await here.publish(stage.label, {b"main.py": b"1"})
    _change_before_snapshots(stage, monkeypatch, here, times=1)

    snapshot = await here.publish(stage.label, {b"main.py": b"2"})

    assert {"main.py": b"2"} == await here.seen(snapshot)


async def test_who_is_never_left_alone_is_told(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    here = await stage.machine()
    _change_before_snapshots(stage, monkeypatch, here, times=matching.TRIES)

    with pytest.raises(Unavailable, match="others change") as caught:
        await here.publish(stage.label, {b"main.py": b"2"})

    assert "colony_contended" == caught.value.reason


def _change_before_snapshots(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, machine: Machine, times: int
) -> None:
    """Somebody else writes main.py just before each of the next snapshots."""
    taken = machine.client.create_snapshot
    left = list(range(times))

    async def late(label: str, name: str) -> object:
        if left:
            await asyncio.to_thread(stage.add, stage.label, "main.py", b"changed %d" % left.pop())
        return await taken(label, name)

    monkeypatch.setattr(machine.client, "create_snapshot", late)
