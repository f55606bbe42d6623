"""Function specs as a colony keeps them. Of the double, and of a real server if there is one."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Any

import pytest

from support.colonies.playing import WAITING, Play
from support.colonies.sites import Site

pytestmark = pytest.mark.integration

NEVER = re.compile(r"0001-01-01T\d\d:\d\d:\d\d(Z|\+\d\d:\d\d)")

LEAST: dict[str, Any] = {
    "nodename": "",
    "funcname": "",
    "args": [],
    "kwargs": {},
    "priority": 0,
    "maxwaittime": 0,
    "maxexectime": 0,
    "maxretries": 0,
    "label": "",
    "fs": {"mount": "", "snapshots": None, "dirs": None},
    "env": {},
}
LEAST_WANTED: dict[str, Any] = {
    "executornames": None,
    "dependencies": [],
    "nodes": 0,
    "cpu": "0m",
    "processes": 0,
    "processespernode": 0,
    "mem": "0Mi",
    "storage": "0Mi",
    "gpu": {"name": "", "mem": "0Mi", "count": 0, "nodecount": 0},
    "walltime": 0,
}
NEW: dict[str, Any] = {
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
}


@pytest.fixture(scope="module")
def play(colony: Site) -> Play:
    return Play(colony)


def test_the_least_that_is_submitted_comes_back_in_full(play: Play) -> None:
    wanted = {"colonyname": play.site.name, "executortype": play.site.fresh("none")}
    said = play.site.line.ask(play.user, "submitfuncspecmsg", spec={"conditions": wanted}).granted
    times = [said.pop(name) for name in ("starttime", "endtime", "waitdeadline", "execdeadline")]
    submitted = datetime.fromisoformat(said.pop("submissiontime"))
    identity, priority = said.pop("processid"), said.pop("prioritytime")

    assert all(NEVER.fullmatch(each) for each in times)
    assert 64 == len(identity)
    assert abs(priority / 1e9 - submitted.timestamp()) < 0.001
    assert {**LEAST, "conditions": {**LEAST_WANTED, **wanted}} == said.pop("spec")
    assert {**NEW, "initiatorid": play.user.identity, "initiatorname": play.user.name} == said


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


def test_an_environment_with_a_nul_is_refused_and_the_process_is_there_all_the_same(colony: Site) -> None:
    play = Play(colony)
    refused = play.submitted(env={"A": "a\0b"}).refusal
    found = colony.line.ask(
        play.user, "getprocessesmsg", colonyname=colony.name, count=10, state=WAITING, executortype=play.kind
    ).granted

    assert (400, 'pq: invalid byte sequence for encoding "UTF8": 0x00') == refused
    assert [{}] == [each["spec"]["env"] for each in found]


def test_numbers_that_are_too_large_are_refused(play: Play) -> None:
    why = 'pq: value "2147483648" is out of range for type integer'

    assert (400, why) == play.submitted(maxexectime=1 << 31).refusal
    assert (400, why) == play.submitted({"nodes": 1 << 31}).refusal
    assert 200 == play.submitted({"walltime": 1 << 40}).status
