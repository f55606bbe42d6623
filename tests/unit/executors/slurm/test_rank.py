"""A task of a job: its place in Slurm's variables, and what it hears."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest

from pollinator.executors.slurm.rank import Channel, for_task
from pollinator.executors.slurm.step import step_environment

WHOLE: dict[str, Any] = {
    "run_id": "r",
    "argv": ["true"],
    "env": {"GREETING": "hej", "RANK": "0"},
    "hidden": ["AWS_", "SLURM_EXPORT_ENV"],
    "cwd": "/w",
    "output": "/o",
    "nodes": ["a", "b"],
    "ranks_per_node": 3,
    "master_address": "a",
    "master_port": 12345,
    "walltime_ms": 0,
    "warning": "",
    "grace_ms": 5000,
    "memory_bytes": 0,
    "container": None,
    "workspace": "/x",
}
PLACE = {"SLURM_NODEID": "1", "SLURM_LOCALID": "2", "SLURM_PROCID": "5"}


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    ends = os.pipe()
    yield ends
    for end in ends:
        try:
            os.close(end)
        except OSError:
            continue


def test_a_task_finds_its_place_in_slurms_variables() -> None:
    inherited = {"PATH": "/bin", "AWS_KEY": "k", "SLURM_EXPORT_ENV": "NONE", "SLURM_JOB_ID": "7"}
    rank = for_task(WHOLE, PLACE | inherited)["ranks"][0]

    assert (5, "/o/5", ["true"]) == (rank["rank"], rank["output"], rank["argv"])
    assert {
        **PLACE,
        "PATH": "/bin",
        "SLURM_JOB_ID": "7",
        "GREETING": "hej",
        "RANK": "5",
        "LOCAL_RANK": "2",
        "POLLINATOR_NODE_RANK": "1",
        "POLLINATOR_NODELIST": "a,b",
        "MASTER_ADDR": "a",
        "MASTER_PORT": "12345",
    } == rank["env"]


def test_what_a_node_runs_before_its_ranks_has_the_place_of_its_first() -> None:
    alone = {"SLURM_NODEID": "1", "SLURM_LOCALID": "0", "SLURM_PROCID": "1"}

    assert 3 == for_task(WHOLE, alone)["ranks"][0]["rank"]


def test_a_task_hears_line_by_line_and_the_end(pipe: tuple[int, int]) -> None:
    hears, says = pipe
    channel = Channel(hears)
    os.write(says, b'{"a": 1}\n{"b": 2}\n{"c"')
    first = channel.first()
    more = channel.lines()
    os.write(says, b": 3}\n")
    rest = channel.lines()
    nothing = channel.lines()
    open_still = channel.closed
    os.close(says)
    channel.lines()

    assert ({"a": 1}, [{"b": 2}], [{"c": 3}], []) == (first, more, rest, nothing)
    assert [False, True] == [open_still, channel.closed]


def test_a_task_that_is_told_nothing_does_not_begin(pipe: tuple[int, int]) -> None:
    hears, says = pipe
    os.close(says)
    with pytest.raises(EOFError):
        Channel(hears).first()


def test_tasks_get_the_environment_of_the_job_though_its_script_got_none() -> None:
    environ = {"SLURM_EXPORT_ENV": "NONE", "SLURM_GET_USER_ENV": "1", "PATH": "/bin", "SLURM_JOB_ID": "7"}

    assert {"PATH": "/bin", "SLURM_JOB_ID": "7"} == step_environment(environ)
