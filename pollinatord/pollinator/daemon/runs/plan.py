"""What to do next about a run, and what an executor's word means for it: decisions only.

The driver carries them out. Everything here depends on the run and the event alone, so a daemon that was
killed at any instruction comes to the same decision again.
"""

from __future__ import annotations

from enum import Enum, auto

from pollinator.model.run import MOVES, is_requeue, is_terminal
from pollinator.v1.run_pb2 import Outcome, OutcomeReason, Run, RunEvent, RunState, StateChanged
from pollinator.wire.errors import PollinatorError


class Step(Enum):
    """The next thing to do about a run."""

    SEAL = auto()
    """Seal and publish what is on disk."""
    LAUNCH = auto()
    """Hand the snapshot to the executor; repeating it is harmless."""
    FOLLOW = auto()
    """Copy events and output from the executor until the run has ended there."""
    CANCEL = auto()
    """End it here: no executor has it yet."""
    NOTHING = auto()
    """It has ended."""


def next_step(run: Run) -> Step:
    """The step that brings ``run`` forward from where it is."""
    match run.state:
        case RunState.RUN_STATE_ACCEPTED | RunState.RUN_STATE_SNAPSHOTTING:
            return Step.CANCEL if run.cancel_requested else Step.SEAL
        case RunState.RUN_STATE_LAUNCHING:
            return Step.LAUNCH
        case _:
            return Step.NOTHING if is_terminal(run.state) else Step.FOLLOW


def relayed(run: Run, word: RunEvent) -> RunEvent | None:
    """The event to record here when the executor records ``word``; None for what is of no use here.

    The executor's end becomes COLLECTING with the outcome known: here a run ends when its results are home.
    """
    match word.WhichOneof("kind"):
        case "state_changed":
            return _relayed_move(run, word.state_changed)
        case "pending":
            return RunEvent(pending=word.pending)
        case "nodes_assigned":
            return RunEvent(nodes_assigned=word.nodes_assigned)
        case "usage":
            return RunEvent(usage=word.usage)
        case "collected":
            return RunEvent(collected=word.collected)
        case "notice":
            return RunEvent(notice=word.notice)
        case _:
            return None


def _relayed_move(run: Run, move: StateChanged) -> RunEvent | None:
    if is_terminal(move.state) or move.state == RunState.RUN_STATE_COLLECTING:
        if RunState.RUN_STATE_COLLECTING not in MOVES[run.state]:
            return None
        collecting = StateChanged(state=RunState.RUN_STATE_COLLECTING, attempt=run.attempt)
        collecting.outcome.CopyFrom(move.outcome)
        return RunEvent(state_changed=collecting)
    if move.state not in MOVES[run.state]:
        return None
    attempt = run.attempt + is_requeue(run.state, move.state)
    return RunEvent(state_changed=StateChanged(state=move.state, attempt=attempt))


def ended(word: RunEvent) -> StateChanged | None:
    """The executor's end of the run, if ``word`` is that."""
    if word.WhichOneof("kind") == "state_changed" and is_terminal(word.state_changed.state):
        return word.state_changed
    return None


def end_event(state: RunState.ValueType, outcome: Outcome, attempt: int) -> RunEvent:
    """The event that ends a run."""
    return RunEvent(state_changed=StateChanged(state=state, outcome=outcome, attempt=attempt))


def cancelled(run: Run) -> RunEvent:
    """The event that ends ``run`` before an executor had it."""
    return end_event(RunState.RUN_STATE_CANCELLED, Outcome(), run.attempt)


def failed(run: Run, reason: OutcomeReason.ValueType, detail: str) -> RunEvent:
    """The event that ends ``run`` as failed; an exit code that is known already is kept."""
    outcome = Outcome(
        reason=reason, detail=detail, exit_code=run.outcome.exit_code, signal=run.outcome.signal
    )
    return end_event(RunState.RUN_STATE_FAILED, outcome, run.attempt)


def words_of(error: PollinatorError) -> str:
    """An error as the detail of an outcome."""
    violations = "".join(f"\n  {each.where}: {each.message}" for each in error.violations)
    return error.message + violations + (f"\n{error.hint}" if error.hint else "")
