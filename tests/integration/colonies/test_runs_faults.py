"""Runs that go to a colony happen once, completely, whatever is lost, cut off, or killed on the way."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import AsyncIterator
from contextlib import closing, suppress
from typing import Any

import grpc
import pytest

from support.colonies.handing import Handing, handing
from support.colonies.playing import CANCELLED
from support.colonies.public import Public
from support.colonies.sites import Site
from support.executing import CALL_S
from support.s3_servers import S3Server
from support.scripted_executor import until

pytestmark = pytest.mark.integration

POINTS = (
    "after_intent",
    "after_src",
    "after_data",
    "after_lay_out",
    "before_process",
    "after_submitted",
    "after_process",
    "before_ended",
    "before_exit_event",
    "before_collect",
    "after_collect",
    "before_clean",
)


@pytest.fixture
def public(colony: Site, colony_s3: S3Server) -> Public:
    return Public(colony, colony_s3)


@pytest.fixture
async def executor(colony: Site, public: Public, colony_s3: S3Server) -> AsyncIterator[Handing]:
    """A process of its own for each test: it may be killed."""
    seen = colony.seen_by(colony.user(), colony_s3.settings().s3)
    async with handing(seen, image="python:3.12", executor_names=[public.name]) as one:
        yield one


def processes(colony: Site, run: str) -> list[dict[str, Any]]:
    """Those that there are of a run."""
    return colony.processes(label=f"pollinator-{run}")


def holders(executor: Handing) -> set[str]:
    """Runs whose snapshots have to stay, as the executor notes it."""
    with closing(sqlite3.connect(executor.state / "colonies.db")) as database:
        return {holder for (holder,) in database.execute("SELECT holder FROM holders")}


async def taken(public: Public) -> None:
    await asyncio.to_thread(public.take, 40)


@pytest.mark.double_only("loses answers")
@pytest.mark.parametrize("how", ["drop", "late"])
async def test_an_answer_that_is_lost_leads_to_one_process(
    executor: Handing, public: Public, colony: Site, how: str
) -> None:
    colony.double.fault(how, "submitfuncspecmsg", seconds=30.0)
    run = await executor.begins()
    await taken(public)
    public.says("ran\n")
    public.closes()
    ended = await executor.follow(run.id)
    colony.double.clear_faults()

    assert "SUCCEEDED" == ended.states[-1]
    assert 1 == len(processes(colony, run.id))


@pytest.mark.double_only("loses requests")
async def test_a_request_that_is_lost_is_made_again_once_it_cannot_arrive_any_more(
    executor: Handing, public: Public, colony: Site
) -> None:
    colony.double.fault("cut", "submitfuncspecmsg")
    begun = time.monotonic()
    run = await executor.begins()
    await taken(public)
    took_s = time.monotonic() - begun
    public.closes()
    await executor.follow(run.id)

    assert took_s > 14
    assert 1 == len(processes(colony, run.id))


def work(public: Public) -> None:
    """What the executor of the colony does with the process."""
    public.take(40)
    public.says("one\n", "two\n")
    public.leaves({"r": b"result"})
    public.closes()


@pytest.mark.parametrize("point", POINTS)
async def test_a_kill_at_any_point_leads_to_one_process_and_all_of_its_output(
    executor: Handing, public: Public, colony: Site, point: str
) -> None:
    dying = {"POLLINATOR_CRASH_AT": f"{point}@{executor.box.folder}"}
    request = await executor.request()
    await executor.restart(**dying)
    with suppress(grpc.aio.AioRpcError):
        await executor.runs.StartRun(request, timeout=CALL_S)
    working = asyncio.get_running_loop().run_in_executor(None, work, public)
    await executor.ended()
    await executor.start(**dying)
    run = await executor.ask(request)
    await working
    ended = await executor.follow(run.id)

    assert "SUCCEEDED" == ended.states[-1]
    assert {0: b"one\ntwo\n"} == ended.output
    assert b"result" == (await executor.results(ended.run))[b"r"][2]
    assert 1 == len(processes(colony, run.id))
    await until(lambda: not holders(executor), "no run needs a snapshot of its files any more")


async def test_a_kill_between_rows_leaves_no_gap_and_no_repeat(executor: Handing, public: Public) -> None:
    run = await executor.begins()
    await taken(public)
    expected = b""
    for number in range(6):
        row = f"row {number}\n"
        public.says(row)
        expected += row.encode()
        await executor.printed(run.id, row.encode())
        await executor.restart()
    public.closes()
    ended = await executor.follow(run.id)

    assert {0: expected} == ended.output


async def test_a_kill_before_a_cancel_is_sent_cancels_it_all_the_same(
    executor: Handing, public: Public
) -> None:
    dying = {"POLLINATOR_CRASH_AT": f"before_cancel@{executor.box.folder}"}
    await executor.restart(**dying)
    run = await executor.begins()
    await taken(public)
    with suppress(grpc.aio.AioRpcError):
        await executor.cancel(run.id)
    await executor.ended()
    await executor.start(**dying)
    ended = await executor.follow(run.id)

    assert "CANCELLED" == ended.states[-1]
    assert CANCELLED == public.state()


async def test_a_run_waits_for_a_server_that_is_down(executor: Handing, public: Public, colony: Site) -> None:
    request = await executor.request()
    with colony.stopped():
        run = await executor.ask(request)
        told = await executor.reaches(run.id, "LAUNCHING")
    await taken(public)
    public.closes()
    ended = await executor.follow(run.id)

    assert told.id == run.id
    assert "SUCCEEDED" == ended.states[-1]


async def test_a_server_that_goes_away_meanwhile_costs_no_output(
    executor: Handing, public: Public, colony: Site
) -> None:
    run = await executor.begins()
    await taken(public)
    public.says("before\n")
    await executor.printed(run.id, b"before\n")
    with colony.stopped():
        await asyncio.sleep(2.0)
    public.says("after\n")
    await executor.printed(run.id, b"after\n")
    public.closes()
    ended = await executor.follow(run.id)

    assert {0: b"before\nafter\n"} == ended.output


@pytest.mark.double_only("loses requests")
async def test_one_that_is_cancelled_while_the_server_is_down_never_gets_there(
    executor: Handing, public: Public, colony: Site
) -> None:
    request = await executor.request()
    colony.double.fault("cut", "submitfuncspecmsg", count=1000)
    run = await executor.ask(request)
    await executor.reaches(run.id, "QUEUED")
    await executor.cancel(run.id)
    colony.double.clear_faults()
    ended = await executor.follow(run.id)

    assert "CANCELLED" == ended.states[-1]
    assert all(CANCELLED == each["state"] for each in processes(colony, run.id))
