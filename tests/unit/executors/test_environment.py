"""What every rank finds in its environment."""

from __future__ import annotations

from pathlib import Path

from pollinator.executors.base import Job
from pollinator.executors.environment import CONTRACT, RankPlace, base_environment, rank_environment
from pollinator.v1.run_pb2 import Origin, SnapshotSource
from pollinator.v1.spec_pb2 import EnvironmentVariable, RunSpec


def environment(*variables: tuple[str, str]) -> dict[str, str]:
    given = [EnvironmentVariable(name=name, value=value) for name, value in variables]
    spec = RunSpec(project="p", nodes=2, processes_per_node=3, environment=given)
    place = RankPlace(4, 1, 1, ("n0", "n1"), "n0", 29500)
    return rank_environment(Job("run1", spec, Path("/w")), place)


def test_the_contract_is_complete() -> None:
    assert {
        "POLLINATOR_RUN_ID": "run1",
        "POLLINATOR_PROJECT": "p",
        "POLLINATOR_SRC": "/w/work/src",
        "POLLINATOR_DATA": "/w/work/data",
        "POLLINATOR_RESULT": "/w/work/result",
        "POLLINATOR_NODE_RANK": "1",
        "POLLINATOR_NNODES": "2",
        "POLLINATOR_NODELIST": "n0,n1",
        "RANK": "4",
        "LOCAL_RANK": "1",
        "WORLD_SIZE": "6",
        "LOCAL_WORLD_SIZE": "3",
        "MASTER_ADDR": "n0",
        "MASTER_PORT": "29500",
        "PROJECT_DIR": "/w/work",
        "COLONIES_PROCESS_ID": "run1",
        "PYTHONUNBUFFERED": "1",
    } == environment()
    assert set(environment()) - {"PYTHONUNBUFFERED"} == CONTRACT


def test_what_a_colony_brought_here_is_called_as_it_was_there() -> None:
    source = SnapshotSource(origin=Origin(run_id="RUN", process_id="PROCESS"))
    spec = RunSpec(project="p", nodes=1, processes_per_node=1)
    place = RankPlace(0, 0, 0, ("n0",), "n0", 29500)
    seen = rank_environment(Job("run1", spec, Path("/w"), source), place)

    assert ("RUN", "PROCESS") == (seen["POLLINATOR_RUN_ID"], seen["COLONIES_PROCESS_ID"])


def test_a_project_may_set_what_is_usual_but_nothing_of_the_contract() -> None:
    seen = environment(("A", "b"), ("PYTHONUNBUFFERED", ""), ("MASTER_PORT", "1"), ("POLLINATOR_RUN_ID", "x"))

    assert ("b", "", "29500", "run1") == tuple(
        seen[name] for name in ("A", "PYTHONUNBUFFERED", "MASTER_PORT", "POLLINATOR_RUN_ID")
    )


def test_what_belongs_to_the_executor_is_hidden_from_the_ranks() -> None:
    own = {"AWS_SECRET_ACCESS_KEY", "COLONIES_PRVKEY", "POLLINATOR_GRACE_MS", "GRPC_TRACE", "PYTHONPATH"}
    machine = dict.fromkeys({"PATH", "HOME", "LANG", *own}, "x")

    assert {"PATH": "x", "HOME": "x", "LANG": "x"} == base_environment(machine)
