"""What processes print, and their attributes. Of the double, and of a real server if there is one."""

from __future__ import annotations

import hashlib
import time

import pytest

from support.colonies.asking import Said
from support.colonies.playing import RUNNING, SUCCESS, Play
from support.colonies.sites import Site

pytestmark = pytest.mark.integration


@pytest.fixture
def play(colony: Site) -> Play:
    return Play(colony)


def attribute(play: Play, process_id: str, key: str, value: str, kind: int = 3, **by: object) -> Said:
    said = {
        "targetid": process_id,
        "targetcolonyname": play.site.name,
        "attributetype": kind,
        "key": key,
        "value": value,
    }
    return play.site.line.ask(play.executor, "addattributemsg", attribute=said)


def test_rows_come_back_in_order_with_their_nanoseconds(play: Play) -> None:
    process_id = play.run()
    before = time.time_ns()
    texts = ["one\n", "", "two ü\t\x1b[0m", "three"]
    assert [{}] * 4 == [play.log(process_id, each).granted for each in texts]
    after = time.time_ns()

    rows = play.logs(process_id).granted
    assert texts == [each["message"] for each in rows]
    times = [each["timestamp"] for each in rows]
    assert sorted(times) == times
    assert before <= times[0] < times[-1] <= after
    assert {(process_id, play.site.name, play.executor.name)} == {
        (each["processid"], each["colonyname"], each["executorname"]) for each in rows
    }
    assert {"processid", "colonyname", "executorname", "message", "timestamp"} == set(rows[0])


def test_rows_since_a_moment_are_those_after_it(play: Play) -> None:
    process_id = play.run()
    for each in "abcd":
        play.log(process_id, each)
    times = [each["timestamp"] for each in play.logs(process_id).granted]

    assert ["c", "d"] == [each["message"] for each in play.logs(process_id, since=times[1]).granted]
    assert ["c"] == [each["message"] for each in play.logs(process_id, 1, times[1]).granted]
    assert ["b", "c", "d"] == [each["message"] for each in play.logs(process_id, since=times[1] - 1).granted]
    assert play.logs(process_id, since=times[3]).granted is None
    assert ["c", "d"] == [each["message"] for each in play.logs(process_id, 2, latest=True).granted]
    assert play.logs(process_id, 0).granted is None


def test_rows_of_nothing_are_null(play: Play) -> None:
    assert play.logs(play.submit()).granted is None


def test_too_many_rows_are_refused(play: Play) -> None:
    process_id = play.submit()

    assert (403, "Count exceeds max log count (500)") == play.logs(process_id, 501).refusal
    assert (400, "pq: LIMIT must not be negative") == play.logs(process_id, -1).refusal
    assert (500, "Failed to get logs, process does not exist") == play.logs("nosuch").refusal


def test_rows_are_added_while_the_process_runs_only(play: Play) -> None:
    process_id = play.submit()
    not_running = (403, "Failed to set output, process is not running")
    early = play.log(process_id, "early").refusal
    play.assign()
    play.log(process_id, "in time")
    play.close(process_id)
    late = play.log(process_id, "late").refusal

    assert (not_running, not_running) == (early, late)
    assert ["in time"] == [each["message"] for each in play.logs(process_id).granted]
    assert (500, "Failed to add log, process is nil") == play.log("nosuch", "x").refusal


def test_rows_are_added_by_the_executor_that_has_the_process_only(play: Play, colony: Site) -> None:
    process_id = play.run()
    only = "Failed to add log, not allowed to add log, only the assigned Executor may att logs"
    others = (play.user, colony.executor(kind=play.kind))
    said = [colony.line.ask(each, "addlogmsg", processid=process_id, message="x").refusal for each in others]

    assert [(403, only)] * 2 == said


def test_a_row_with_a_nul_is_refused_twice_in_one_answer(play: Play) -> None:
    process_id = play.run()

    assert (400, 'pq: invalid byte sequence for encoding "UTF8": 0x00') == play.log(
        process_id, "a\0b"
    ).refusal
    assert play.logs(process_id).granted is None


def test_half_a_letter_is_replaced(play: Play) -> None:
    process_id = play.run()
    play.log(process_id, "a\ud800b")

    assert "a\ufffdb" == play.logs(process_id).granted[0]["message"]


def test_a_large_row_is_kept_whole(play: Play) -> None:
    process_id = play.run()
    text = "x" * 2_000_000
    play.log(process_id, text)

    assert text == play.logs(process_id).granted[0]["message"]


def test_rows_of_executors_are_found_by_their_name(play: Play, colony: Site) -> None:
    name = play.executor.name
    said = {"colonyname": colony.name, "executorname": name, "message": "hello"}
    assert {} == colony.line.ask(play.executor, "addexecutorlogmsg", **said).granted
    denied = colony.line.ask(play.user, "addexecutorlogmsg", **said).refusal
    process_id = play.run()
    play.log(process_id, "at work")

    rows = play.logs("", executorname=name).granted
    assert [("", "hello"), (process_id, "at work")] == [(each["processid"], each["message"]) for each in rows]
    assert (403, "Failed to add executor log, executor not found") == denied
    missing = play.logs("", executorname="nosuch").refusal
    assert (500, "Failed to get logs, executor does not exist") == missing


def test_rows_are_searched(play: Play, colony: Site) -> None:
    process_id = play.run()
    word = colony.fresh("word")
    play.log(process_id, f"a {word} b")
    asked = {"colonyname": colony.name, "text": word, "days": 1, "count": 10}
    found = colony.line.ask(play.user, "searchlogsmsg", **asked).granted
    many = colony.line.ask(play.user, "searchlogsmsg", **{**asked, "count": 101}).refusal

    assert [f"a {word} b"] == [each["message"] for each in found]
    assert (400, "Count exceeds max log count (100)") == many


def test_an_attribute_becomes_a_variable_of_the_process(play: Play) -> None:
    process_id = play.run(env={"A": "1"})
    said = attribute(play, process_id, "NODES", "a,b").granted
    process = play.get(process_id)

    identity = hashlib.sha3_256(f"{process_id}NODES3".encode()).hexdigest()
    assert {
        "attributeid": identity,
        "targetid": process_id,
        "targetcolonyname": play.site.name,
        "targetprocessgraphid": "",
        "state": 0,
        "attributetype": 3,
        "key": "NODES",
        "value": "a,b",
    } == said
    assert {"A": "1", "NODES": "a,b"} == process["spec"]["env"]
    got = play.site.line.ask(play.user, "getattributemsg", attributeid=identity).granted
    assert "a,b" == got["value"]
    play.close(process_id)
    assert {SUCCESS} == {each["state"] for each in play.get(process_id)["attributes"]}


def test_attributes_of_other_types_are_no_variables(play: Play) -> None:
    process_id = play.run()
    attribute(play, process_id, "X", "1", 1)
    attribute(play, process_id, "X", "2", 2)
    process = play.get(process_id)

    assert {} == process["spec"]["env"]
    assert {(1, "1"), (2, "2")} == {(each["attributetype"], each["value"]) for each in process["attributes"]}


def test_an_attribute_is_set_once(play: Play) -> None:
    """Of the environment as well."""
    process_id = play.run(env={"A": "1"})
    attribute(play, process_id, "B", "1")
    refused = [attribute(play, process_id, key, "2").refusal for key in "AB"]

    why = 'pq: duplicate key value violates unique constraint "prod_attributes_pkey"'
    assert [(400, why)] * 2 == refused
    assert {"A": "1", "B": "1"} == play.get(process_id)["spec"]["env"]


def test_attributes_are_set_by_the_executor_of_a_running_process_only(play: Play) -> None:
    process_id = play.submit()
    early = attribute(play, process_id, "A", "1").refusal
    play.assign()
    said = {"targetid": process_id, "attributetype": 3, "key": "A", "value": "1"}
    denied = play.site.line.ask(play.user, "addattributemsg", attribute=said).refusal

    assert RUNNING == play.get(process_id)["state"]
    assert (403, "Failed to add attribute, process is not running") == early
    only = f"only executor with id <{play.executor.identity}> is allowed to set attributes"
    assert (403, f"Failed to add attribute, {only}") == denied
    missing = attribute(play, "nosuch", "A", "1").refusal
    assert (404, "Failed to add attribute, process not found") == missing
    unknown = play.site.line.ask(play.user, "getattributemsg", attributeid="nosuch").refusal
    assert (400, "Attribute does not exists") == unknown
