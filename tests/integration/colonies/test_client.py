"""Every method of our client, against a server: the double, and a real one if there is one."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable
from typing import Any

import pytest

from pollinator.executors.colonies.client import Client
from pollinator.executors.colonies.identity import unique_id
from pollinator.executors.colonies.messages import ENDED, FileRow, Process, State
from pollinator.executors.colonies.refusals import Unanswered
from pollinator.wire.errors import AlreadyExists, Denied, InvalidInput, NotFound, Unavailable
from support.colonies.asking import stranger
from support.colonies.sites import Site
from support.scripted_executor import until

pytestmark = pytest.mark.integration

CHECKSUM = "ab" * 32
NOBODY = "0" * 64


class Stage:
    """A user, an executor, and who owns the colony, each with a line of our own."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.kind = site.fresh("kind")
        self.worker = site.executor(kind=self.kind)
        self.user, self.executor, self.owner = (
            Client(site.seen_by(each)) for each in (site.user(), self.worker, site.owner)
        )

    def spec(self, **fields: Any) -> dict[str, Any]:
        return {
            "funcname": "execute",
            "kwargs": {"cmd": "true", "args": ["ä", "<&>"]},
            "maxwaittime": -1,
            "maxexectime": 60,
            "maxretries": 0,
            "conditions": {
                "colonyname": self.site.name,
                "executornames": [self.worker.name],
                "executortype": self.kind,
                "cpu": "1000m",
                "mem": "10Mi",
            },
            **fields,
        }

    async def running(self) -> Process:
        """A process that the executor has."""
        submitted = await self.user.submit(self.spec())
        assigned = await self.executor.assign(20)

        assert assigned is not None
        assert submitted.id == assigned.id
        return assigned

    async def ended(self, state: State) -> Process:
        """A process that ended so."""
        process = await self.running()
        match state:
            case State.SUCCESS:
                await self.executor.close_successful(process.id)
            case State.FAILED:
                await self.executor.close_failed(process.id, ["no luck"])
            case _:
                await self.user.cancel(process.id)
        return await self.user.process(process.id)


@pytest.fixture
async def stage(colony: Site) -> AsyncIterator[Stage]:
    stage = Stage(colony)
    yield stage
    for client in (stage.user, stage.executor, stage.owner):
        await client.close()


async def test_a_process_is_submitted_and_found(stage: Stage) -> None:
    label = stage.site.fresh("label")
    submitted = await stage.user.submit(stage.spec(label=label, env={"A": "1"}))
    other = await stage.user.submit(stage.spec())

    found = await stage.user.process(submitted.id)
    assert submitted == found
    assert (State.WAITING, "", 0, False) == (found.state, found.executor_id, found.retries, found.has_ended)
    assert (None, None, None) == (found.started, found.ended, found.exec_deadline)
    assert found.submitted is not None
    assert abs(found.submitted.timestamp() - time.time()) < 60
    assert {"A": "1"} == found.attributes
    assert {"cmd": "true", "args": ["ä", "<&>"]} == found.spec["kwargs"]
    assert [submitted.id] == [each.id for each in await stage.user.processes(State.WAITING, label)]
    waiting = [each.id for each in await stage.user.processes(State.WAITING)]
    assert {submitted.id, other.id} <= set(waiting)
    assert [] == await stage.user.processes(State.RUNNING, label)
    for each in (submitted, other):
        await stage.user.cancel(each.id)


async def test_a_process_that_never_was_is_missing(stage: Stage) -> None:
    for asked in (
        stage.user.process(NOBODY),
        stage.user.cancel(NOBODY),
        stage.user.logs(NOBODY),
        stage.executor.close_successful(NOBODY),
        stage.executor.close_failed(NOBODY, []),
        stage.executor.set_output(NOBODY, []),
        stage.executor.add_attribute(NOBODY, "a", "b"),
        stage.executor.add_log(NOBODY, "x"),
        stage.user.reached(NOBODY, ENDED, 10),
    ):
        with pytest.raises(NotFound):
            await asked


async def test_a_spec_that_cannot_be_meant_is_refused(stage: Stage) -> None:
    spec = stage.spec()
    spec["conditions"]["mem"] = "1Ti"

    with pytest.raises(InvalidInput):
        await stage.user.submit(spec)


async def test_work_is_taken_as_soon_as_there_is_some(stage: Stage) -> None:
    async with asyncio.TaskGroup() as group:
        assigned = group.create_task(stage.executor.assign(20))
        submitted = await stage.user.submit(stage.spec())

    taken = assigned.result()
    assert taken is not None
    assert (submitted.id, State.RUNNING) == (taken.id, taken.state)
    assert stage.worker.identity == taken.executor_id == stage.executor.rpc.identity
    found = await stage.user.process(taken.id)
    assert found.started is not None
    assert found.exec_deadline is not None
    assert 60 == round((found.exec_deadline - found.started).total_seconds())


async def test_when_there_is_no_work_none_is_taken(stage: Stage) -> None:
    started = time.monotonic()

    assert await stage.executor.assign(-1) is None
    assert await stage.executor.assign(1) is None
    assert time.monotonic() - started > 0.9


async def test_asking_for_nothing_takes_nothing_and_is_heard(stage: Stage) -> None:
    waiting = await stage.user.submit(stage.spec())

    assert await stage.executor.assign(-1, "0m", "0Mi") is None
    [found] = [each for each in await stage.user.executors() if each.name == stage.worker.name]
    assert found.last_heard is not None
    assert abs(found.last_heard.timestamp() - time.time()) < 60
    await stage.user.cancel(waiting.id)


async def test_a_process_ends_well_with_its_output(stage: Stage) -> None:
    process = await stage.running()
    await stage.executor.set_output(process.id, ["first"])
    before = await stage.user.process(process.id)
    await stage.executor.close_successful(process.id, ["last", 7])
    await stage.executor.close_successful(process.id, ["last", 7])
    after = await stage.user.process(process.id)

    assert (State.RUNNING, ("first",)) == (before.state, before.output)
    assert (State.SUCCESS, ("last", 7), True) == (after.state, after.output, after.has_ended)
    assert after.ended is not None


async def test_a_process_fails_for_reasons(stage: Stage) -> None:
    process = await stage.running()
    await stage.executor.close_failed(process.id, ["out of luck", "exit code 3"])
    after = await stage.user.process(process.id)

    assert (State.FAILED, ("out of luck", "exit code 3")) == (after.state, after.errors)


async def test_a_process_is_cancelled(stage: Stage) -> None:
    process = await stage.running()
    await stage.user.cancel(process.id)

    assert State.CANCELLED == (await stage.user.process(process.id)).state


async def test_attributes_are_set_once_while_it_runs(stage: Stage) -> None:
    process = await stage.running()
    for value in ("a,b", "a,b", "c"):
        await stage.executor.add_attribute(process.id, "NODES", value)

    assert {"NODES": "a,b"} == (await stage.user.process(process.id)).attributes


@pytest.mark.parametrize("state", sorted(ENDED))
async def test_an_end_is_told(stage: Stage, state: State) -> None:
    process = await stage.running()
    async with asyncio.timeout(20), asyncio.TaskGroup() as group:
        told = group.create_task(stage.user.reached(process.id, ENDED, 15))
        assert not await stage.user.reached(process.id, ENDED, 0.3)
        match state:
            case State.SUCCESS:
                await stage.executor.close_successful(process.id)
            case State.FAILED:
                await stage.executor.close_failed(process.id, [])
            case _:
                await stage.user.cancel(process.id)

    assert told.result()


@pytest.mark.parametrize("state", sorted(ENDED))
async def test_an_end_that_was_is_told_as_well(stage: Stage, state: State) -> None:
    process = await stage.ended(state)

    assert state == process.state
    assert await stage.user.reached(process.id, ENDED, 15)


async def test_logs_are_read_from_where_they_were_left(stage: Stage) -> None:
    process = await stage.running()
    for message in ("one\n", "two <&> ä\n", ""):
        await stage.executor.add_log(process.id, message)

    first = await stage.user.logs(process.id, count=1)
    rest = await stage.user.logs(process.id, since_ns=first[-1].time_ns)
    assert ["one\n"] == [each.message for each in first]
    assert ["two <&> ä\n", ""] == [each.message for each in rest]
    assert abs(rest[-1].time_ns / 1e9 - time.time()) < 60
    assert [] == await stage.user.logs(process.id, since_ns=rest[-1].time_ns)


async def test_nothing_is_added_to_what_has_ended(stage: Stage) -> None:
    process = await stage.ended(State.SUCCESS)

    for asked in (
        stage.executor.add_log(process.id, "late"),
        stage.executor.add_attribute(process.id, "a", "b"),
        stage.executor.close_failed(process.id, []),
    ):
        with pytest.raises((Denied, InvalidInput)):
            await asked


async def test_a_file_has_revisions(stage: Stage) -> None:
    label = f"/{stage.site.fresh('files')}"
    first = await stage.user.add_file(file(stage, label, "a", size=1))
    second = await stage.user.add_file(file(stage, label, "a", size=2))

    assert second == await stage.user.file(label, "a")
    assert first == await stage.user.file_by_id(first.id)
    assert first.sequence < second.sequence
    assert (label, "a", 1, CHECKSUM) == (first.label, first.name, first.size, first.checksum)
    assert 64 == len(first.object)
    assert [FileRow("a", CHECKSUM, 2, second.object)] == await stage.user.files(label)
    await stage.user.remove_file(label, "a")
    await stage.user.remove_file(label, "a")
    assert [] == await stage.user.files(label)
    for asked in (stage.user.file(label, "a"), stage.user.file_by_id(second.id)):
        with pytest.raises(NotFound):
            await asked


async def test_labels_are_those_below(stage: Stage) -> None:
    label = f"/{stage.site.fresh('files')}"
    for each in (f"{label}/a", f"{label}/a/b", f"{label}c", f"{label}_"):
        await stage.user.add_file(file(stage, each, "x"))

    assert [f"{label}/a", f"{label}/a/b"] == await stage.user.labels(label)
    assert [f"{label}/a", f"{label}/a/b"] == await stage.user.labels(f"{label}/a")
    assert [] == await stage.user.labels(f"{label}/none")


async def test_a_snapshot_keeps_what_was(stage: Stage) -> None:
    label = f"/{stage.site.fresh('files')}"
    files = [await stage.user.add_file(file(stage, *each)) for each in ((label, "a"), (f"{label}/b", "c"))]
    snapshot = await stage.user.create_snapshot(label, stage.site.fresh("snapshot"))
    await stage.user.add_file(file(stage, label, "a"))

    assert {each.id for each in files} == set(snapshot.file_ids)
    assert snapshot == await stage.user.snapshot(snapshot.id)
    assert label == snapshot.label
    await stage.user.remove_snapshot(snapshot.id)
    with pytest.raises(NotFound):
        await stage.user.snapshot(snapshot.id)


async def test_an_executor_comes_and_goes(stage: Stage) -> None:
    member = stranger(stage.site.fresh("executor"))
    client = Client(stage.site.seen_by(member))
    await stage.owner.add_executor(member.identity, member.name, "kind")
    with pytest.raises(Denied):
        await client.assign(-1)
    await stage.owner.approve_executor(member.name)
    await client.add_function(member.name, "execute")
    assert await client.assign(-1) is None

    assert {(member.name, "kind", member.identity, 1)} <= {
        (each.name, each.type, each.id, each.state) for each in await stage.user.executors()
    }
    await stage.owner.remove_executor(member.name)
    with pytest.raises(Denied):
        await client.assign(-1)
    for asked in (stage.owner.approve_executor("no-such"), stage.owner.remove_executor("no-such")):
        with pytest.raises(NotFound):
            await asked
    await client.close()


async def test_a_name_is_taken_once(stage: Stage) -> None:
    user = stranger("user")
    fields = {"colonyname": stage.site.name, "userid": user.identity, "name": stage.site.fresh("user")}
    await stage.owner.rpc.call("addusermsg", {"user": fields})

    with pytest.raises(AlreadyExists):
        await stage.owner.rpc.call("addusermsg", {"user": fields})


async def test_capabilities_are_told(stage: Stage) -> None:
    member = stranger(stage.site.fresh("executor"))
    capabilities = {"hardware": [], "software": [{"name": "pollinator", "type": "", "version": "1"}]}
    await stage.owner.add_executor(member.identity, member.name, "kind", capabilities)

    [found] = [each for each in await stage.user.executors() if each.name == member.name]
    assert (("pollinator",), 0, None) == (found.software, found.state, found.last_heard)


async def test_the_server_says_its_version_to_anybody(stage: Stage) -> None:
    client = Client(stage.site.seen_by(stranger("nobody")))

    assert await client.version()
    await client.close()


async def test_a_stranger_is_denied_and_told_who_it_is(stage: Stage) -> None:
    nobody = stranger("nobody")
    client = Client(stage.site.seen_by(nobody))
    for asked in (client.submit(stage.spec()), client.executors(), client.files("/a"), client.assign(-1)):
        with pytest.raises(Denied) as caught:
            await asked

        assert nobody.identity in caught.value.hint
    await client.close()


async def test_a_user_is_no_executor_and_no_owner(stage: Stage) -> None:
    for asked in (
        stage.user.assign(-1),
        stage.user.approve_executor(stage.worker.name),
        stage.user.add_executor(NOBODY, "n", "t"),
    ):
        with pytest.raises(Denied):
            await asked


async def test_a_colony_that_is_none_is_denied(stage: Stage) -> None:
    seen = stage.site.seen_by(stranger("nobody"))
    seen.name = "no-such-colony"
    client = Client(seen)

    with pytest.raises(Denied, match="no-such-colony"):
        await client.executors()
    await client.close()


# What only the double can be asked to do


async def test_a_server_that_was_away_is_spoken_to_again(stage: Stage) -> None:
    process = await stage.running()
    double = stage.site.double
    double.mark()
    async with asyncio.TaskGroup() as group:
        told = group.create_task(failure(stage.user.reached(process.id, ENDED, 15)))
        assigned = group.create_task(failure(stage.executor.assign(15)))
        await until(lambda: len(double.asked("subscribeprocessmsg")) == len(ENDED), "subscriptions")
        await until(lambda: len(double.asked("assignprocessmsg")) == 1, "a poll")
        double.stop()
    away = await failure(stage.user.process(process.id))
    double.start()

    assert ("colony_cut", "colony_cut", "colony_down") == (told.result(), assigned.result(), away)
    assert process.id == (await stage.user.process(process.id)).id


async def test_an_answer_that_was_lost_may_have_been_a_yes(stage: Stage) -> None:
    label = stage.site.fresh("label")
    stage.site.double.fault("drop", "submitfuncspecmsg", caller=stage.user.rpc.identity)
    with pytest.raises(Unanswered):
        await stage.user.submit(stage.spec(label=label))

    [found] = await stage.user.processes(State.WAITING, label)
    await stage.user.cancel(found.id)


async def test_lost_answers_to_questions_are_asked_for_again(stage: Stage) -> None:
    process = await stage.ended(State.SUCCESS)
    stage.site.double.fault("drop", "getprocessmsg", count=2, caller=stage.user.rpc.identity)

    assert process == await stage.user.process(process.id)
    assert [2] == stage.site.double.hits()[-1:]


async def test_a_database_that_is_away_is_no_refusal(stage: Stage) -> None:
    for status in (400, 403, 500):
        stage.site.double.fault("refuse", "addlogmsg", status=status, caller=stage.executor.rpc.identity)
        with pytest.raises(Unanswered) as caught:
            await stage.executor.add_log(NOBODY, "x")

        assert "colony_failed" == caught.value.reason


async def failure(asked: Awaitable[object]) -> str:
    """The reason why something has no answer."""
    with pytest.raises(Unavailable) as caught:
        await asked
    return caught.value.reason


def file(stage: Stage, label: str, name: str, size: int = 3) -> dict[str, Any]:
    """A revision whose bytes are somewhere."""
    kept = {"server": "s3:9000", "port": -1, "tls": False, "accesskey": "", "secretkey": "", "region": ""}
    kept |= {"encryptionkey": "", "encryptionalg": "", "object": unique_id(), "bucket": "b"}
    return {
        "colonyname": stage.site.name,
        "label": label,
        "name": name,
        "size": size,
        "checksum": CHECKSUM,
        "checksumalg": "SHA256",
        "ref": {"protocol": "s3", "s3object": kept},
    }
