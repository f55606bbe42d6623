"""Trees in ColonyFS: of the double, or of a real server if there is one. The bucket is real in any case."""

from __future__ import annotations

import json

import pytest

from pollinator.executors.conformance.trees import Listing, random_bytes
from support.colonies.machines import CONTENT, TREE, Stage, contents_of

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("colony_s3")]


async def test_what_was_published_comes_out_of_the_snapshot_and_of_the_label(stage: Stage) -> None:
    here = await stage.machine()
    there = await stage.machine("there")

    snapshot = await here.publish(stage.label, TREE)

    assert CONTENT == await there.seen(snapshot)
    assert CONTENT == await there.pulled(stage.label)
    assert stage.label == snapshot.label


async def test_an_empty_file_has_an_object_for_who_fetches_snapshots_with_the_original(stage: Stage) -> None:
    here = await stage.machine()

    await here.publish(stage.label, {b"main.py": b"1", b"__init__.py": b""})

    named = stage.revisions("__init__.py")[0]["ref"]["s3object"]["object"]
    assert 0 == stage.server.objects()[named]


@pytest.mark.double_only("tells what it was asked")
async def test_an_unchanged_tree_costs_one_call_and_no_request(stage: Stage) -> None:
    here = await stage.machine()
    await here.publish(stage.label, TREE)
    stage.site.double.mark()
    requests = here.objects.requests

    await here.publish(stage.label, TREE)

    assert {"createsnapshotmsg": 1} == stage.asked()
    assert requests == here.objects.requests


@pytest.mark.double_only("tells what it was asked")
async def test_an_unchanged_tree_costs_one_call_in_the_next_life_as_well(stage: Stage) -> None:
    await (await stage.machine()).publish(stage.label, TREE)
    again = await stage.machine()
    stage.site.double.mark()

    snapshot = await again.publish(stage.label, TREE)

    assert {"createsnapshotmsg": 1} == stage.asked()
    assert CONTENT == await again.seen(snapshot)


async def test_one_change_sends_one_object(stage: Stage) -> None:
    here = await stage.machine()
    first = await here.publish(stage.label, TREE)
    before = stage.server.objects()
    if not stage.site.is_real:
        stage.site.double.mark()

    second = await here.publish(stage.label, {**TREE, b"main.py": b"print(2)\n"})

    assert 1 == len(stage.server.objects().keys() - before.keys())
    assert CONTENT | {"main.py": b"print(2)\n"} == await here.seen(second)
    assert CONTENT == await here.seen(first)
    if not stage.site.is_real:
        assert 1 == stage.asked()["addfilemsg"]
        assert 0 == stage.asked()["getfilesmsg"]


async def test_a_tree_of_folders_only_is_in_its_snapshot(stage: Stage) -> None:
    here = await stage.machine()

    snapshot = await here.publish(stage.label, {b"lib": {b"a": b"1"}, b"bin": {b"b": {b"c": b"2"}}})

    assert {"lib/a": b"1", "bin/b/c": b"2"} == await here.seen(snapshot)
    assert {"lib/a": b"1", "bin/b/c": b"2"} == await here.pulled(stage.label)
    # The original program asks like this, and the server forgets what is below a label without files.
    assert 3 == len(stage.ask("getfilelabelsmsg", name=stage.label, exact=True))


async def test_an_empty_tree_has_an_empty_snapshot(stage: Stage) -> None:
    here = await stage.machine()
    await here.publish(stage.label, {b"lib": {b"a": b"1"}}, "run 1")
    await here.files.release("run 1")

    snapshot = await here.publish(stage.label, {})

    assert {} == await here.seen(snapshot)
    assert {} == await here.pulled(stage.label)


async def test_labels_that_begin_alike_do_not_mix(stage: Stage) -> None:
    here = await stage.machine()
    await here.publish(f"{stage.project}/pa", {b"main.py": b"1"})
    await here.publish(f"{stage.project}/pab", {b"lib": {b"x": b"2"}})
    stage.add(f"{stage.project}/pa-c", "y", b"3")

    assert {"main.py": b"1"} == await here.pulled(f"{stage.project}/pa")
    assert {"main.py"} == (await here.files.listing(f"{stage.project}/pa")).keys()
    assert {"main.py": b"1"} == await here.seen(await here.publish(f"{stage.project}/pa", {b"main.py": b"1"}))


async def test_a_label_with_letters_that_mean_more_to_the_server_is_still_one(stage: Stage) -> None:
    here = await stage.machine()
    stage.add(f"{stage.project}/axb/sub", "theirs", b"theirs")

    snapshot = await here.publish(f"{stage.project}/a_b", {b"main.py": b"1"})

    assert {"main.py": b"1"} == await here.seen(snapshot)


async def test_the_keys_of_the_bucket_are_in_no_message(stage: Stage) -> None:
    here = await stage.machine()

    await here.publish(stage.label, TREE)

    everything = json.dumps([stage.revisions("main.py"), stage.ask("getsnapshotsmsg")])
    assert stage.server.secret_key not in everything
    assert stage.server.access_key not in everything
    kept = stage.revisions("main.py")[0]["ref"]["s3object"]
    assert ("", "", "", -1) == (kept["accesskey"], kept["secretkey"], kept["encryptionkey"], kept["port"])
    assert stage.server.endpoint == f"http://{kept['server']}"
    assert stage.server.bucket == kept["bucket"]


async def test_results_are_sent_again_where_somebody_has_changed_them(stage: Stage) -> None:
    here = await stage.machine()
    label = f"{stage.project}/result"
    await here.push(label, {b"out.txt": b"mine"})
    stage.add(label, "out.txt", b"theirs")

    await here.push(label, {b"out.txt": b"mine"})

    assert {"out.txt": b"mine"} == await here.pulled(label)


async def test_results_in_folders_only_are_found_by_the_original(stage: Stage) -> None:
    here = await stage.machine()
    label = f"{stage.project}/result"

    await here.push(label, {b"out": {b"new.txt": b"new"}})

    assert {label, f"{label}/out"} == {
        each["name"] for each in stage.ask("getfilelabelsmsg", name=label, exact=True)
    }


async def test_no_results_leave_nothing(stage: Stage) -> None:
    here = await stage.machine()

    await here.push(f"{stage.project}/result", {})

    assert {} == stage.there(f"{stage.project}/result")


async def test_large_trees_are_listed_and_sent_many_at_a_time(stage: Stage) -> None:
    here, there = await stage.machine(), await stage.machine("there")
    tree: Listing = {
        b"%d" % folder: {b"%d" % at: random_bytes(200, b"%d-%d" % (folder, at)) for at in range(20)}
        for folder in range(15)
    }

    snapshot = await here.publish(stage.label, tree)

    assert 300 == len(await there.seen(snapshot))
    assert 300 == len(await there.files.listing(stage.label))
    assert contents_of(tree).sources.keys() == (await there.files.listing(stage.label)).keys()
