"""Decisions about runs, over every state and every word of an executor."""

from __future__ import annotations

import pytest

from pollinator.daemon.runs.plan import Step, ended, failed, next_step, relayed
from pollinator.model.run import MOVES, TERMINAL, apply
from pollinator.v1.run_pb2 import (
    CancelRequested,
    NodesAssigned,
    Notice,
    Outcome,
    OutcomeReason,
    PendingReason,
    Reachability,
    Run,
    RunEvent,
    RunState,
    StateChanged,
    Usage,
)
from pollinator.v1.tree_pb2 import SnapshotRef

STATES = [state for state in RunState.values() if state]

STEPS = {
    "ACCEPTED": (Step.SEAL, Step.CANCEL),
    "SNAPSHOTTING": (Step.SEAL, Step.CANCEL),
    "LAUNCHING": (Step.LAUNCH, Step.LAUNCH),
    "QUEUED": (Step.FOLLOW, Step.FOLLOW),
    "STARTING": (Step.FOLLOW, Step.FOLLOW),
    "RUNNING": (Step.FOLLOW, Step.FOLLOW),
    "COLLECTING": (Step.FOLLOW, Step.FOLLOW),
    "SUCCEEDED": (Step.NOTHING, Step.NOTHING),
    "FAILED": (Step.NOTHING, Step.NOTHING),
    "CANCELLED": (Step.NOTHING, Step.NOTHING),
    "LOST": (Step.NOTHING, Step.NOTHING),
}


def name(state: RunState.ValueType) -> str:
    return RunState.Name(state).removeprefix("RUN_STATE_")


@pytest.mark.parametrize("state", STATES, ids=name)
def test_every_state_has_its_next_step_with_and_without_a_wish_to_cancel(state: RunState.ValueType) -> None:
    plain = next_step(Run(state=state))
    wished = next_step(Run(state=state, cancel_requested=True))

    assert STEPS[name(state)] == (plain, wished)


@pytest.mark.parametrize("state", STATES, ids=name)
@pytest.mark.parametrize("word", STATES, ids=name)
def test_a_relayed_move_is_always_one_the_run_can_make(
    state: RunState.ValueType, word: RunState.ValueType
) -> None:
    run = Run(id="r", state=state, attempt=3)
    outcome = Outcome(exit_code=7)
    told = RunEvent(state_changed=StateChanged(state=word, attempt=1, outcome=outcome))

    event = relayed(run, told)

    if event is None:
        expected = RunState.RUN_STATE_COLLECTING if word in TERMINAL else word
        assert expected not in MOVES[state]
        return
    after = apply(run, event)
    if word in TERMINAL or word == RunState.RUN_STATE_COLLECTING:
        assert (RunState.RUN_STATE_COLLECTING, 7) == (after.state, after.outcome.exit_code)
    else:
        assert word == after.state


def test_a_requeue_begins_another_attempt_whatever_the_executor_counts() -> None:
    run = Run(id="r", state=RunState.RUN_STATE_RUNNING, attempt=2)
    told = RunEvent(state_changed=StateChanged(state=RunState.RUN_STATE_QUEUED))

    event = relayed(run, told)

    assert event is not None
    assert 3 == apply(run, event).attempt


TOLD_ON = [
    RunEvent(pending=PendingReason(code="cpu")),
    RunEvent(nodes_assigned=NodesAssigned(nodes=["a"])),
    RunEvent(usage=Usage(peak_memory_bytes=1)),
    RunEvent(collected=SnapshotRef(key="k")),
    RunEvent(notice=Notice(code="c")),
]
KEPT_BACK = [
    RunEvent(accepted=Run(id="other")),
    RunEvent(cancel_requested=CancelRequested(by="somebody")),
    RunEvent(sealed=SnapshotRef(key="k")),
    RunEvent(reachability=Reachability(detail="d")),
    RunEvent(),
]


def test_every_kind_of_event_is_either_told_on_or_kept_back() -> None:
    kinds = {event.WhichOneof("kind") for event in TOLD_ON + KEPT_BACK} | {"state_changed"}

    assert {field.name for field in RunEvent.DESCRIPTOR.oneofs_by_name["kind"].fields} == kinds - {None}


@pytest.mark.parametrize("told", TOLD_ON, ids=lambda each: each.WhichOneof("kind"))
def test_what_the_user_wants_to_know_is_told_on_without_the_executors_numbers(told: RunEvent) -> None:
    numbered = RunEvent(seq=42)
    numbered.MergeFrom(told)
    numbered.time.FromSeconds(1)

    assert told == relayed(Run(state=RunState.RUN_STATE_RUNNING), numbered)


@pytest.mark.parametrize("told", KEPT_BACK, ids=lambda each: str(each.WhichOneof("kind")))
def test_what_the_executor_says_of_its_own_affairs_is_kept_back(told: RunEvent) -> None:
    assert relayed(Run(state=RunState.RUN_STATE_RUNNING), told) is None


@pytest.mark.parametrize("state", STATES, ids=name)
def test_only_an_end_is_an_end(state: RunState.ValueType) -> None:
    move = StateChanged(state=state)

    assert (move if state in TERMINAL else None) == ended(RunEvent(state_changed=move))
    assert ended(RunEvent(notice=Notice())) is None


def test_a_failure_keeps_the_exit_code_that_is_known_already() -> None:
    run = Run(state=RunState.RUN_STATE_COLLECTING, attempt=2, outcome=Outcome(exit_code=139, signal=11))

    after = apply(run, failed(run, OutcomeReason.OUTCOME_REASON_COLLECT, "no space"))

    assert RunState.RUN_STATE_FAILED == after.state
    assert (139, 11, "no space") == (after.outcome.exit_code, after.outcome.signal, after.outcome.detail)
