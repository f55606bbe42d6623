"""The queue of a colony: who is given what, and what takes too long. Of the double, and of a real server."""

from __future__ import annotations

import time
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import datetime
from functools import partial
from typing import Any

import pytest

from support.colonies.asking import Member, Said
from support.colonies.playing import FAILED, RUNNING, WAITING, Play
from support.colonies.sites import Site
from support.sandbox import wait_until

pytestmark = pytest.mark.integration

NOTHING = (404, "No process available for assignment")


@pytest.fixture
def play(colony: Site) -> Play:
    return Play(colony)


def test_without_a_timeout_nothing_is_assigned(play: Play) -> None:
    refused = play.assign(timeout=0).refusal

    assert (400, "Invalid timeout value, timeout cannot be zero") == refused


def test_a_user_is_assigned_nothing(play: Play) -> None:
    refused = play.assign(play.user).refusal

    assert (500, "Failed to assign process, executor not found") == refused


def test_a_negative_timeout_does_not_wait(play: Play) -> None:
    start = time.monotonic()

    assert NOTHING == play.assign(timeout=-1).refusal
    assert time.monotonic() - start < 10


def test_who_waits_is_told_after_the_timeout_that_there_is_nothing(play: Play) -> None:
    start = time.monotonic()

    assert NOTHING == play.assign(timeout=1).refusal
    assert 0.9 < time.monotonic() - start < 10


def test_a_process_is_assigned_as_it_was_found(play: Play) -> None:
    submitted = play.submitted(maxexectime=60, env={"A": "1"}).granted
    given = play.assign().granted

    assert (RUNNING, True, play.executor.identity) == (
        given["state"],
        given["isassigned"],
        given["assignedexecutorid"],
    )
    # When it must have ended is seen later only, and the attributes have their state later as well.
    assert submitted["execdeadline"] == given["execdeadline"]
    assert submitted["attributes"] == given["attributes"]
    now = play.get(given["processid"])
    started, deadline = (datetime.fromisoformat(now[name]) for name in ("starttime", "execdeadline"))
    assert 60 == round((deadline - started).total_seconds())
    assert [RUNNING] == [each["state"] for each in now["attributes"]]


def test_the_first_comes_first_and_a_higher_priority_before(play: Play) -> None:
    ids = [play.submit(priority=each) for each in (0, 0, 1, -1, 1)]

    assert [ids[at] for at in (2, 4, 0, 1, 3)] == [play.assign().granted["processid"] for _ in ids]


def test_who_is_named_is_given_it(play: Play, colony: Site) -> None:
    other = colony.executor(kind=play.kind)
    process_id = play.submit({"executornames": ["nosuch", other.name]})

    assert NOTHING == play.assign().refusal
    assert process_id == play.assign(other).granted["processid"]


def test_a_star_is_nobody_where_one_server_gives_all_away(play: Play, colony: Site) -> None:
    play.submit({"executornames": ["*"]})

    assert NOTHING == play.assign().refusal


@pytest.mark.double_only("is set up in another way for a while")
def test_a_star_is_anybody_where_many_servers_give_away(play: Play, colony: Site) -> None:
    process_id = play.submit({"executornames": ["*"]})
    with colony.double.settings(exclusive=False):
        given = play.assign()

    assert process_id == given.granted["processid"]


def test_another_type_is_not_given(play: Play) -> None:
    play.submit({"executortype": f"{play.kind}x"})

    assert NOTHING == play.assign().refusal


@pytest.mark.parametrize(
    ("wanted", "free", "fits"),
    [
        ({"cpu": "1000m"}, {"availablecpu": "1000m"}, True),
        ({"cpu": "1001m"}, {"availablecpu": "1000m"}, False),
        ({"mem": "1024Mi"}, {"availablemem": "1Gi"}, True),
        ({"mem": "1025Mi"}, {"availablemem": "1Gi"}, False),
        ({"cpu": "900000m", "mem": "900Gi"}, {}, True),
        ({"cpu": "1m"}, {"availablecpu": "0m", "availablemem": "0Mi"}, False),
        ({}, {"availablecpu": "0m", "availablemem": "0Mi"}, True),
        ({"cpu": "2"}, {"availablecpu": "0m", "availablemem": "0Mi"}, True),
        ({"nodes": 127}, {}, True),
        ({"nodes": 128}, {}, False),
        ({"processes": 128}, {}, False),
        ({"processespernode": 128}, {}, False),
        ({"storage": "1Ki"}, {}, False),
        ({"gpu": {"count": 99, "name": "none"}, "walltime": 10**9}, {}, True),
        ({"locationname": "elsewhere"}, {}, False),
    ],
)
def test_what_is_wanted_must_fit(
    play: Play, wanted: dict[str, Any], free: dict[str, Any], *, fits: bool
) -> None:
    play.submit(wanted)
    said = play.assign(**free)

    assert (200 if fits else 404) == said.status


@pytest.mark.parametrize(
    ("free", "why"),
    [
        ({"availablecpu": "1.5m"}, "Error converting CPU to int"),
        (
            {"availablemem": "1000"},
            'error converting memory to int: strconv.ParseInt: parsing "": invalid syntax',
        ),
    ],
)
def test_what_is_free_must_be_readable(play: Play, free: dict[str, Any], why: str) -> None:
    assert (400, why) == play.assign(**free).refusal


def test_a_location_is_compared_without_case(play: Play, colony: Site) -> None:
    new = colony.executor(kind=play.kind)
    executor = {
        "executorid": new.identity,
        "executorname": new.name,
        "executortype": play.kind,
        "colonyname": colony.name,
        "locationname": "North",
    }
    colony.line.ask(colony.owner, "addexecutormsg", executor=executor)
    colony.approve(new)
    process_id = play.submit({"locationname": "north"})

    assert NOTHING == play.assign().refusal
    assert process_id == play.assign(new).granted["processid"]


def test_who_waits_is_given_what_is_submitted_meanwhile(play: Play) -> None:
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(play.assign, timeout=20)
        wait_until(lambda: heard_of(play, play.executor), "it asks for work")
        process_id = play.submit()
        given = waiting.result(30)

    assert process_id == given.granted["processid"]


def heard_of(play: Play, executor: Member) -> bool:
    executors = play.site.line.ask(play.user, "getexecutorsmsg", colonyname=play.site.name).granted
    here = next(each for each in executors if each["executorname"] == executor.name)
    return not here["lastheardfromtime"].startswith("0001-")


def test_one_process_is_given_to_one_of_many(play: Play, colony: Site) -> None:
    executors = [colony.executor(kind=play.kind) for _ in range(8)]
    process_id = play.submit()
    with ThreadPoolExecutor(len(executors)) as pool:
        said = list(pool.map(play.assign, executors))

    given = [each.granted["processid"] for each in said if each.status == 200]
    assert [process_id] == given


def test_a_process_that_runs_too_long_waits_again_and_is_another_executors(play: Play, colony: Site) -> None:
    process_id = play.run(maxexectime=1)
    play.wait_for(process_id, WAITING)
    process = play.get(process_id)

    assert ("", False, 1) == (process["assignedexecutorid"], process["isassigned"], process["retries"])
    assert (403, "Failed to set output, process is not running") == play.log(process_id, "late").refusal
    unassigned = "Failed to close process as successful, process is not assigned"
    assert (403, unassigned) == play.close(process_id).refusal
    other = colony.executor(kind=play.kind)
    assert process_id == play.assign(other).granted["processid"]
    only = "Failed to add log, not allowed to add log, only the assigned Executor may att logs"
    assert (403, only) == play.log(process_id, "late").refusal


def test_without_retries_a_process_that_runs_too_long_fails(play: Play) -> None:
    process_id = play.run(maxexectime=1, maxretries=0)
    play.wait_for(process_id, FAILED)

    assert ["Maximum execution time limit exceeded"] == play.why(process_id)
    assert play.executor.identity == play.get(process_id)["assignedexecutorid"]
    assert NOTHING == play.assign().refusal


def test_no_time_at_all_ends_a_process_at_once(play: Play) -> None:
    """Zero is not without limit, as it is for waiting."""
    process_id = play.run(maxexectime=0, maxretries=0)

    play.wait_for(process_id, FAILED)


def test_a_process_without_limits_runs_on(play: Play) -> None:
    endless = play.run(maxexectime=-1, maxwaittime=0)
    short = play.run(maxexectime=1, maxretries=0)
    play.wait_for(short, FAILED)

    assert RUNNING == play.get(endless)["state"]


def test_a_process_that_waits_too_long_fails(play: Play) -> None:
    # Before all others: of those that wait a server looks at the first 1000 only.
    process_id = play.submit(maxwaittime=1, priority=50_000)
    waits = play.submitted(maxwaittime=1).granted["waitdeadline"]
    play.wait_for(process_id, FAILED)

    assert ["Maximum waiting time limit exceeded"] == play.why(process_id)
    assert not waits.startswith("0001-")


def test_the_wait_begins_anew_when_a_process_waits_again(play: Play) -> None:
    process_id = play.run(maxexectime=1, maxwaittime=60)
    before = play.get(process_id)["waitdeadline"]
    play.wait_for(process_id, WAITING)

    assert datetime.fromisoformat(before) < datetime.fromisoformat(play.get(process_id)["waitdeadline"])


def test_what_an_executor_that_is_removed_runs_waits_again(play: Play, colony: Site) -> None:
    process_id = play.run()
    named = {"colonyname": colony.name, "executorname": play.executor.name}
    colony.line.ask(colony.owner, "removeexecutormsg", **named)
    process = play.get(process_id)

    assert (WAITING, "", 0) == (process["state"], process["assignedexecutorid"], process["retries"])


def test_an_executor_that_is_removed_while_it_waits_is_given_work_that_it_cannot_close(
    play: Play, colony: Site
) -> None:
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(play.assign, timeout=20)
        wait_until(lambda: heard_of(play, play.executor), "it asks for work")
        named = {"colonyname": colony.name, "executorname": play.executor.name}
        colony.line.ask(colony.owner, "removeexecutormsg", **named)
        process_id = play.submit()
        given = waiting.result(30)

    assert process_id == given.granted["processid"]
    assert (403, f"Access denied, not a member of Colony with name <{colony.name}>") == play.close(
        process_id
    ).refusal
    assert (RUNNING, play.executor.identity) == (
        play.get(process_id)["state"],
        play.get(process_id)["assignedexecutorid"],
    )


def test_nothing_is_given_away_while_the_colony_pauses(play: Play, colony: Site) -> None:
    of = {"colonyname": colony.name}
    process_id = play.submit()
    denied = colony.line.ask(play.user, "pauseassignmentsmsg", **of).refusal
    colony.line.ask(colony.owner, "pauseassignmentsmsg", **of)
    try:
        at_once, later = play.assign().refusal, play.assign(timeout=1).refusal
        told = colony.line.ask(play.user, "getpausestatusmsg", **of)
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(play.assign, timeout=20)
            colony.line.ask(colony.owner, "resumeassignmentsmsg", **of)
            given = waiting.result(30)
    finally:
        colony.line.ask(colony.owner, "resumeassignmentsmsg", **of)

    assert (403, "Access denied, not colony owner") == denied
    assert (503, "No processes available: colony assignments are paused") == at_once
    assert (408, "Assignment timeout: colony assignments are paused") == later
    assert ("pausestatusreplymsg", True) == (told.kind, told.granted["ispaused"])
    assert process_id == given.granted["processid"]


@pytest.mark.timeout(300)
def test_an_executor_that_is_silent_for_long_is_gone(play: Play, colony: Site) -> None:
    process_id = play.run()
    with colony.forgetful(0.3, 0.1) as gone_s:
        play.wait_for(process_id, WAITING, gone_s + 10.0)

    assert f"not a member of Colony with name <{colony.name}>" in play.log(process_id, "late").refusal[1]


@pytest.mark.timeout(300)
def test_an_executor_that_keeps_asking_stays(play: Play, colony: Site) -> None:
    process_id = play.run()
    with colony.forgetful(0.3, 0.1) as gone_s:
        end = time.monotonic() + 2.0 * gone_s
        wait_until(
            lambda: play.assign().status == 404 and time.monotonic() > end,
            "it has asked for long",
            3.0 * gone_s,
        )

    assert RUNNING == play.get(process_id)["state"]


def test_news_for_one_executor_may_wake_another_only(colony: Site) -> None:
    """Then the one that it is for learns of it when its own wait is over, or when there is other news."""
    assert {True, False} == {learns_in_time(Play(colony), first=first) for first in (True, False)}


def learns_in_time(play: Play, *, first: bool) -> bool:
    """Whether an executor is told of a process that names it; another of its type waits as well."""
    other = play.site.executor(kind=play.kind)
    order = [play.executor, other] if first else [other, play.executor]
    with ThreadPoolExecutor(2) as pool:
        waiting: dict[str, Future[Said]] = {}
        for each in order:
            waiting[each.name] = pool.submit(play.assign, each, timeout=2)
            wait_until(partial(heard_of, play, each), "it asks for work")
        process_id = play.submit({"executornames": [play.executor.name]})
        said = waiting[play.executor.name].result(30)
        assert NOTHING == waiting[other.name].result(30).refusal
    assert said.status == 404 or process_id == said.granted["processid"]
    return said.status == 200
