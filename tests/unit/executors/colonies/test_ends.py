"""How a run ended, from an executor of ours to whoever submitted it."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from pollinator.executors.colonies.ends import Piece, Told, end_of, outcome_text, read_outcome
from pollinator.executors.colonies.messages import Process, State
from pollinator.v1.run_pb2 import Notice, Outcome, OutcomeReason, RunState, Usage
from pollinator.v1.tree_pb2 import SnapshotRef

OUTCOME = Outcome(
    reason=OutcomeReason.OUTCOME_REASON_SIGNAL, exit_code=139, signal=11, detail="rank 2 <é>", rank=2
)


@pytest.mark.parametrize("result", [None, SnapshotRef(key="s/1", digest=b"\x01\xff")])
@pytest.mark.parametrize("outcome", [Outcome(), OUTCOME])
@pytest.mark.parametrize("usage", [None, Usage(peak_memory_bytes=2**40, memory_source="sampling")])
@pytest.mark.parametrize("notices", [(), (Notice(code="not_collected", text="<é>"),)])
@pytest.mark.parametrize("printed", [{}, {0: Piece(0, b"\0\xff"), 12: Piece(2**40, b"")}])
def test_it_arrives_as_it_was(
    outcome: Outcome,
    result: SnapshotRef | None,
    usage: Usage | None,
    notices: tuple[Notice, ...],
    printed: dict[int, Piece],
) -> None:
    told = Told(outcome, result, usage, notices, printed)

    assert told == read_outcome(outcome_text(told))


def test_a_reason_that_is_not_known_here_is_one() -> None:
    read = read_outcome('{"reason": "moonlight", "exit_code": 3, "colour": 7}')

    assert read is not None
    assert Outcome(reason=OutcomeReason.OUTCOME_REASON_BACKEND, exit_code=3) == read.outcome


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "7", '{"exit_code": "x"}', '{"result": {"key": 1}}', '{"printed": {"0": 7}}']
)
def test_what_cannot_be_read_says_nothing(text: str) -> None:
    assert read_outcome(text) is None


def process(state: int, *errors: str, started: bool = True, **attributes: str) -> Process:
    moment = datetime(2026, 1, 2, tzinfo=UTC) if started else None
    told = {"POLLINATOR_OUTCOME": attributes["told"]} if attributes else {}
    return Process("p", state, "e", {}, told, errors, (), 0, "me", None, moment, None, None)


def end(process: Process, *, ours: bool = False, wished: bool = False) -> tuple[str, str, int, str]:
    found = end_of(process, ours=ours, wished=wished)
    reason = OutcomeReason.Name(found.outcome.reason).removeprefix("OUTCOME_REASON_")
    state = RunState.Name(found.state).removeprefix("RUN_STATE_")
    return state, reason, found.outcome.exit_code, found.outcome.detail


def test_success_is_one() -> None:
    assert ("SUCCEEDED", "UNSPECIFIED", 0, "") == end(process(State.SUCCESS))


@pytest.mark.parametrize(
    ("text", "reason", "code"),
    [
        ("Maximum execution time limit exceeded", "TIME_LIMIT", 1),
        ("Maximum waiting time limit exceeded", "TIME_LIMIT", 1),
        ("Exit with an error, exit code = 7", "EXIT_CODE", 7),
        ("OOMKilled", "OUT_OF_MEMORY", 1),
        ("Failed to pull container image: python:3.12", "IMAGE", 1),
        ("Failed to pre-sync", "MATERIALISE", 1),
        ("Failed to validate funcspec", "LAUNCH", 1),
        ("Failed to execute slurm script", "BACKEND", 1),
    ],
)
def test_what_public_executors_say_is_a_reason(text: str, reason: str, code: int) -> None:
    assert ("FAILED", reason, code, text) == end(process(State.FAILED, text))


def test_a_failure_without_a_word_is_one() -> None:
    assert ("FAILED", "BACKEND", 1, "its executor did not say why") == end(process(State.FAILED))


def test_what_an_executor_of_ours_tells_is_the_outcome() -> None:
    told = outcome_text(Told(OUTCOME, SnapshotRef(key="s/1", digest=b"\x01")))
    found = end_of(process(State.FAILED, "exit code = 1", told=told), ours=True, wished=False)

    assert (RunState.RUN_STATE_FAILED, OUTCOME) == (found.state, found.outcome)
    assert SnapshotRef(key="s/1", digest=b"\x01") == found.result


def test_a_success_that_tells_of_a_failure_is_none() -> None:
    found = end_of(process(State.SUCCESS, told=outcome_text(Told(OUTCOME))), ours=True, wished=False)

    assert RunState.RUN_STATE_FAILED == found.state


def test_a_failure_that_tells_of_none_is_one() -> None:
    told = outcome_text(Told(Outcome()))

    assert ("FAILED", "BACKEND", 1, "it was evicted") == end(
        process(State.FAILED, "it was evicted", told=told)
    )


@pytest.mark.parametrize(
    ("wished", "detail"), [(True, ""), (False, "somebody else cancelled it in the colony")]
)
def test_who_cancelled_it_is_told(wished: bool, detail: str) -> None:
    assert ("CANCELLED", "UNSPECIFIED", 0, detail) == end(process(State.CANCELLED), wished=wished)


@pytest.mark.parametrize(
    ("ours", "started", "left"), [(True, True, True), (True, False, False), (False, True, False)]
)
def test_results_of_what_was_cancelled_are_waited_for_where_there_may_be_some(
    ours: bool, started: bool, left: bool
) -> None:
    assert left == end_of(process(State.CANCELLED, started=started), ours=ours, wished=True).left
