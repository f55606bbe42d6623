"""The requests of a loop."""

from __future__ import annotations

from pollinator.cli.dev.starts import Starts
from pollinator.model.project import load_spec
from pollinator.v1.run_pb2 import ProjectSource, SpecOverrides, StartRunRequest

SPEC = """\
projectname: demo
conditions: {executorNames: [lumi], nodes: 4, processesPerNode: 8, cpu: 64, mem: 480Gi, gpu: {count: 8}}
environment: {cmd: srun python3, source: main.py, args: [--epochs, "300"]}
"""


def starts(smoke: str = "python3 src/main.py --epochs 1") -> Starts:
    overrides = SpecOverrides(executor="lumi", arguments=["--big"], set=["conditions.mem=960Gi"])
    return Starts(StartRunRequest(request_id="x", project=ProjectSource(overrides=overrides)), smoke)


def test_each_request_has_an_id_of_its_own() -> None:
    made = starts()

    assert 3 == len({made.real().request_id, made.real().request_id, made.small().request_id})


def test_a_smoke_test_is_asked_for_as_such() -> None:
    assert (False, True) == (starts().real().smoke, starts().small().smoke)


def test_a_smoke_test_asks_for_nothing_that_this_machine_might_not_have() -> None:
    spec = load_spec(SPEC, "project.yaml", starts().small().project.overrides)

    assert "python3 src/main.py --epochs 1" == spec.command
    assert ("", [], ["local"]) == (spec.source, list(spec.arguments), list(spec.executor_names))
    assert (1, 1, 0, 0, 0) == (
        spec.nodes,
        spec.processes_per_node,
        spec.cpu_millis,
        spec.memory_bytes,
        spec.gpu.count,
    )


def test_runs_go_where_was_chosen_last() -> None:
    made = starts()
    made.executor = "mahti"

    assert "mahti" == made.real().project.overrides.executor
    assert ["--big"] == made.real().project.overrides.arguments
    assert "local" == made.small().project.overrides.executor
