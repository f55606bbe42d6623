"""The published exit codes."""

from __future__ import annotations

from pathlib import Path

import pytest

from pollinator.cli.exits import TABLE, Exit, code_of_error, code_of_run
from pollinator.v1.run_pb2 import Outcome, OutcomeReason, Run, RunState
from pollinator.wire.errors import Code, PollinatorError

FAILED = RunState.RUN_STATE_FAILED
R = OutcomeReason


def failure(reason: OutcomeReason.ValueType, exit_code: int = 0, signal: int = 0) -> Run:
    return Run(state=FAILED, outcome=Outcome(reason=reason, exit_code=exit_code, signal=signal))


def test_every_code_is_in_the_table_once() -> None:
    assert sorted(Exit) == [row.code for row in TABLE]


def test_the_table_is_published() -> None:
    text = Path(__file__).parents[3].joinpath("docs", "cli.md").read_text("utf-8")

    missing = [row for row in TABLE if f"| {row.code.value} | {row.meaning} |" not in text]

    assert missing == []


@pytest.mark.parametrize("code", list(Code))
def test_every_kind_of_error_has_a_code_that_is_not_success(code: Code) -> None:
    error = PollinatorError("", reason="")
    error.code = code

    assert code_of_error(error) in {row.code for row in TABLE} - {Exit.OK}


@pytest.mark.parametrize(
    ("run", "expected"),
    [
        (Run(state=RunState.RUN_STATE_SUCCEEDED), 0),
        (Run(state=RunState.RUN_STATE_CANCELLED), 103),
        (Run(state=RunState.RUN_STATE_LOST), 105),
        (Run(state=RunState.RUN_STATE_RUNNING), 101),
        (failure(R.OUTCOME_REASON_EXIT_CODE, 3), 3),
        (failure(R.OUTCOME_REASON_SIGNAL, 139, 11), 139),
        (failure(R.OUTCOME_REASON_SIGNAL, 0, 9), 137),
        (failure(R.OUTCOME_REASON_OUT_OF_MEMORY, 137, 9), 137),
        (failure(R.OUTCOME_REASON_OUT_OF_MEMORY), 137),
        (failure(R.OUTCOME_REASON_TIME_LIMIT, 143, 15), 124),
        (failure(R.OUTCOME_REASON_NODE_FAILED), 106),
        (failure(R.OUTCOME_REASON_PREEMPTED), 106),
        (failure(R.OUTCOME_REASON_COLLECT), 104),
        (failure(R.OUTCOME_REASON_COLLECT, 3), 3),
        (failure(R.OUTCOME_REASON_IMAGE), 100),
        (failure(R.OUTCOME_REASON_SNAPSHOT), 100),
        (failure(R.OUTCOME_REASON_LAUNCH), 100),
        (failure(R.OUTCOME_REASON_UNSPECIFIED), 100),
    ],
)
def test_a_run_that_ended_has_its_code(run: Run, expected: int) -> None:
    assert code_of_run(run) == expected


@pytest.mark.parametrize("reason", R.values())
def test_no_failure_looks_like_success(reason: OutcomeReason.ValueType) -> None:
    assert code_of_run(failure(reason)) != 0
