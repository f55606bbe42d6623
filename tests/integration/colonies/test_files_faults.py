"""What may go wrong on the way into ColonyFS: nothing is lost, nothing is left, and it can be done again."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
import tracemalloc
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import json_format

from pollinator.chunks.cut import Content
from pollinator.executors.colonies import objects, sending
from pollinator.executors.colonies.messages import File
from pollinator.executors.conformance.trees import Listing, random_bytes
from pollinator.wire.errors import Denied, PollinatorError, Unavailable, WrongState
from support.colonies.asking import stranger
from support.colonies.machines import Machine, Stage, contents_of

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("colony_s3")]

MIB = 1024 * 1024
TREE: Listing = {b"%d" % at: random_bytes(2000, b"%d" % at) for at in range(40)}


def revisions(stage: Stage) -> list[Any]:
    """Of all files of the project."""
    names = [(label, name) for label, files in stage.there(stage.project).items() for name in files]
    return [each for label, name in names for each in stage.revisions(name, label)]


def orphans(stage: Stage) -> set[str]:
    """Objects of the bucket that no file of the project has: its own must not be among them."""
    known = {each["ref"]["s3object"]["object"] for each in revisions(stage)}
    return stage.server.objects().keys() - known


def added_by(here: Machine, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the files that a machine adds from now on."""
    names = list[str]()
    add = here.client.add_file

    async def noted(file: Mapping[str, Any]) -> File:
        names.append(file["name"])
        return await add(file)

    monkeypatch.setattr(here.client, "add_file", noted)
    return names


async def test_progress_is_told_and_adds_up(stage: Stage) -> None:
    here = await stage.machine()
    begun, told = list[int](), list[int]()

    await here.files.publish(stage.label, contents_of(TREE), "run", told.append, begun.append)

    assert [80_000] == begun
    assert 80_000 == told[-1]
    assert sorted(told) == told


async def test_who_is_told_may_end_it_and_the_rest_is_sent_the_next_time(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = await stage.machine()
    before = orphans(stage)

    def tell(done: int) -> None:
        if done > 20_000:
            raise WrongState("cancelled", reason="cancelled")

    with pytest.raises(WrongState, match="cancelled"):
        await here.publish(stage.label, TREE, tell=tell)
    done = len(stage.there().get(stage.label, ()))
    added = added_by(here, monkeypatch)
    snapshot = await here.publish(stage.label, TREE)

    assert 10 <= done < 40
    assert 40 - done == len(added)
    assert 40 == len(await here.seen(snapshot))
    assert before == orphans(stage)


PUBLISH_AND_DIE = """
import asyncio, os, signal, sys
from pathlib import Path
from google.protobuf import json_format
from pollinator.v1.colony_pb2 import Colony
from support.colonies.asking import stranger
from support.colonies.machines import Machine
from integration.colonies.test_files_faults import TREE

def tell(done):
    if done > 30_000:
        os.kill(os.getpid(), signal.SIGKILL)

async def main():
    colony = json_format.Parse(sys.stdin.read(), Colony())
    async with Machine(Path(sys.argv[1]), colony) as machine:
        await machine.publish(sys.argv[2], TREE, tell=tell)

asyncio.run(main())
"""


async def test_who_is_killed_in_the_middle_goes_on_and_leaves_nothing(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = orphans(stage)
    colony = json_format.MessageToJson(stage.site.seen_by(stage.user, stage.server.settings().s3))
    command = [sys.executable, "-c", PUBLISH_AND_DIE, str(stage.folder / "here"), stage.label]
    tests = str(Path(__file__).parents[2])
    env = os.environ | {"PYTHONPATH": tests}
    ended = await asyncio.to_thread(subprocess.run, command, input=colony, text=True, env=env, check=False)
    done = len(stage.there()[stage.label])

    here = await stage.machine()
    added = added_by(here, monkeypatch)
    snapshot = await here.publish(stage.label, TREE)

    assert -signal.SIGKILL == ended.returncode
    assert 15 <= done < 40
    assert len(added) <= 40 - done
    assert 40 == len(await here.seen(snapshot))
    assert before == orphans(stage)


@pytest.mark.double_only("loses answers")
@pytest.mark.parametrize("how", ["cut", "drop"])
async def test_an_answer_that_is_lost_adds_a_file_once(stage: Stage, how: str) -> None:
    here = await stage.machine()
    stage.site.double.fault(how, "addfilemsg", count=2)
    try:
        snapshot = await here.publish(stage.label, {b"main.py": b"1"})
    finally:
        stage.site.double.clear_faults()

    assert {"main.py": b"1"} == await here.seen(snapshot)
    assert 1 == len(stage.revisions("main.py"))


@pytest.mark.double_only("loses answers")
@pytest.mark.parametrize(
    "kind", ["createsnapshotmsg", "removefilemsg", "getprocessesmsg", "getfilelabelsmsg"]
)
@pytest.mark.parametrize("how", ["cut", "drop"])
async def test_other_answers_may_be_lost_too(stage: Stage, kind: str, how: str) -> None:
    here = await stage.machine()
    await here.publish(stage.label, {b"main.py": b"1", b"old": b"2"}, "run 1")
    await here.files.release("run 1")
    stage.site.double.fault(how, kind)
    try:
        snapshot = await here.publish(stage.label, {b"main.py": b"1"})
    finally:
        stage.site.double.clear_faults()

    assert {"main.py": b"1"} == await here.seen(snapshot)
    assert {stage.label: ["main.py"]} == stage.there()


@pytest.mark.double_only("refuses what it may do")
async def test_a_snapshot_that_cannot_be_removed_now_is_removed_later(stage: Stage) -> None:
    here = await stage.machine()
    await here.publish(stage.label, TREE, "run 1")
    stage.site.double.fault("refuse", "removesnapshotmsg")
    await here.files.release("run 1")
    stage.site.double.clear_faults()

    await here.publish(stage.label, TREE, "run 2")

    assert 1 == len([each for each in stage.ask("getsnapshotsmsg") if each["label"] == stage.label])


async def test_a_server_that_is_away_is_an_error_and_nothing_is_sent_twice(stage: Stage) -> None:
    here = await stage.machine()
    before = orphans(stage)
    await here.publish(stage.label, {b"main.py": b"1"})
    with stage.site.stopped(), pytest.raises(Unavailable):
        await here.publish(stage.label, {b"main.py": b"2"})

    snapshot = await here.publish(stage.label, {b"main.py": b"2"})

    assert {"main.py": b"2"} == await here.seen(snapshot)
    assert 2 == len(stage.revisions("main.py"))
    assert before == orphans(stage)


async def test_a_bucket_that_refuses_is_an_error_that_says_why(stage: Stage) -> None:
    stage.server.secret_key, right = "wrong" * 8, stage.server.secret_key
    try:
        stranger = await stage.machine()
    finally:
        stage.server.secret_key = right

    with pytest.raises(PollinatorError) as caught:
        await stranger.publish(stage.label, {b"main.py": b"1"})

    assert caught.value.reason in ("bad_credentials", "store_denied")
    assert {} == stage.there()


async def test_who_is_no_member_is_refused(stage: Stage) -> None:
    nobody = await stage.machine("nobody", stranger())

    with pytest.raises(Denied):
        await nobody.publish(stage.label, {b"main.py": b"1"})


async def test_a_ledger_that_is_lost_is_learned_again_and_nothing_is_sent(stage: Stage) -> None:
    here = await stage.machine()
    await here.publish(stage.label, TREE)
    before = stage.server.objects()

    fresh = await stage.machine("fresh")
    snapshot = await fresh.publish(stage.label, TREE)

    assert before == stage.server.objects()
    assert 40 == len(await here.seen(snapshot))


async def test_a_large_file_goes_in_parts_and_comes_back(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(objects, "PART_BYTES", 5 * MIB)
    here = await stage.machine()
    data = random_bytes(23 * MIB)
    told = list[int]()

    snapshot = await here.publish(stage.label, {b"large": data, b"small": b"1"}, tell=told.append)

    assert {"large": data, "small": b"1"} == await here.seen(snapshot)
    assert 23 * MIB + 1 == told[-1]
    assert len(told) > 5
    assert [] == here.ledger.begun(1, stage.label)


async def test_a_large_file_that_is_there_already_is_read_and_not_sent(stage: Stage) -> None:
    data = random_bytes(9 * MIB)
    await (await stage.machine()).publish(stage.label, {b"large": data})
    before = stage.server.objects()

    await (await stage.machine("there")).publish(stage.label, {b"large": data})

    assert before == stage.server.objects()


async def test_of_a_large_file_that_was_not_sent_whole_nothing_is_left(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(objects, "PART_BYTES", 5 * MIB)
    here = await stage.machine()
    before = orphans(stage)
    aborted = list[str]()
    abort: Callable[..., None] = here.objects.abort

    def noted(name: str, upload: str, tries: int | None = None) -> None:
        aborted.append(upload)
        abort(name, upload, tries)

    monkeypatch.setattr(here.objects, "abort", noted)

    def tell(done: int) -> None:
        if done > 10 * MIB:
            raise WrongState("cancelled", reason="cancelled")

    with pytest.raises(WrongState, match="cancelled"):
        await here.publish(stage.label, {b"large": random_bytes(40 * MIB)}, tell=tell)

    assert 1 == len(aborted)
    assert before == orphans(stage)
    # Whoever was killed had no time for that: it is done again.
    await here.publish(stage.label, {b"main.py": b"1"})
    assert 2 == len(aborted)
    assert [] == here.ledger.begun(1, stage.label)
    assert before == orphans(stage)


async def test_a_huge_file_is_sent_in_little_memory(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(objects, "PART_BYTES", 5 * MIB)
    here = await stage.machine()
    size = 200 * MIB
    contents = contents_of({b"huge": Content(b"", (), ((0, size),), size)})
    tracemalloc.start()
    try:
        await here.files.publish(stage.label, contents, "run")
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert most < 12 * objects.PART_BYTES
    assert size == stage.revisions("huge")[0]["size"]


async def test_many_small_files_are_sent_at_a_time(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    here = await stage.machine()
    put, lock, met = here.objects.put, threading.Lock(), threading.Barrier(8)
    first = list(range(8))

    def together(name: str, data: bytes) -> None:
        with lock:
            waits = bool(first) and first.pop() >= 0
        if waits:
            met.wait(10)
        put(name, data)

    monkeypatch.setattr(here.objects, "put", together)

    await here.publish(stage.label, TREE)

    assert not met.broken


def test_there_are_never_too_many_parts() -> None:
    assert objects.PART_BYTES == objects.part_bytes(9 * MIB)
    assert -(-(10**13) // objects.part_bytes(10**13)) <= objects.MOST_PARTS
    assert objects.PART_BYTES > sending.LARGE_BYTES
