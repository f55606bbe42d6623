"""Who may do what in a colony. Of the double, and of a real server if there is one."""

from __future__ import annotations

import re
from typing import Any

import pytest

from support.colonies.asking import Member, Said, stranger
from support.colonies.playing import RUNNING, Play
from support.colonies.sites import Site

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def user(colony: Site) -> Member:
    return colony.user()


def no_member(colony: Site) -> tuple[int, str]:
    return 403, f"Access denied, not a member of Colony with name <{colony.name}>"


def add_user(colony: Site, by: Member, name: str, identity: str) -> Said:
    user = {"colonyname": colony.name, "userid": identity, "name": name, "email": "e", "phone": "p"}
    return colony.line.ask(by, "addusermsg", user=user)


def add_executor(colony: Site, by: Member, name: str, identity: str, **fields: object) -> Said:
    executor = {
        "executorid": identity,
        "executorname": name,
        "executortype": f"type-{name}",
        "colonyname": colony.name,
        **fields,
    }
    return colony.line.ask(by, "addexecutormsg", executor=executor)


def find_executor(colony: Site, by: Member, name: str) -> dict[str, object]:
    found = colony.line.ask(by, "getexecutorsmsg", colonyname=colony.name).granted
    return next(each for each in found if each["executorname"] == name)


def test_a_stranger_is_no_member(colony: Site) -> None:
    said = colony.line.ask(stranger(), "getexecutorsmsg", colonyname=colony.name)

    assert no_member(colony) == said.refusal


def test_the_owner_of_a_colony_is_no_member_of_it(colony: Site) -> None:
    said = colony.line.ask(colony.owner, "getexecutorsmsg", colonyname=colony.name)

    assert no_member(colony) == said.refusal


def test_nobody_is_a_member_of_a_colony_that_is_not_there(colony: Site, user: Member) -> None:
    said = colony.line.ask(user, "getexecutorsmsg", colonyname="nosuch")

    assert (403, "Colony with name <nosuch> does not exists") == said.refusal


def test_only_the_owner_of_the_server_adds_colonies(colony: Site) -> None:
    said = colony.line.ask(colony.owner, "addcolonymsg", colony={"colonyid": "a" * 64, "name": "mine"})

    assert (403, "Access denied, not server owner") == said.refusal


def test_only_the_owner_of_a_colony_adds_users(colony: Site, user: Member) -> None:
    new = stranger()
    name = colony.fresh("new")
    denied = add_user(colony, user, name, new.identity)
    added = add_user(colony, colony.owner, name, new.identity)

    assert (403, "Access denied, not colony owner") == denied.refusal
    expected = {"colonyname": colony.name, "userid": new.identity, "name": name, "email": "e", "phone": "p"}
    assert expected == added.granted


def test_names_of_users_are_their_own(colony: Site, user: Member) -> None:
    said = add_user(colony, colony.owner, user.name, stranger().identity)

    taken = f"A user with name <{user.name}> already exists in Colony with name <{colony.name}>"
    assert (400, taken) == said.refusal


def test_two_users_may_have_one_key(colony: Site) -> None:
    one = colony.user()
    said = add_user(colony, colony.owner, colony.fresh("new"), one.identity)

    assert one.identity == said.granted["userid"]


def test_a_user_that_was_removed_is_no_member(colony: Site) -> None:
    gone = colony.user()
    colony.line.ask(colony.owner, "removeusermsg", colonyname=colony.name, name=gone.name)

    said = colony.line.ask(gone, "getcolonymsg", colonyname=colony.name)

    assert no_member(colony) == said.refusal


def test_an_executor_that_is_added_waits_for_approval(colony: Site, user: Member) -> None:
    new = stranger()
    name = colony.fresh("new")
    added = add_executor(colony, colony.owner, name, new.identity).granted

    assert (0, name, new.identity) == (added["state"], added["executorname"], added["executorid"])
    assert {"hardware": None, "software": None} == added["capabilities"]
    assert {"projects": None} == added["allocations"]
    assert re.fullmatch(r"0001-01-01T\d\d:\d\d:\d\d(Z|\+\d\d:\d\d)", added["lastheardfromtime"])
    assert "locationname" not in added
    said = colony.line.ask(new, "assignprocessmsg", colonyname=colony.name, timeout=-1)
    assert no_member(colony) == said.refusal


def test_an_executor_that_waits_for_approval_may_look_around(colony: Site) -> None:
    new = colony.executor(approved=False)

    assert new.name == find_executor(colony, new, new.name)["executorname"]


def test_an_executor_in_the_shape_of_before_1_9_6_cannot_be_read(colony: Site) -> None:
    old = {"capabilities": {"hardware": {"model": "m"}, "software": {"name": "n"}}}
    said = add_executor(colony, colony.owner, colony.fresh("old"), stranger().identity, **old)

    assert (400, "Failed to add executor, invalid JSON") == said.refusal


def test_what_an_executor_has_is_given_back_in_full(colony: Site) -> None:
    software = [{"name": "pollinator", "version": "1"}]
    name = colony.fresh("new")
    given = {"capabilities": {"hardware": [{"cores": 8}], "software": software}, "locationname": "here"}
    added = add_executor(colony, colony.owner, name, stranger().identity, **given).granted

    expected = [{"name": "pollinator", "type": "", "version": "1"}]
    assert expected == added["capabilities"]["software"]
    assert (8, None) == (
        added["capabilities"]["hardware"][0]["cores"],
        added["capabilities"]["hardware"][0]["network"],
    )
    assert "here" == added["locationname"]


def test_only_the_owner_of_a_colony_lets_executors_in_and_out(colony: Site, user: Member) -> None:
    new = colony.executor(approved=False)
    named = {"colonyname": colony.name, "executorname": new.name}
    kinds = ("approveexecutormsg", "rejectexecutormsg", "removeexecutormsg")

    assert {(403, "Access denied, not colony owner")} == {
        colony.line.ask(user, kind, **named).refusal for kind in kinds
    }


def test_who_is_not_there_cannot_be_let_in(colony: Site) -> None:
    named = {"colonyname": colony.name, "executorname": "nosuch"}
    said = colony.line.ask(colony.owner, "approveexecutormsg", **named)

    assert (500, "Failed to approve executor, executor is nil") == said.refusal


@pytest.mark.parametrize(("kind", "state"), [("rejectexecutormsg", 2), ("removeexecutormsg", 3)])
def test_an_executor_that_is_out_is_listed_and_takes_no_work(
    colony: Site, user: Member, kind: str, state: int
) -> None:
    gone = colony.executor()
    named = {"colonyname": colony.name, "executorname": gone.name}
    assert {} == colony.line.ask(colony.owner, kind, **named).granted

    said = colony.line.ask(gone, "assignprocessmsg", colonyname=colony.name, timeout=-1)

    assert no_member(colony) == said.refusal
    assert state == find_executor(colony, user, gone.name)["state"]


def test_an_executor_is_added_again_under_its_name_with_another_key(colony: Site, user: Member) -> None:
    """Where the server lets it: the public compose file has it so."""
    old = colony.executor()
    new = stranger()
    added = add_executor(colony, colony.owner, old.name, new.identity).granted

    assert (0, new.identity) == (added["state"], added["executorid"])
    assert new.identity == find_executor(colony, user, old.name)["executorid"]
    said = colony.line.ask(old, "getcolonymsg", colonyname=colony.name)
    assert no_member(colony) == said.refusal


@pytest.mark.double_only("is set up in another way for a while")
def test_without_leave_no_executor_is_added_again(colony: Site) -> None:
    old = colony.executor()
    with colony.double.settings(reregister=False):
        said = add_executor(colony, colony.owner, old.name, stranger().identity)

    assert (400, f"Executor with name <{old.name}> in Colony <{colony.name}> already exists") == said.refusal


def test_only_assigning_shows_that_an_executor_lives(colony: Site, user: Member) -> None:
    executor = colony.executor()
    colony.line.ask(executor, "getcolonymsg", colonyname=colony.name)
    before = find_executor(colony, user, executor.name)["lastheardfromtime"]
    colony.line.ask(executor, "assignprocessmsg", colonyname=colony.name, timeout=-1)
    after = find_executor(colony, user, executor.name)["lastheardfromtime"]

    assert str(before).startswith("0001-01-01T")
    assert not str(after).startswith("0001-01-01T")


def test_an_executor_tells_of_its_own_functions_only(colony: Site) -> None:
    one, other = colony.executor(), colony.executor()
    fun = {"executorname": one.name, "colonyname": colony.name, "funcname": "execute"}
    denied = colony.line.ask(other, "addfunctionmsg", fun=fun)
    added = colony.line.ask(one, "addfunctionmsg", fun=fun).granted

    assert (403, "Not allowed to add a function to another executor") == denied.refusal
    assert ("execute", one.name, 0) == (added["funcname"], added["executorname"], added["counter"])
    assert 64 == len(added["functionid"])


def test_an_executor_changes_what_it_has(colony: Site, user: Member) -> None:
    one, other = colony.executor(), colony.executor()
    said: dict[str, Any] = {
        "colonyname": colony.name,
        "executorname": one.name,
        "capabilities": {"software": []},
    }
    denied = colony.line.ask(other, "updateexecutormsg", **said)

    assert {} == colony.line.ask(one, "updateexecutormsg", **said).granted
    assert {"hardware": None, "software": []} == find_executor(colony, user, one.name)["capabilities"]
    assert (400, "Only an executor can update its own capabilities") == denied.refusal


def test_tests_look_into_a_colony(colony: Site) -> None:
    play = Play(colony)
    process_id = play.run()
    play.log(process_id, "a line")
    label = f"/{colony.fresh('label')}"
    for below, name in ((label, "a"), (f"{label}/sub", "b"), (f"{label}x", "c")):
        file = {"colonyname": colony.name, "label": below, "name": name, "checksum": name.upper()}
        colony.line.ask(play.user, "addfilemsg", file=file)

    assert RUNNING == colony.process(process_id)["state"]
    assert ["a line"] == colony.printed(process_id)
    assert {"a": "A", "sub/b": "B"} == colony.stored(label)
    assert play.executor.identity == colony.executor_named(play.executor.name)["executorid"]


def test_a_list_of_nothing_is_null(colony: Site, user: Member) -> None:
    found = colony.line.ask(user, "getfunctionsmsg", colonyname=colony.name, executorname="nosuch")

    assert found.granted is None
