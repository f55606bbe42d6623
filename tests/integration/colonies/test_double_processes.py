"""Processes of a colony from submission to their end. Of the double, and of a real server if there is one."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Any

import pytest

from support.colonies.asking import stranger
from support.colonies.playing import CANCELLED, FAILED, RUNNING, SUCCESS, WAITING, Play
from support.colonies.sites import Site

pytestmark = pytest.mark.integration

NEVER = re.compile(r"0001-01-01T\d\d:\d\d:\d\d(Z|\+\d\d:\d\d)")


@pytest.fixture(scope="module")
def play(colony: Site) -> Play:
    return Play(colony)


def listed(play: Play, state: int, **fields: object) -> list[str] | None:
    asked = {"colonyname": play.site.name, "count": 100, "state": state, **fields}
    found = play.site.line.ask(play.user, "getprocessesmsg", **asked).granted
    return None if found is None else [each["processid"] for each in found]


def test_the_least_that_is_submitted_comes_back_in_full(play: Play) -> None:
    spec = {"conditions": {"colonyname": play.site.name, "executortype": play.site.fresh("none")}}
    said = play.site.line.ask(play.user, "submitfuncspecmsg", spec=spec).granted
    times = [said.pop(name) for name in ("starttime", "endtime", "waitdeadline", "execdeadline")]
    submitted = datetime.fromisoformat(said.pop("submissiontime"))
    identity = said.pop("processid")
    priority = said.pop("prioritytime")

    assert all(NEVER.fullmatch(each) for each in times)
    assert 64 == len(identity)
    assert abs(priority / 1e9 - submitted.timestamp()) < 0.001
    gpu = {"name": "", "mem": "0Mi", "count": 0, "nodecount": 0}
    conditions: Any = {
        **spec["conditions"],
        "executornames": None,
        "dependencies": [],
        "nodes": 0,
        "cpu": "0m",
        "processes": 0,
        "processespernode": 0,
        "mem": "0Mi",
        "storage": "0Mi",
        "gpu": gpu,
        "walltime": 0,
    }
    expected: Any = {
        "nodename": "",
        "funcname": "",
        "args": [],
        "kwargs": {},
        "priority": 0,
        "maxwaittime": 0,
        "maxexectime": 0,
        "maxretries": 0,
        "conditions": conditions,
        "label": "",
        "fs": {"mount": "", "snapshots": None, "dirs": None},
        "env": {},
    }
    assert expected == said.pop("spec")
    assert {
        "initiatorid": play.user.identity,
        "initiatorname": play.user.name,
        "assignedexecutorid": "",
        "isassigned": False,
        "state": WAITING,
        "retries": 0,
        "attributes": [],
        "waitforparents": False,
        "parents": [],
        "children": [],
        "processgraphid": "",
        "in": [],
        "out": [],
        "errors": [],
    } == said


def test_everything_that_is_known_of_a_spec_comes_back_and_nothing_else(play: Play) -> None:
    snapshot = {"snapshotid": "s", "label": "/l", "dir": "/d", "keepfiles": True, "keepsnapshot": True}
    conflicts = {"onstart": {"keeplocal": True}, "onclose": {"keeplocal": False}}
    folder = {"label": "/r", "dir": "/d", "keepfiles": False, "onconflicts": conflicts}
    given: dict[str, Any] = {
        "nodename": "n",
        "args": ["a", 1, 2.5, None, {"b": [True]}],
        "kwargs": {"cmd": "sh", "rebuild-image": False, "args": ["x"], "pollinator": {"deep": {"er": 1}}},
        "priority": 5,
        "maxwaittime": -1,
        "maxexectime": 599,
        "label": "l",
        "fs": {"mount": "/cfs", "snapshots": [snapshot], "dirs": [folder]},
        "env": {"A": "1"},
        "channels": ["c"],
    }
    wanted = {"executornames": [play.executor.name], "nodes": 2, "processespernode": 3, "walltime": 600}
    misspelt = {**snapshot, "keepsnaphot": True}
    sent = {**given, "unknown": 1, "fs": {**given["fs"], "snapshots": [misspelt]}}
    back = play.submitted({**wanted, "processes-per-node": 9}, **sent).granted["spec"]
    conditions = back.pop("conditions")

    assert given == {name: back[name] for name in given}
    assert "unknown" not in back
    assert wanted == {name: conditions[name] for name in wanted}
    assert "processes-per-node" not in conditions


def test_whole_numbers_lose_their_fraction(play: Play) -> None:
    back = play.submitted(kwargs={"n": 1.0, "m": 1.5}).granted["spec"]

    assert '{"m": 1.5, "n": 1}' == f'{{"m": {back["kwargs"]["m"]}, "n": {back["kwargs"]["n"]}}}'


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ({"cpu": "1500m"}, {"cpu": "1500m"}),
        ({"cpu": "2"}, {"cpu": "0m"}),
        ({"cpu": "0.5"}, {"cpu": "0m"}),
        ({"cpu": "-5m"}, {"cpu": "-5m"}),
        ({"mem": "1000Mi"}, {"mem": "1000Mi"}),
        ({"mem": "2Gi"}, {"mem": "2048Mi"}),
        ({"mem": "2GiB"}, {"mem": "2048Mi"}),
        ({"mem": "1536Ki"}, {"mem": "1Mi"}),
        ({"mem": "1M"}, {"mem": "0Mi"}),
        ({"mem": "10G"}, {"mem": "9536Mi"}),
        ({"storage": ""}, {"storage": "0Mi"}),
        (
            {"gpu": {"mem": "1Gi", "count": 2, "nodecount": 3}},
            {"gpu": {"name": "", "mem": "1024Mi", "count": 2, "nodecount": 0}},
        ),
        ({"executornames": ["*"]}, {"executornames": []}),
        ({"executornames": []}, {"executornames": []}),
        ({"locationname": "here"}, {"locationname": "here"}),
    ],
)
def test_what_is_asked_for_is_read_like_this(
    play: Play, wanted: dict[str, Any], expected: dict[str, Any]
) -> None:
    back = play.submitted(wanted).granted["spec"]["conditions"]

    assert expected == {name: back[name] for name in expected}


@pytest.mark.parametrize(
    ("wanted", "why"),
    [
        ({"cpu": "1.5m"}, "Error converting CPU to int"),
        ({"cpu": "m"}, "Error converting CPU to int"),
        ({"mem": "1000"}, 'error converting memory to int: strconv.ParseInt: parsing "": invalid syntax'),
        ({"mem": "1.5Gi"}, 'error converting memory to int: strconv.ParseInt: parsing "1.5": invalid syntax'),
        ({"mem": "1Ti"}, 'error converting memory to int: strconv.ParseInt: parsing "": invalid syntax'),
        (
            {"storage": "1GB"},
            'error converting memory to int: strconv.ParseInt: parsing "1GB": invalid syntax',
        ),
        ({"mem": "1gi"}, 'error converting memory to int: strconv.ParseInt: parsing "1gi": invalid syntax'),
        ({"locationname": "a\0b"}, 'pq: invalid byte sequence for encoding "UTF8": 0x00'),
    ],
)
def test_what_cannot_be_read_is_refused(play: Play, wanted: dict[str, Any], why: str) -> None:
    assert (400, why) == play.submitted(wanted).refusal


def test_megabytes_are_taken_or_refused_by_chance(play: Play) -> None:
    said = {play.submitted({"mem": "100MB"}).status for _ in range(60)}

    assert {200, 400} == said


def test_a_priority_beyond_the_limits_is_refused(play: Play) -> None:
    why = "Failed to submit function spec, priority outside range [-50000, 50000]"

    assert (400, why) == play.submitted(priority=50_001).refusal
    assert (400, why) == play.submitted(priority=-50_001).refusal
    assert 200 == play.submitted(priority=50_000).status


def test_nothing_cannot_be_submitted(play: Play) -> None:
    said = play.site.line.ask(play.user, "submitfuncspecmsg")

    assert (400, "Failed to submit process spec, msg.FunctionSpec is nil") == said.refusal


@pytest.mark.parametrize(
    "spec", [{"args": "x"}, {"kwargs": []}, {"env": {"A": 1}}, {"maxexectime": 1.5}, {"conditions": "x"}]
)
def test_a_spec_of_other_types_cannot_be_read(play: Play, spec: dict[str, Any]) -> None:
    said = play.site.line.ask(play.user, "submitfuncspecmsg", spec=spec)

    assert (400, "Failed to submit process, invalid JSON") == said.refusal


def test_executors_may_submit(play: Play) -> None:
    spec = play.spec({"executortype": play.site.fresh("none")})
    said = play.site.line.ask(play.executor, "submitfuncspecmsg", spec=spec).granted

    assert play.executor.name == said["initiatorname"]


def test_the_environment_becomes_attributes(play: Play) -> None:
    said = play.submitted({"executortype": play.site.fresh("none")}, env={"A": "1", "B": ""}).granted

    assert {("A", "1", 3, 0), ("B", "", 3, 0)} == {
        (each["key"], each["value"], each["attributetype"], each["state"]) for each in said["attributes"]
    }


def test_a_process_that_is_not_there_is_not_found(play: Play) -> None:
    said = play.site.line.ask(play.user, "getprocessmsg", processid="nosuch")

    assert (404, "Failed to get process, process not found") == said.refusal


def test_only_members_see_a_process(play: Play) -> None:
    process_id = play.submit({"executortype": play.site.fresh("none")})
    said = play.site.line.ask(stranger(), "getprocessmsg", processid=process_id)

    assert (403, f"Access denied, not a member of Colony with name <{play.site.name}>") == said.refusal


def test_every_member_cancels_and_nothing_is_cancelled_twice(colony: Site) -> None:
    play = Play(colony)
    waiting, running = play.submit(priority=-1), play.run()
    other = colony.user()

    assert {} == colony.line.ask(other, "cancelprocessmsg", processid=waiting).granted
    assert {} == colony.line.ask(other, "cancelprocessmsg", processid=running).granted
    assert [CANCELLED, CANCELLED] == [play.get(each)["state"] for each in (waiting, running)]
    assert (400, "Tried to cancel already cancelled process") == play.cancel(running).refusal
    assert play.executor.identity == play.get(running)["assignedexecutorid"]
    assert 404 == play.assign().status


def test_what_is_not_there_is_not_cancelled(play: Play) -> None:
    assert (500, "Failed to cancel process, process is nil") == play.cancel("nosuch").refusal


def test_a_process_that_was_cancelled_cannot_be_closed(colony: Site) -> None:
    play = Play(colony)
    process_id = play.run()
    play.cancel(process_id)

    assert (400, "Tried to set cancelled process as successful") == play.close(process_id, "out").refusal
    assert (400, "Tried to set cancelled process as failed") == play.fail(process_id, "e").refusal
    # It is written all the same.
    assert (["out"], []) == (play.get(process_id)["out"], play.get(process_id)["errors"])


def test_only_the_executor_that_has_a_process_closes_it(colony: Site) -> None:
    play = Play(colony)
    waiting = play.submit()
    line, name = colony.line, "closesuccessfulmsg"
    unassigned = play.close(waiting).refusal
    play.assign()
    denied = line.ask(play.user, name, processid=waiting).refusal
    failed = line.ask(colony.executor(), "closefailedmsg", processid=waiting, errors=["e"]).refusal

    assert (403, "Failed to close process as successful, process is not assigned") == unassigned
    not_allowed = "Failed to close process as successful, not allowed to close process as successful"
    assert (403, not_allowed) == denied
    assert (403, "Failed to close process as failed, not allowed to close process as failed") == failed
    missing = line.ask(play.executor, name, processid="nosuch").refusal
    assert (500, "Failed to close process as successful, process is nil") == missing


def test_a_process_may_be_closed_well_again_and_again(colony: Site) -> None:
    play = Play(colony)
    process_id = play.run()
    first = play.close(process_id, "one", 2)
    ended = play.get(process_id)["endtime"]
    second = play.close(process_id, "two")
    third = play.close(process_id)
    process = play.get(process_id)

    assert ({}, {}, {}) == (first.granted, second.granted, third.granted)
    assert (SUCCESS, ["two"]) == (process["state"], process["out"])
    assert datetime.fromisoformat(ended) < datetime.fromisoformat(process["endtime"])
    assert (400, "Tried to set successful process as failed") == play.fail(process_id, "late").refusal
    assert (400, "Tried to cancel successful process") == play.cancel(process_id).refusal


def test_a_process_fails_once_with_its_errors(colony: Site) -> None:
    play = Play(colony)
    process_id = play.run()
    play.fail(process_id, "one", "two")
    again = play.fail(process_id, "three").refusal
    process = play.get(process_id)

    assert (FAILED, ["one", "two"]) == (process["state"], process["errors"])
    assert (400, "Tried to set failed process as failed") == again
    assert (400, "Tried to set failed process as successful") == play.close(process_id).refusal
    assert (400, "Tried to cancel failed process") == play.cancel(process_id).refusal


def test_a_process_that_ended_stays_that_of_its_executor(colony: Site) -> None:
    play = Play(colony)
    process_id = play.run()
    play.close(process_id)
    process = play.get(process_id)

    assert (play.executor.identity, True) == (process["assignedexecutorid"], process["isassigned"])


def test_the_output_of_a_running_process_is_set(colony: Site) -> None:
    play = Play(colony)
    process_id = play.run()
    line, name = colony.line, "setoutputmsg"
    assert {} == line.ask(play.executor, name, processid=process_id, out=["a"]).granted
    denied = line.ask(play.user, name, processid=process_id, out=["b"]).refusal

    assert (RUNNING, ["a"]) == (play.get(process_id)["state"], play.get(process_id)["out"])
    not_allowed = "Failed to close process as successful, not allowed to close process as successful"
    assert (403, not_allowed) == denied
    play.close(process_id)
    assert ["a"] == play.get(process_id)["out"]
    late = line.ask(play.executor, name, processid=process_id, out=["c"]).refusal
    assert (403, "Failed to set output, process is not running") == late


def test_a_process_is_removed_unless_it_runs(colony: Site) -> None:
    play = Play(colony)
    process_id = play.run()
    line, name = colony.line, "removeprocessmsg"
    refused = line.ask(play.user, name, processid=process_id).refusal
    play.close(process_id)
    assert {} == line.ask(play.user, name, processid=process_id).granted

    assert (400, "Failed to remove process, cannot remove a running process") == refused
    assert 404 == line.ask(play.user, "getprocessmsg", processid=process_id).status


def test_processes_are_listed_by_state_in_an_order_of_its_own(colony: Site) -> None:
    play = Play(colony)
    low, high = play.submit(), play.submit(priority=1)
    waiting = listed(play, WAITING, executortype=play.kind)
    play.assign()
    play.assign()
    running = listed(play, RUNNING, executortype=play.kind)
    play.close(high)
    play.close(low)
    done = listed(play, SUCCESS, executortype=play.kind)

    assert [high, low] == waiting
    assert [high, low] == running
    assert [low, high] == done
    assert [low] == listed(play, SUCCESS, executortype=play.kind, count=1)
    assert listed(play, FAILED, executortype=play.kind) is None


def test_processes_are_found_by_label_and_by_who_submitted_them(colony: Site) -> None:
    play = Play(colony)
    label = colony.fresh("label")
    one, other = play.submit(label=label), play.submit()

    assert [one] == listed(play, WAITING, label=label)
    assert [one, other] == listed(play, WAITING, initiator=play.user.name)
    # The first of these counts alone.
    assert [one, other] == listed(play, WAITING, initiator=play.user.name, label=label)


def test_what_cannot_be_listed_is_refused(play: Play) -> None:
    line, name, of = play.site.line, "getprocessesmsg", {"colonyname": play.site.name}
    many = line.ask(play.user, name, count=101, state=0, **of).refusal
    state = line.ask(play.user, name, count=1, state=5, **of).refusal
    nobody = line.ask(play.user, name, count=1, state=0, initiator="nosuch", **of).refusal

    assert (400, "Count is larger than MaxCount limit <100>") == many
    assert (400, "Failed to get processes, invalid msg.State") == state
    assert (400, "User <nosuch> does not exist") == nobody
