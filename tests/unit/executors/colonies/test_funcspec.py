"""Function specs as public executors need them, and what is made of those that others submit."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import pytest

from pollinator.executors.colonies.funcspec import Mount, Stored, Target, function_spec
from pollinator.executors.colonies.wanted import wanted
from pollinator.executors.slurm.script import Place, Site, job_script
from pollinator.v1.spec_pb2 import EnvironmentVariable, Gpu, RunSpec, Slurm
from pollinator.v1.tree_pb2 import SnapshotRef
from pollinator.wire.errors import InvalidInput

MIB = 2**20
EXPECTED: dict[str, Any] = {
    "nodename": "",
    "funcname": "execute",
    "args": [],
    "kwargs": {
        "docker-image": "python:3.12-rc-bookworm",
        "rebuild-image": False,
        "init-cmd": "ln -sfn /cfs/pollinator/PROJ/C0/data /cfs/pollinator/PROJ/RUN/data;"
        "cd /cfs/pollinator/PROJ/RUN;pip3 install numpy",
        "cmd": "python3",
        "args": ["/cfs/pollinator/PROJ/RUN/src/main.py"],
    },
    "priority": 5,
    "maxwaittime": -1,
    "maxexectime": 599,
    "maxretries": 3,
    "label": "pollinator-RUN",
    "conditions": {
        "colonyname": "dev",
        "executornames": ["lumi-std"],
        "executortype": "container-executor",
        "dependencies": [],
        "nodes": 1,
        "cpu": "1000m",
        "processes": 0,
        "processespernode": 1,
        "mem": "1000Mi",
        "storage": "",
        "gpu": {"name": "", "mem": "", "count": 0, "nodecount": 0},
        "walltime": 600,
    },
    "fs": {
        "mount": "/cfs",
        "snapshots": [
            {
                "snapshotid": "SNAP",
                "label": "/pollinator/PROJ/src",
                "dir": "/pollinator/PROJ/RUN/src",
                "keepfiles": True,
                "keepsnapshot": True,
            }
        ],
        "dirs": [
            {
                "label": "/pollinator/PROJ/result/RUN",
                "dir": "/pollinator/PROJ/RUN/result",
                "keepfiles": False,
                "onconflicts": {"onstart": {"keeplocal": False}, "onclose": {"keeplocal": True}},
            },
            {
                "label": "/pollinator/PROJ/data",
                "dir": "/pollinator/PROJ/C0/data",
                "keepfiles": True,
                "onconflicts": {"onstart": {"keeplocal": False}, "onclose": {"keeplocal": False}},
            },
        ],
    },
    "env": {
        "PYTHONUNBUFFERED": "1",
        "PROJECT_DIR": "/cfs/pollinator/PROJ/RUN",
        "POLLINATOR_RUN_ID": "RUN",
        "POLLINATOR_PROJECT": "PROJ",
        "POLLINATOR_SRC": "/cfs/pollinator/PROJ/RUN/src",
        "POLLINATOR_DATA": "/cfs/pollinator/PROJ/RUN/data",
        "POLLINATOR_RESULT": "/cfs/pollinator/PROJ/RUN/result",
        "POLLINATOR_NNODES": "1",
    },
}


def spec_of_new(**changes: Any) -> RunSpec:
    """As ``pollinator new`` of the original writes it."""
    fields: dict[str, Any] = {
        "project": "PROJ",
        "nodes": 1,
        "processes_per_node": 1,
        "cpu_millis": 1000,
        "memory_bytes": 1000 * MIB,
        "walltime_ms": 600_000,
        "image": "python:3.12-rc-bookworm",
        "init_command": "pip3 install numpy",
        "command": "python3",
        "source": "main.py",
        "executor_names": ["lumi-std"],
    }
    return RunSpec(**fields | changes)


def target(**changes: Any) -> Target:
    fields: dict[str, Any] = {
        "colony": "dev",
        "run_id": "RUN",
        "executor_names": ["lumi-std"],
        "src": Mount("/pollinator/PROJ/src", "SNAP"),
        "data": Mount("/pollinator/PROJ/data", "DATA", "C0"),
    }
    return Target(**fields | changes)


def test_a_project_of_the_original_becomes_what_public_executors_need() -> None:
    found = function_spec(spec_of_new(), target())
    del found["kwargs"]["pollinator"]

    assert EXPECTED == found


@pytest.mark.parametrize(
    ("memory_bytes", "written"), [(1, "1Mi"), (MIB, "1Mi"), (MIB + 1, "2Mi"), (2**50 + 1, "1073741825Mi")]
)
def test_memory_is_written_in_mebibytes_and_never_less(memory_bytes: int, written: str) -> None:
    assert written == function_spec(spec_of_new(memory_bytes=memory_bytes), target())["conditions"]["mem"]


def test_public_executors_are_asked_for_what_is_usual_where_nothing_is_asked_for() -> None:
    conditions = function_spec(spec_of_new(cpu_millis=0, memory_bytes=0), target())["conditions"]

    assert ("1000m", "1000Mi") == (conditions["cpu"], conditions["mem"])


def test_ours_are_asked_for_so_little_that_they_take_it_and_not_for_nothing() -> None:
    conditions = function_spec(spec_of_new(cpu_millis=0, memory_bytes=0), target(ours=True))["conditions"]

    assert ("1m", "1Mi") == (conditions["cpu"], conditions["mem"])


def test_a_queue_may_be_long_where_executors_are_ours() -> None:
    assert -1 == function_spec(spec_of_new(), target(ours=True))["maxexectime"]


@pytest.mark.parametrize(("walltime_ms", "limits"), [(1, (1, 1)), (1000, (1, 1)), (2001, (2, 3))])
def test_public_executors_have_a_second_less_than_the_walltime(
    walltime_ms: int, limits: tuple[int, int]
) -> None:
    found = function_spec(spec_of_new(walltime_ms=walltime_ms), target())

    assert limits == (found["maxexectime"], found["conditions"]["walltime"])


def test_accelerators_are_asked_for() -> None:
    found = function_spec(spec_of_new(gpu=Gpu(count=2, name="a100")), target())

    assert {"name": "a100", "mem": "", "count": 2, "nodecount": 0} == found["conditions"]["gpu"]


def test_a_place_is_asked_for_only_where_one_is_wished_for() -> None:
    found = function_spec(spec_of_new(location="lund"), target(location="Lund"))

    assert "Lund" == found["conditions"]["locationname"]
    assert "lund" == wanted(found, "id").spec.location
    assert "locationname" not in function_spec(spec_of_new(), target())["conditions"]


def test_no_public_executor_is_told_to_build_an_image_anew() -> None:
    found = function_spec(spec_of_new(rebuild_image=True), target())

    assert found["kwargs"]["rebuild-image"] is False
    assert wanted(found, "id").spec.rebuild_image


def test_variables_that_a_shell_would_take_apart_are_not_told_as_such() -> None:
    found = function_spec(
        spec_of_new(environment=[EnvironmentVariable(name="V", value="a; rm -rf b")]), target()
    )

    assert "V" not in found["env"]


def test_files_of_the_colony_are_not_named_where_they_are_not() -> None:
    assert {"mount": "", "snapshots": [], "dirs": []} == function_spec(spec_of_new(), target(src=None))["fs"]


def test_executors_of_ours_find_where_the_snapshot_is() -> None:
    stored = Stored(SnapshotRef(key="s/1", digest=b"\x01" * 32), "http://s3:9000", "bucket", "prefix/")
    found = wanted(function_spec(spec_of_new(), target(src=None, stored=stored)), "id")

    assert (stored, {}) == (found.stored, found.trees)


def test_executors_of_ours_find_the_trees() -> None:
    found = wanted(function_spec(spec_of_new(), target()), "id")

    assert {
        "src": Mount("/pollinator/PROJ/src", "SNAP"),
        "data": Mount("/pollinator/PROJ/data", "DATA"),
        "result": Mount("/pollinator/PROJ/result/RUN", ""),
    } == found.trees


# Of the original


def of_the_original(**kwargs: Any) -> dict[str, Any]:
    """As the original submits it, and the server gives it to executors."""
    text = """{"nodename": "", "funcname": "execute", "args": [],
      "kwargs": {"docker-image": "python:3.12-rc-bookworm", "rebuild-image": false,
        "init-cmd": "pip3 install numpy", "cmd": "python3",
        "args": ["/cfs/pollinator/PROJ/SNAP/src/main.py"]},
      "priority": 5, "maxwaittime": -1, "maxexectime": 599, "maxretries": 3, "label": "test_label",
      "conditions": {"colonyname": "dev", "executornames": ["lumi-std"], "executortype": "container-executor",
        "dependencies": [], "nodes": 3, "cpu": "1500m", "processes": 0, "processespernode": 2,
        "mem": "1000Mi", "storage": "0Mi", "gpu": {"name": "", "mem": "0Mi", "count": 0, "nodecount": 0},
        "walltime": 600},
      "fs": {"mount": "/cfs", "snapshots": [{"snapshotid": "SNAP", "label": "/pollinator/PROJ/src",
          "dir": "/pollinator/PROJ/SNAP/src", "keepfiles": true, "keepsnapshot": true}],
        "dirs": [{"label": "/pollinator/PROJ/result", "dir": "/pollinator/PROJ/result", "keepfiles": false,
            "onconflicts": {"onstart": {"keeplocal": false}, "onclose": {"keeplocal": true}}},
          {"label": "/pollinator/PROJ/data", "dir": "/pollinator/PROJ/data", "keepfiles": true,
            "onconflicts": {"onstart": {"keeplocal": false}, "onclose": {"keeplocal": false}}}]},
      "env": {"PROJECT_DIR": "/cfs/pollinator/PROJ"}}"""
    found: dict[str, Any] = json.loads(text)
    found["kwargs"] |= kwargs
    return found


def line(**kwargs: Any) -> str:
    """What the shell is told."""
    words = shlex.split(wanted(of_the_original(**kwargs), "PROCESS").spec.command)

    assert ["sh", "-c"] == words[:2]
    return words[2]


def test_what_the_original_asks_for_is_understood() -> None:
    found = wanted(of_the_original(), "PROCESS")

    assert (
        RunSpec(
            project="PROJ",
            nodes=3,
            processes_per_node=2,
            cpu_millis=1500,
            memory_bytes=1000 * MIB,
            walltime_ms=600_000,
            image="python:3.12-rc-bookworm",
            command=shlex.join(["sh", "-c", "pip3 install numpy;python3 ${PROJECT_DIR}/src/main.py"]),
        )
        == found.spec
    )
    assert {
        "src": Mount("/pollinator/PROJ/src", "SNAP"),
        "data": Mount("/pollinator/PROJ/data", ""),
        "result": Mount("/pollinator/PROJ/result", ""),
    } == found.trees
    assert ("", None) == (found.run_id, found.stored)


def test_accelerators_and_a_place_that_are_asked_for_are_understood() -> None:
    asked = of_the_original()
    asked["conditions"] |= {"gpu": {"name": "a100", "mem": "", "count": 2}, "locationname": "Lund"}
    found = wanted(asked, "PROCESS").spec
    script = job_script(found, Slurm(), Place("r", Path("/s"), ("true",), 5000), Site())

    assert (Gpu(count=2, name="a100"), "Lund") == (found.gpu, found.location)
    assert "#SBATCH --gres=gpu:a100:2\n" in script
    assert "#SBATCH --mem=1000M\n" in script


def test_a_program_for_which_no_shell_is_needed_is_run_without_one() -> None:
    arguments = ["/cfs/pollinator/PROJ/SNAP/src/main.py", "--fast"]
    spec = wanted(of_the_original(**{"init-cmd": "", "cmd": "python3 -u", "args": arguments}), "P").spec

    assert ("python3 -u", "main.py", ["--fast"]) == (spec.command, spec.source, list(spec.arguments))


def test_a_command_line_stays_one_with_all_its_characters() -> None:
    command = "true && python3 -c \"print('<é>')\" > /cfs/pollinator/PROJ/result/x; echo"

    assert (
        "pip3 install numpy;true && python3 -c \"print('<é>')\" > ${PROJECT_DIR}/result/x; echo "
        "${PROJECT_DIR}/src/main.py" == line(cmd=command)
    )


def test_the_id_of_the_process_is_put_in_its_place_once_in_each() -> None:
    assert "pip3 install numpy;echo PROCESS {processid} PROCESS 7" == line(
        cmd="echo {processid} {processid}", args=["{processid}", 7]
    )


def test_so_it_is_in_labels_and_folders() -> None:
    spec = of_the_original(**{"init-cmd": "", "cmd": "echo x > /cfs/out/{processid}/result/x;", "args": []})
    (result, data) = spec["fs"]["dirs"]
    result |= {"label": "/out/{processid}/{processid}/result", "dir": "/out/{processid}/result"}
    found = wanted(spec, "PROCESS")

    assert Mount("/out/PROCESS/{processid}/result", "") == found.trees["result"]
    assert Mount(data["label"], "") == found.trees["data"]
    assert shlex.join(["sh", "-c", "echo x > ${PROJECT_DIR}/result/x;"]) == found.spec.command


def test_lists_may_be_null() -> None:
    spec = of_the_original(args=None)
    spec["fs"] = {"mount": "", "snapshots": None, "dirs": None}
    found = wanted(spec, "PROCESS")

    assert ({}, "colonies") == (found.trees, found.spec.project)


@pytest.mark.parametrize(
    ("place", "value", "where"),
    [
        ("funcname", "sync", "funcname"),
        ("kwargs.cmd", " ", "kwargs.cmd"),
        ("conditions.nodes", 0, "conditions.nodes"),
        ("conditions.processespernode", 0, "conditions.processespernode"),
        ("conditions.cpu", "much", "conditions.cpu"),
        ("conditions.mem", "much", "conditions.mem"),
        ("env.A-B", "x", "env.A-B"),
        ("fs.dirs", [{"label": "/x", "dir": "/y/../../etc"}], "fs.dirs"),
        ("fs.dirs", [{"label": "x", "dir": "/y/data"}], "fs.dirs"),
        ("kwargs.pollinator", {"version": 1, "spec": {"nodes": "many"}}, "kwargs.pollinator"),
    ],
)
def test_what_cannot_be_meant_is_named(place: str, value: Any, where: str) -> None:
    spec = of_the_original()
    *outer, name = place.split(".")
    holder = spec
    for each in outer:
        holder = holder[each]
    holder[name] = value
    with pytest.raises(InvalidInput) as caught:
        wanted(spec, "PROCESS")

    assert [where] == [each.where for each in caught.value.violations]
    assert "bad_function_spec" == caught.value.reason
