"""A run as lines of text."""

from __future__ import annotations

import re

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from pollinator.cli.describe import describe_run, describe_waiting
from pollinator.cli.table import run_lines
from pollinator.v1.run_pb2 import Outcome, OutcomeReason, PendingReason, Run, RunState
from pollinator.v1.spec_pb2 import EnvironmentVariable, RunSpec


def lines_of(run: Run) -> dict[str, str]:
    """The lines by their names."""
    return dict(line.replace(" ", "").split(":", 1) for line in describe_run(run))


def test_one_node_and_one_core_are_told_in_the_singular() -> None:
    lines = describe_run(Run(spec=RunSpec(nodes=1, processes_per_node=4, cpu_millis=1000)))

    assert "ranks:             4 on 1 node" in lines
    assert "cpu:               1 core" in lines


def test_what_each_of_several_nodes_gets_is_told_as_such() -> None:
    lines = describe_run(Run(spec=RunSpec(nodes=3, cpu_millis=2000, memory_bytes=1 << 30)))

    assert "cpu:               2 cores on each node" in lines
    assert "memory:            1.0 GiB on each node" in lines


def test_a_command_can_be_pasted_into_a_shell() -> None:
    spec = RunSpec(nodes=1, command="python3 -u", arguments=["--name", "two words"])

    assert "command:           python3 -u --name 'two words'" in describe_run(Run(spec=spec))


def test_variables_are_told_one_a_line() -> None:
    variables = [EnvironmentVariable(name="A", value="1"), EnvironmentVariable(name="B", value="2")]

    lines = describe_run(Run(spec=RunSpec(environment=variables)))

    assert "environment:       A=1\n                   B=2" in lines


def test_a_run_that_never_started_or_is_lost_has_no_exit_code() -> None:
    waiting = Run(state=RunState.RUN_STATE_CANCELLED, outcome=Outcome())
    started = Run(state=RunState.RUN_STATE_CANCELLED, outcome=Outcome(), start_time=Timestamp(seconds=1))
    lost = Run(state=RunState.RUN_STATE_LOST, outcome=Outcome(), start_time=Timestamp(seconds=1))

    assert "exitcode" not in lines_of(waiting)
    assert "exitcode" not in lines_of(lost)
    assert lines_of(started)["exitcode"] == "0"


@pytest.mark.parametrize(("start_s", "how"), [(0, "before it started"), (1000, "after 1m40s")])
def test_of_a_run_that_has_ended_is_said_when_instead_of_what_it_waits_for(start_s: int, how: str) -> None:
    run = Run(id="a", state=RunState.RUN_STATE_CANCELLED, end_time=Timestamp(seconds=1100))
    if start_s:
        run.start_time.FromSeconds(start_s)

    state, ended = describe_waiting(run)[1:]

    assert "state:             cancelled" == state
    assert ended.startswith("ended:             1970-01-01 ")
    assert ended.endswith(f" ago, {how}")


def test_a_run_that_waits_has_no_end() -> None:
    run = Run(id="a", state=RunState.RUN_STATE_QUEUED, pending=PendingReason(text="Slurm looks"))

    assert "ended:" not in "\n".join(describe_waiting(run))


def test_a_pinned_run_says_so() -> None:
    assert "pinned" not in lines_of(Run())
    assert "whateveritsage" in lines_of(Run(pinned=True))["pinned"]


def test_a_table_of_runs_says_which_are_pinned_where_some_are() -> None:
    plain, pinned = Run(id="a", executor="local"), Run(id="b", executor="local", pinned=True)

    assert [["local"], ["local"]] == [
        line.split()[5:] for line in run_lines([plain, plain], colour=False)[1:]
    ]
    assert [["EXECUTOR", "KEPT"], ["local", "-"], ["local", "pinned"]] == [
        line.split()[5:] for line in run_lines([plain, pinned], colour=False)
    ]


def test_a_table_of_runs_says_which_are_out_of_reach() -> None:
    silent = Run(id="a", state=RunState.RUN_STATE_LAUNCHING, unreachable_since=Timestamp(seconds=1))

    assert "no word" in run_lines([silent], colour=False)[1]


@pytest.mark.parametrize(
    ("run", "why"),
    [
        (Run(state=RunState.RUN_STATE_CANCELLED, superseded=True), "superseded"),
        (Run(state=RunState.RUN_STATE_SUCCEEDED, superseded=True), "-"),
        (Run(state=RunState.RUN_STATE_SUCCEEDED, smoke=True), "smoke"),
        (Run(state=RunState.RUN_STATE_CANCELLED, smoke=True, superseded=True), "smoke, superseded"),
        (
            Run(
                state=RunState.RUN_STATE_FAILED,
                smoke=True,
                outcome=Outcome(reason=OutcomeReason.OUTCOME_REASON_EXIT_CODE, exit_code=2),
            ),
            "smoke, exit 2",
        ),
    ],
)
def test_what_sets_a_run_apart_is_told_in_a_list(run: Run, why: str) -> None:
    run.id, run.executor = "a", "local"

    assert why == re.split(r" {2,}", run_lines([run], colour=False)[1])[2]


def test_a_trial_and_a_run_for_which_a_newer_one_came_are_described_as_such() -> None:
    assert {"smoketest", "superseded"} <= lines_of(Run(smoke=True, superseded=True)).keys()
    assert not {"smoketest", "superseded"} & lines_of(Run()).keys()


def test_each_part_of_why_a_run_waits_has_its_line() -> None:
    why = PendingReason(text="no node is free; it asks for 9", action="wait; or not")

    lines = describe_run(Run(pending=why))

    assert "waits for:         no node is free;\n                   it asks for 9" in lines
    assert "what to do:        wait;\n                   or not" in lines


def test_why_a_run_is_out_of_reach_is_told_once() -> None:
    silent = Run(unreachable_since=Timestamp(seconds=1), unreachable_detail="it needs a login")
    waiting = Run(pending=PendingReason(text="it needs a login"))
    waiting.MergeFrom(silent)

    assert 1 == "\n".join(describe_run(silent)).count("it needs a login")
    assert 1 == "\n".join(describe_run(waiting)).count("it needs a login")
