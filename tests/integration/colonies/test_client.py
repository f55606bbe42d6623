"""Processes by our client, against a server: the double, and a real one if there is one."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable

import pytest

from pollinator.executors.colonies.messages import ENDED, State
from pollinator.executors.colonies.refusals import Unanswered
from pollinator.wire.errors import Denied, InvalidInput, NotFound, Unavailable
from support.colonies.sites import Site
from support.colonies.staging import NOBODY, Stage
from support.scripted_executor import until

pytestmark = pytest.mark.integration


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


# What only the double can be asked to do


@pytest.mark.double_only("tells what it was asked")
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


@pytest.mark.double_only("loses answers")
async def test_an_answer_that_was_lost_may_have_been_a_yes(stage: Stage) -> None:
    label = stage.site.fresh("label")
    stage.site.double.fault("drop", "submitfuncspecmsg", caller=stage.user.rpc.identity)
    with pytest.raises(Unanswered):
        await stage.user.submit(stage.spec(label=label))

    [found] = await stage.user.processes(State.WAITING, label)
    await stage.user.cancel(found.id)


@pytest.mark.double_only("loses answers")
async def test_lost_answers_to_questions_are_asked_for_again(stage: Stage) -> None:
    process = await stage.ended(State.SUCCESS)
    stage.site.double.fault("drop", "getprocessmsg", count=2, caller=stage.user.rpc.identity)

    assert process == await stage.user.process(process.id)
    assert [2] == stage.site.double.hits()[-1:]


@pytest.mark.double_only("loses its database")
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
