"""Who in a colony may take a run, and what its user should know of them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from pollinator.executors.colonies.messages import Executor
from pollinator.executors.colonies.targets import Choice, choose, pending
from pollinator.v1.spec_pb2 import Kubernetes, RunSpec, Slurm
from pollinator.wire.errors import InvalidInput

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
TYPE = "container-executor"
OURS = {"pollinator": "containers"}


def site(name: str = "lumi-std", **changes: Any) -> Executor:
    """One that asked for work a moment ago."""
    fields: dict[str, Any] = {
        "id": name,
        "type": TYPE,
        "state": 1,
        "last_heard": NOW - timedelta(seconds=20),
        "software": {},
    }
    return Executor(name=name, **fields | changes)


def spec(**changes: Any) -> RunSpec:
    fields: dict[str, Any] = {
        "nodes": 1,
        "processes_per_node": 1,
        "walltime_ms": 1000,
        "memory_bytes": 1,
        "image": "python:3.12",
        "executor_names": ["lumi-std"],
    }
    return RunSpec(**fields | changes)


def refused(wanted: RunSpec, *executors: Executor) -> dict[str, str]:
    """What is wrong, by its place."""
    with pytest.raises(InvalidInput) as caught:
        choose(wanted, "dev", executors, NOW)

    assert "cannot_run_here" == caught.value.reason
    return {each.where: each.message for each in caught.value.violations}


def noticed(wanted: RunSpec, *executors: Executor) -> list[tuple[str, str]]:
    return [(each.code, each.text) for each in choose(wanted, "dev", executors, NOW).notices]


def test_the_executor_that_is_named_may_take_it() -> None:
    assert Choice(("lumi-std",), TYPE, ours=False) == choose(spec(), "dev", [site(), site("other")], NOW)


def test_without_names_any_of_the_type_may() -> None:
    assert Choice((), TYPE, ours=False) == choose(spec(executor_names=[]), "dev", [site()], NOW)


def test_our_own_name_is_none_of_the_colony() -> None:
    assert () == choose(spec(executor_names=["colonies"]), "dev", [site()], NOW).names


def test_the_type_of_the_one_that_is_named_is_asked_for() -> None:
    assert "hpc" == choose(spec(), "dev", [site(type="hpc")], NOW).type


def test_ours_are_known_by_what_they_say_they_are_made_of() -> None:
    ours = site(software=OURS)

    assert choose(spec(), "dev", [ours], NOW).ours
    assert choose(spec(image="", walltime_ms=0), "dev", [ours], NOW).ours
    assert not choose(spec(executor_names=[]), "dev", [ours, site("other")], NOW).ours


def test_a_name_that_nobody_has_is_refused_with_what_was_probably_meant() -> None:
    assert {
        "conditions.executorNames": "the colony dev has no executor 'lumi-sdt'; did you mean 'lumi-std'?"
    } == refused(spec(executor_names=["lumi-sdt"]), site())


def test_a_name_that_nobody_has_beside_one_that_is_there_is_told() -> None:
    names = ["lumi-std", "lumi-gpu"]

    assert [("executor_unknown", "the colony dev has no executor 'lumi-gpu'; did you mean 'lumi-std'?")] == (
        noticed(spec(executor_names=names), site())
    )
    assert ("lumi-std",) == choose(spec(executor_names=names), "dev", [site()], NOW).names


def test_a_colony_without_executors_and_a_type_that_none_has_are_refused() -> None:
    assert {"conditions.executorNames": "the colony dev has no executors at all"} == refused(spec())
    assert {
        "conditions.executorType": "the colony dev has none of type 'gpu'; known are container-executor"
    } == (refused(spec(executor_names=[], executor_type="gpu"), site()))
    assert {"conditions.executorType": "is gpu, but lumi-std is of container-executor"} == (
        refused(spec(executor_type="gpu"), site())
    )


def test_what_public_executors_want_is_not_said_of_names_that_nobody_has() -> None:
    bare = {"image": "", "walltime_ms": 0}

    assert ["conditions.executorNames"] == list(refused(spec(executor_names=["lumi"], **bare), site()))
    assert ["environment.docker", "conditions.walltime"] == list(refused(spec(**bare), site()))


def test_a_run_goes_only_where_it_is_to_be_and_in_the_words_of_who_is_there() -> None:
    executors = [site("a", location="Luleå"), site("b"), site("c", location="Lund")]
    named = choose(spec(executor_names=["a", "b"], location="LULEÅ"), "dev", executors, NOW)
    any_of_them = choose(spec(executor_names=[], location="lund"), "dev", executors, NOW)

    assert (("a",), "Luleå") == (named.names, named.location)
    assert ((), "Lund") == (any_of_them.names, any_of_them.location)
    assert "" == choose(spec(executor_names=["a"]), "dev", executors, NOW).location


@pytest.mark.parametrize(
    ("places", "said"),
    [
        (("Luleå", "Lund"), "; did you mean 'Lund'?"),
        (("Luleå", ""), "; known are Luleå"),
        (("", ""), ": none of them says where it is"),
    ],
)
def test_a_place_where_nobody_is_is_refused(places: tuple[str, str], said: str) -> None:
    executors = [site(place or "x", location=place) for place in places]
    wrong = refused(spec(executor_names=[], image="", location="Lundd"), *executors)

    assert f"no executor that may take the run is at 'Lundd'{said}" in wrong["conditions.location"]


def test_an_image_that_nobody_would_use_is_told_or_refused() -> None:
    host, both = site(software={"pollinator": "host"}), site("b", software=OURS)
    told = "no executor that may take the run has a container engine: the command runs there on the host"

    assert [("no_container_engine", f"{told}, not in python:3.12")] == noticed(spec(), host)
    assert noticed(spec(init_command="make"), host)[0][1].endswith(
        "init-cmd, which is for the image, is left out"
    )
    assert ["environment.docker"] == list(refused(spec(require_container=True), host))
    assert [] == noticed(spec(image=""), host)
    assert [] == noticed(spec(executor_names=[], require_container=True), host, both)


def test_one_that_was_rejected_is_not_there() -> None:
    assert ["conditions.executorNames"] == list(refused(spec(), site(state=2)))


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"last_heard": NOW - timedelta(minutes=12)}, "has not been heard of for 12 minutes"),
        ({"last_heard": NOW - timedelta(hours=30)}, "has not been heard of for 30 hours"),
        ({"last_heard": NOW - timedelta(days=3)}, "has not been heard of for 3 days"),
        ({"last_heard": None}, "has never been heard of"),
        ({"state": 0}, "waits to be approved"),
        ({"state": 3}, "has left the colony"),
    ],
)
def test_one_that_is_away_is_waited_for_and_that_is_told(changes: dict[str, Any], text: str) -> None:
    assert [("executor_away", f"lumi-std {text}; the run waits for it")] == noticed(spec(), site(**changes))


def test_nobody_is_told_of_one_that_is_away_where_another_is_there() -> None:
    assert [] == noticed(spec(executor_names=[]), site(state=3), site("other"))


def test_what_a_colony_never_gives_to_anybody_is_refused() -> None:
    wrong = refused(spec(nodes=128, processes_per_node=500), site())

    assert ["conditions.nodes", "conditions.processesPerNode"] == list(wrong)
    assert ("lumi-std",) == choose(spec(nodes=127, processes_per_node=127), "dev", [site()], NOW).names


def test_what_public_executors_refuse_is_refused_before() -> None:
    assert ["environment.docker", "conditions.walltime"] == list(
        refused(spec(image="", walltime_ms=0), site())
    )


def test_what_public_executors_do_not_know_is_told() -> None:
    wanted = spec(
        rebuild_image=True,
        engine="docker",
        signal="USR1@60",
        requeue=True,
        slurm=Slurm(qos="x"),
        kubernetes=Kubernetes(queue="x"),
        memory_bytes=0,
    )

    assert [
        "environment.rebuildImage is not known to the executors of this colony, and left out",
        "environment.engine is not known to the executors of this colony, and left out",
        "environment.signal is not known to the executors of this colony, and left out",
        "conditions.requeue is not known to the executors of this colony, and left out",
        "slurm is not known to the executors of this colony, and left out",
        "kubernetes is not known to the executors of this colony, and left out",
        "conditions.mem is not set; the executors of this colony want one, and are told 1000Mi",
    ] == [text for _, text in noticed(wanted, site())]
    assert [] == noticed(wanted, site(software=OURS))


CHOICE = Choice(("lumi-std",), TYPE, ours=False)


@pytest.mark.parametrize(
    ("executors", "ahead", "code", "text"),
    [
        ([site()], 0, "queue", "the next of lumi-std that asks for work is given it"),
        ([site()], 1, "queue", "1 process is ahead of it for lumi-std"),
        ([site()], 3, "queue", "3 processes are ahead of it for lumi-std"),
        ([site(state=3)], 3, "executor_away", "lumi-std has left the colony"),
        ([], 0, "executor_away", "lumi-std: not in the colony any more"),
        ([site("other")], 0, "executor_away", "lumi-std: not in the colony any more"),
    ],
)
def test_a_process_that_waits_says_what_for(
    executors: list[Executor], ahead: int, code: str, text: str
) -> None:
    said = pending(CHOICE, executors, ahead, NOW)

    assert (code, text) == (said.code, said.text)
    assert said.action
