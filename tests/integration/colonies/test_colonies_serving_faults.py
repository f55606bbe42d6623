"""What goes wrong while a colony is served: one run all the same, and every line once."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.colonies.sites import Site
from support.colony_site import Serving, serving
from support.containers import apptainer
from support.sandbox import wait_until

pytestmark = pytest.mark.integration

WAITING, RUNNING, SUCCESS, FAILED, CANCELLED = range(5)
APPROVED, GONE = 1, 3
LINES = "".join(f"line {number}\n" for number in range(20))
HELD_UP_S = 3.0
"""Longer than an executor needs to start and to look into the log."""
CRASH_POINTS = (
    "after_colony_assigned",
    "after_colony_kept",
    "before_colony_start",
    "after_colony_start",
    "before_colony_row",
    "before_colony_row:3",
    "after_colony_row",
    "after_colony_row:4",
    "after_colony_results",
    "before_colony_close",
    "after_colony_close",
    "after_colony_closed",
)


@pytest.fixture
def site(colony: Site) -> Iterator[Serving]:
    with serving(colony, "local", "colonies.processes=4", "containers.engines=none") as there:
        yield there
        colony.clear_faults()


def counted(folder: Path, pause_s: float = 0.02) -> str:
    """A command that notes that it runs, prints twenty lines, and ends when it is let go."""
    return (
        f"echo run >> {folder}/runs; "
        f"i=0; while [ $i -lt 20 ]; do echo line $i; i=$((i+1)); sleep {pause_s}; done; "
        f"while [ ! -e {folder}/go ]; do sleep 0.05; done"
    )


def runs(folder: Path) -> int:
    return (folder / "runs").read_text().count("run")


@pytest.mark.parametrize("point", CRASH_POINTS)
def test_a_kill_anywhere_leaves_one_run_and_every_line_once(colony: Site, tmp_path: Path, point: str) -> None:
    (tmp_path / "go").touch()
    crash = {"POLLINATOR_CRASH_AT": f"{point}@{tmp_path}"}
    with serving(colony, "local", "containers.engines=none", **crash) as site:
        # What is printed fast may be fewer rows than it takes.
        process_id = site.submit(counted(tmp_path, 0.2 if ":" in point else 0.02))
        site.died()

        site.start("containers.engines=none")

        assert site.ended(process_id)["state"] == SUCCESS
        wait_until(lambda: site.in_hand() == [], "nothing is in hand any more")
        assert (1, LINES) == (runs(tmp_path), site.printed(process_id))


def test_a_kill_in_the_middle_does_not_lose_the_place_in_the_colony(site: Serving, tmp_path: Path) -> None:
    process_id = site.submit(counted(tmp_path))
    site.prints(process_id, "line 3\n")
    before = site.process(process_id)["assignedexecutorid"]

    site.restart("containers.engines=none")
    (tmp_path / "go").touch()

    ended = site.ended(process_id)
    assert (SUCCESS, before) == (ended["state"], ended["assignedexecutorid"])
    assert (1, LINES) == (runs(tmp_path), site.printed(process_id))


def test_what_is_given_to_one_that_was_killed_while_it_waited_is_not_lost(
    site: Serving, tmp_path: Path
) -> None:
    (tmp_path / "go").touch()
    site.identity()
    site.kill()
    process_id = site.submit(counted(tmp_path))

    site.start("containers.engines=none")

    assert site.ended(process_id)["state"] == SUCCESS
    assert (1, LINES) == (runs(tmp_path), site.printed(process_id))


def test_a_run_that_is_cancelled_where_it_runs_ends_its_process(site: Serving) -> None:
    process_id = site.submit("echo up; sleep 600")
    site.prints(process_id, "up")

    site.cancel_run(process_id)

    ended = site.ended(process_id)
    assert (FAILED, ["cancelled where it ran"]) == (ended["state"], ended["errors"])


def test_a_server_that_is_down_for_a_while_misses_nothing(site: Serving, tmp_path: Path) -> None:
    process_id = site.submit(counted(tmp_path))
    site.prints(process_id, "line 3\n")

    with site.site.stopped():
        (tmp_path / "go").touch()
        wait_until(lambda: site.log.read_text().count("no work from colony") > 2, "it is missed for a while")

    assert site.ended(process_id, 60)["state"] == SUCCESS
    assert (1, LINES) == (runs(tmp_path), site.printed(process_id))


@pytest.mark.double_only("loses answers")
@pytest.mark.parametrize("how", ["cut", "drop", "refuse"])
@pytest.mark.parametrize(
    "kind", ["addlogmsg", "closesuccessfulmsg", "addattributemsg", "assignprocessmsg", "getprocessmsg"]
)
def test_lost_answers_neither_lose_nor_repeat_anything(
    site: Serving, tmp_path: Path, kind: str, how: str
) -> None:
    (tmp_path / "go").touch()
    site.site.double.fault(how, kind, first=1, count=3, caller=site.identity())

    process_id = site.submit(counted(tmp_path))

    assert site.ended(process_id)["state"] == SUCCESS
    assert all(site.site.double.hits())
    assert (1, LINES) == (runs(tmp_path), site.printed(process_id))


@pytest.mark.double_only("holds an answer back")
def test_a_line_that_is_on_its_way_when_the_executor_is_ended_is_there_once(
    site: Serving, tmp_path: Path
) -> None:
    site.site.double.fault("delay", "addlogmsg", seconds=HELD_UP_S, caller=site.identity())
    process_id = site.submit(counted(tmp_path))
    wait_until(lambda: all(site.site.double.hits()), "a line is on its way")
    there_at = time.monotonic() + HELD_UP_S

    site.end()
    site.start("containers.engines=none")
    site.prints(process_id, "line 19\n")
    wait_until(lambda: time.monotonic() > there_at + 0.2, "the server has done what it was asked")
    (tmp_path / "go").touch()

    assert site.ended(process_id)["state"] == SUCCESS
    assert (1, LINES) == (runs(tmp_path), site.printed(process_id))


@pytest.mark.double_only("loses answers")
def test_the_same_line_again_and_again_is_counted(site: Serving) -> None:
    site.site.double.fault("drop", "addlogmsg", first=2, count=1)
    site.site.double.fault("cut", "addlogmsg", first=4, count=1)

    process_id = site.submit("for i in 1 2 3 4 5 6 7 8; do echo tick; sleep 0.3; done")

    assert site.ended(process_id)["state"] == SUCCESS
    assert "tick\n" * 8 == site.printed(process_id)


def test_a_process_that_is_put_back_into_the_queue_while_it_runs_is_still_one_run(
    colony: Site, tmp_path: Path
) -> None:
    # There is no place for any other, but for this one there is.
    with serving(colony, "local", "colonies.processes=1", "containers.engines=none") as site:
        process_id = site.submit(counted(tmp_path), maxexectime=2)
        wait_until(lambda: site.process(process_id)["retries"] > 0, "it is put back")
        site.reaches(process_id, RUNNING)

        (tmp_path / "go").touch()

        assert site.ended(process_id)["state"] == SUCCESS
        assert (1, LINES) == (runs(tmp_path), site.printed(process_id))


def test_a_run_whose_process_somebody_else_was_given_is_ended(colony: Site, tmp_path: Path) -> None:
    with serving(colony, "local", "colonies.processes=1", "containers.engines=none") as site:
        process_id = site.submit(f"echo $$ > {tmp_path}/pid; echo ours; sleep 600", maxexectime=3)
        site.prints(process_id, "ours")
        other = colony.executor("other", site.type)
        taken = threading.Event()

        def take() -> None:
            asked = {"colonyname": colony.name, "timeout": -1, "availablecpu": "", "availablemem": ""}
            while not taken.wait(0.02):
                if site.site.line.ask(other, "assignprocessmsg", **asked).status == 200:
                    taken.set()

        thread = threading.Thread(target=take)
        thread.start()
        try:
            assert taken.wait(20)
        finally:
            taken.set()
            thread.join()

        pid = int((tmp_path / "pid").read_text())
        wait_until(lambda: not Path(f"/proc/{pid}").exists(), "ours is ended")
        assert (RUNNING, other.identity) == (
            site.process(process_id)["state"],
            site.process(process_id)["assignedexecutorid"],
        )
        site.ask("closesuccessfulmsg", other, processid=process_id, out=[])


def test_a_process_that_comes_back_after_it_was_given_up_is_run_anew(colony: Site, tmp_path: Path) -> None:
    with serving(colony, "local", "colonies.processes=1", "containers.engines=none") as site:
        process_id = site.submit(counted(tmp_path), maxexectime=3)
        site.prints(process_id, "line 19\n")
        other = colony.executor("other", site.type)
        asked = {"colonyname": colony.name, "timeout": -1, "availablecpu": "", "availablemem": ""}
        wait_until(
            lambda: site.site.line.ask(other, "assignprocessmsg", **asked).status == 200, "another has it"
        )
        wait_until(lambda: site.in_hand() == [], "it is given up")

        colony.line.ask(colony.owner, "removeexecutormsg", colonyname=colony.name, executorname=other.name)
        (tmp_path / "go").touch()

        assert site.ended(process_id)["state"] == SUCCESS
        assert (2, LINES * 2) == (runs(tmp_path), site.printed(process_id))


@pytest.mark.timeout(300)
def test_a_process_is_not_taken_away_from_who_only_works(colony: Site, tmp_path: Path) -> None:
    """Neither from one that has no place for more, and does not wait for work."""
    with (
        colony.forgetful(4.0, 0.5) as gone_s,
        serving(colony, "local", "colonies.processes=1", "containers.engines=none") as full,
        serving(colony, "local", "colonies.processes=2", "containers.engines=none") as waiting,
    ):
        silent = colony.executor("silent")
        colony.line.ask(silent, "assignprocessmsg", colonyname=colony.name, timeout=-1)
        works = {
            site: site.submit(f"echo run >> {tmp_path}/runs; sleep {2 * gone_s}; echo done")
            for site in (full, waiting)
        }
        given = {site: site.reaches(each, RUNNING)["starttime"] for site, each in works.items()}

        ended = {site: site.ended(each, 3 * gone_s + 30) for site, each in works.items()}

        assert [SUCCESS] * 2 == [each["state"] for each in ended.values()]
        assert given == {site: each["starttime"] for site, each in ended.items()}
        assert (2, ["done\n"] * 2) == (runs(tmp_path), [site.printed(each) for site, each in works.items()])
        standing = {each["executorname"]: each["state"] for each in colony.look("getexecutorsmsg")}
        assert (GONE, APPROVED, APPROVED) == tuple(standing[each.name] for each in (silent, full, waiting))


def test_who_was_taken_out_of_the_colony_is_back_as_the_same(site: Serving, tmp_path: Path) -> None:
    taken_out(site, tmp_path)


@pytest.mark.double_only("is set up in another way for a while")
def test_who_was_taken_out_is_back_also_where_nobody_is_added_again(site: Serving, tmp_path: Path) -> None:
    with site.site.double.settings(reregister=False):
        taken_out(site, tmp_path)


def taken_out(site: Serving, tmp_path: Path) -> None:
    """It goes on with what it has."""
    process_id = site.submit(counted(tmp_path))
    site.prints(process_id, "line 3\n")
    before = site.process(process_id)

    site.ask("removeexecutormsg", site.site.owner, colonyname=site.site.name, executorname=site.name)
    wait_until(lambda: given_again(site, before), "it is given out again")
    (tmp_path / "go").touch()

    ended = site.ended(process_id)
    assert (SUCCESS, before["assignedexecutorid"]) == (ended["state"], ended["assignedexecutorid"])
    assert (1, LINES) == (runs(tmp_path), site.printed(process_id))


def given_again(site: Serving, before: dict[str, Any]) -> bool:
    """The process runs, and began later than that time."""
    now = site.process(before["processid"])
    return bool(now["state"] == RUNNING and now["starttime"] != before["starttime"])


def test_no_more_are_taken_than_there_are_places_for(colony: Site, tmp_path: Path) -> None:
    with serving(colony, "local", "colonies.processes=2", "containers.engines=none") as site:
        command = f"while [ ! -e {tmp_path}/go ]; do sleep 0.05; done"
        ids = [site.submit(command) for _ in range(5)]
        # What asks for nothing is given to whoever says that it has nothing free.
        nothing = site.submit(command, conditions=site.conditions(cpu="0m", mem="0Mi"))

        def states() -> list[int]:
            return [site.process(each)["state"] for each in [*ids, nothing]]

        def started() -> int:
            return len(list((site.state / "runs").iterdir()))

        wait_until(lambda: len(site.in_hand()) == 3, "one more than fits is in hand")
        wait_until(lambda: started() == 2, "two run")
        assert (3, 2) == (states().count(RUNNING), started())
        (tmp_path / "go").touch()

        assert [SUCCESS] * 6 == [site.ended(each)["state"] for each in [*ids, nothing]]


def test_an_image_that_never_comes_holds_up_no_other_process(colony: Site) -> None:
    apptainer()
    settings = ("colonies.processes=4", "containers.engines=apptainer")
    with socket.create_server(("127.0.0.1", 0)) as silent, serving(colony, "local", *settings) as site:
        silent.settimeout(30)
        image = f"127.0.0.1:{silent.getsockname()[1]}/slow:1"
        waits = site.submit("", kwargs={"docker-image": image, "cmd": "true", "args": []})
        asked, _ = silent.accept()

        other = site.ended(site.submit("echo meanwhile"))

        assert (SUCCESS, RUNNING) == (other["state"], site.process(waits)["state"])
        site.ask("cancelprocessmsg", processid=waits)
        asked.close()
