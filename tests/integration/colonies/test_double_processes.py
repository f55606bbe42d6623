"""Processes of a colony from submission to their end. Of the double, and of a real server if there is one."""

from __future__ import annotations

from datetime import datetime

import pytest

from support.colonies.asking import stranger
from support.colonies.playing import CANCELLED, FAILED, RUNNING, SUCCESS, WAITING, Play
from support.colonies.sites import Site

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def play(colony: Site) -> Play:
    return Play(colony)


def listed(play: Play, state: int, **fields: object) -> list[str] | None:
    asked = {"colonyname": play.site.name, "count": 100, "state": state, **fields}
    found = play.site.line.ask(play.user, "getprocessesmsg", **asked).granted
    return None if found is None else [each["processid"] for each in found]


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


def test_errors_that_are_not_given_are_null(colony: Site) -> None:
    play = Play(colony)
    process_id = play.run()
    colony.line.ask(play.executor, "closefailedmsg", processid=process_id)

    assert (FAILED, None) == (play.get(process_id)["state"], play.get(process_id)["errors"])


def test_errors_with_a_nul_are_lost_and_the_process_fails_all_the_same(colony: Site) -> None:
    play = Play(colony)
    process_id = play.run()
    refused = play.fail(process_id, "a\0b").refusal

    assert (400, 'pq: invalid byte sequence for encoding "UTF8": 0x00') == refused
    assert (FAILED, []) == (play.get(process_id)["state"], play.get(process_id)["errors"])


def test_the_owner_of_a_colony_removes_processes_by_state(colony: Site) -> None:
    play = Play(colony)
    process_id = play.submit()
    asked = {"colonyname": colony.name, "state": CANCELLED}
    play.cancel(process_id)
    denied = colony.line.ask(play.user, "removeallprocessesmsg", **asked).refusal
    running = colony.line.ask(colony.owner, "removeallprocessesmsg", **{**asked, "state": RUNNING}).refusal
    assert {} == colony.line.ask(colony.owner, "removeallprocessesmsg", **asked).granted

    assert (403, "Access denied, not colony owner") == denied
    assert (400, "Not possible to remove running processes") == running
    assert 404 == colony.line.ask(play.user, "getprocessmsg", processid=process_id).status


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
