"""Executors that serve a colony, and their place in it."""

from __future__ import annotations

import threading
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from support.colonies.asking import Member, stranger
from support.colonies.sites import Site
from support.colony_site import Serving, serving
from support.containers import apptainer
from support.sandbox import wait_until

pytestmark = pytest.mark.integration

WAITING, SUCCESS = 0, 2
UNSET = {"COLONIES_COLONY_PRVKEY": "", "COLONIES_EXECUTOR_NAME": ""}


def test_one_that_was_registered_beforehand_waits_until_it_is_approved(colony: Site) -> None:
    kind = colony.fresh("type")
    known = colony.executor("known", kind, approved=False)
    with serving(colony, "local", "containers.engines=none", COLONIES_PRVKEY=known.key, **UNSET) as site:
        site.type = kind
        process_id = site.submit("echo served")
        wait_until(lambda: "approve" in site.log.read_text(), "it says what it waits for")

        colony.approve(known)

        ended = site.ended(process_id)
        assert (SUCCESS, known.identity) == (ended["state"], ended["assignedexecutorid"])


@contextmanager
def waiting_for_work(colony: Site, kind: str) -> Generator[Member]:
    """Somebody else of this type, who waits for work all the time."""
    other, done = colony.executor("other", kind), threading.Event()
    asked: dict[str, Any] = {"colonyname": colony.name, "availablecpu": "", "availablemem": ""}
    colony.line.ask(other, "assignprocessmsg", **asked, timeout=-1)

    def wait() -> None:
        while not done.is_set():
            colony.line.ask(other, "assignprocessmsg", **asked, timeout=3)

    thread = threading.Thread(target=wait)
    thread.start()
    try:
        yield other
    finally:
        done.set()
        thread.join()


def test_work_is_found_soon_also_where_a_server_tells_somebody_else_of_it(colony: Site) -> None:
    kind = colony.fresh("type")
    patient = ("colonies.beat=60", "containers.engines=none")
    with (
        waiting_for_work(colony, kind),
        serving(colony, "local", *patient, COLONIES_EXECUTOR_TYPE=kind) as site,
    ):
        site.type = kind
        for _ in range(4):
            conditions = site.conditions(executornames=[site.name])
            ended = site.ended(site.submit("true", conditions=conditions), 15)
            assert ended["state"] == SUCCESS


def test_it_makes_its_key_once_and_nobody_else_reads_it(colony: Site) -> None:
    with serving(colony, "local") as site:
        first = site.identity()
        keys = list((site.state / "colony").glob("key.*"))

        site.restart()
        site.ended(site.submit("true"))

        assert first == site.identity()
        assert keys == list((site.state / "colony").glob("key.*"))
        assert [0o600] == [path.stat().st_mode & 0o777 for path in keys]
        assert keys[0].read_text() not in site.log.read_text()


@pytest.mark.double_only("is set up in another way for a while")
def test_a_name_that_somebody_else_has_is_not_taken_from_them(colony: Site) -> None:
    other = colony.executor("taken", "type-other")
    with (
        colony.double.settings(reregister=False),
        serving(colony, "local", COLONIES_EXECUTOR_NAME=other.name) as site,
    ):
        wait_until(lambda: "another executor named" in site.log.read_text(), "it says so")

        there = [each for each in colony.double.executors(colony.name) if each["executorname"] == other.name]
        assert [other.identity] == [each["executorid"] for each in there]


def test_who_submits_work_sees_that_it_is_one_of_ours(colony: Site) -> None:
    with serving(colony, "local") as site:
        site.identity()

        named = site.ask("getexecutorsmsg", colonyname=colony.name)

        there = next(each for each in named if each["executorname"] == site.name)
        assert ["pollinator"] == [each["name"] for each in there["capabilities"]["software"]]


def test_what_the_colony_says_of_images_is_what_is_so_now(colony: Site) -> None:
    apptainer()
    with serving(colony, "local", "containers.engines=apptainer") as site:
        site.identity()
        before = runs_in(site)

        site.restart("containers.engines=none")

        wait_until(lambda: runs_in(site) != before, "it is told")
        assert ("containers", "host") == (before, runs_in(site))


def runs_in(site: Serving) -> str:
    """Where its commands run, as the colony says."""
    (software,) = site.site.executor_named(site.name)["capabilities"]["software"]
    return str(software["type"])


def test_one_that_says_where_it_is_takes_what_is_to_be_there(colony: Site) -> None:
    with serving(colony, "local", "containers.engines=none", COLONIES_EXECUTOR_LOCATION="Lund") as site:
        site.identity()
        elsewhere = site.submit("true", conditions=site.conditions(locationname="Luleå"))
        here = site.submit("true", conditions=site.conditions(locationname="lund"))

        assert SUCCESS == site.ended(here)["state"]
        assert WAITING == site.process(elsewhere)["state"]


def test_where_it_is_stays_as_it_was_registered_which_is_said(colony: Site) -> None:
    with serving(colony, "local", "containers.engines=none", COLONIES_EXECUTOR_LOCATION="Lund") as site:
        site.identity()

        site.restart("containers.engines=none", COLONIES_EXECUTOR_LOCATION="Luleå")

        wait_until(lambda: "not at 'Luleå'" in site.log.read_text(), "it is said")
        assert "Lund" == site.site.executor_named(site.name)["locationname"]


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({"COLONIES_SERVER_HOST": ""}, "COLONIES_SERVER_HOST"),
        ({"COLONIES_EXECUTOR_NAME": ""}, "COLONIES_EXECUTOR_NAME"),
        ({"COLONIES_COLONY_PRVKEY": "abc"}, "COLONIES_COLONY_PRVKEY"),
        ({"COLONIES_COLONY_PRVKEY": "", "COLONIES_PRVKEY": "abc"}, "COLONIES_PRVKEY"),
    ],
)
def test_what_is_wrong_with_the_variables_is_said_at_once_and_no_key_is_repeated(
    colony: Site, environment: dict[str, str], said: str
) -> None:
    with serving(colony, "local", **environment) as site:
        assert 2 == site.wait()

        text = site.log.read_text()
        assert said in text
        assert "abc" not in text


@pytest.mark.parametrize("setting", ["colonies.processes=0", "colonies.beat=often", "colonies.dance=1"])
def test_settings_that_cannot_be_meant_are_named(colony: Site, setting: str) -> None:
    with serving(colony, "local", setting) as site:
        assert 2 == site.wait()

        assert setting.partition("=")[0] in site.log.read_text()


def test_a_stranger_with_a_key_takes_nothing(colony: Site, tmp_path: Path) -> None:
    nobody = stranger()
    with serving(colony, "local", COLONIES_PRVKEY=nobody.key, **UNSET) as site:
        process_id = site.submit(f"touch {tmp_path}/ran")
        wait_until(lambda: nobody.identity in site.log.read_text(), "it says who it is")

        assert 0 == site.process(process_id)["state"]
        assert not (tmp_path / "ran").exists()
