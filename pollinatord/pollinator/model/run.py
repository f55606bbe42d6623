"""States and moves of a run. ``apply`` is the only function that changes a state."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from pollinator.v1.run_pb2 import Run, RunEvent, RunState, StateChanged

_S = RunState
_CUT_SHORT = frozenset({_S.RUN_STATE_FAILED, _S.RUN_STATE_CANCELLED})
_GONE = _CUT_SHORT | {_S.RUN_STATE_LOST}

MOVES: Mapping[RunState.ValueType, frozenset[RunState.ValueType]] = {
    _S.RUN_STATE_ACCEPTED: _CUT_SHORT
    | {_S.RUN_STATE_SNAPSHOTTING, _S.RUN_STATE_LAUNCHING, _S.RUN_STATE_QUEUED, _S.RUN_STATE_STARTING},
    _S.RUN_STATE_SNAPSHOTTING: _CUT_SHORT | {_S.RUN_STATE_LAUNCHING},
    _S.RUN_STATE_LAUNCHING: _GONE
    | {
        _S.RUN_STATE_QUEUED,
        _S.RUN_STATE_STARTING,
        _S.RUN_STATE_RUNNING,
        _S.RUN_STATE_COLLECTING,
    },
    _S.RUN_STATE_QUEUED: _GONE | {_S.RUN_STATE_STARTING, _S.RUN_STATE_RUNNING, _S.RUN_STATE_COLLECTING},
    _S.RUN_STATE_STARTING: _GONE | {_S.RUN_STATE_QUEUED, _S.RUN_STATE_RUNNING, _S.RUN_STATE_COLLECTING},
    _S.RUN_STATE_RUNNING: _GONE | {_S.RUN_STATE_QUEUED, _S.RUN_STATE_COLLECTING},
    _S.RUN_STATE_COLLECTING: _GONE | {_S.RUN_STATE_SUCCEEDED},
    _S.RUN_STATE_SUCCEEDED: frozenset(),
    _S.RUN_STATE_FAILED: frozenset(),
    _S.RUN_STATE_CANCELLED: frozenset(),
    _S.RUN_STATE_LOST: frozenset(),
}
"""Where a run may go from each state; an empty set is an end."""

UNSEALED = frozenset({_S.RUN_STATE_ACCEPTED, _S.RUN_STATE_SNAPSHOTTING})
"""Its files are not in a snapshot yet."""

TERMINAL = frozenset(state for state, moves in MOVES.items() if not moves)


class InvalidMove(Exception):
    """A move that the table does not have; says which run, from where to where."""

    def __init__(self, run: Run, move: StateChanged) -> None:
        super().__init__(
            f"run {run.id} cannot move from {RunState.Name(run.state)} (attempt {run.attempt}) "
            f"to {RunState.Name(move.state)} (attempt {move.attempt}) after event {run.last_seq}"
        )


def is_terminal(state: RunState.ValueType) -> bool:
    """The run has ended."""
    return state in TERMINAL


def is_requeue(before: RunState.ValueType, after: RunState.ValueType) -> bool:
    """The move goes back to the queue, which begins another attempt."""
    return after == _S.RUN_STATE_QUEUED and before in (_S.RUN_STATE_STARTING, _S.RUN_STATE_RUNNING)


def apply(run: Run, event: RunEvent) -> Run:
    """The run after ``event``; ``run`` itself is left alone. Kinds that are not known change nothing.

    Raises:
        InvalidMove: the event asks for a move that is not in ``MOVES``.
    """
    after = Run()
    after.CopyFrom(run)
    fold_in = _FOLDS.get(event.WhichOneof("kind") or "")
    if fold_in is not None:
        fold_in(after, event)
    after.last_seq = event.seq
    return after


def fold(events: Iterable[RunEvent]) -> Run:
    """The run that a whole log leads to."""
    run = Run()
    for event in events:
        run = apply(run, event)
    return run


def _accepted(run: Run, event: RunEvent) -> None:
    run.CopyFrom(event.accepted)
    run.state = RunState.RUN_STATE_ACCEPTED
    run.attempt = max(1, run.attempt)


def _moved(run: Run, event: RunEvent) -> None:
    move = event.state_changed
    back = is_requeue(run.state, move.state)
    attempt = move.attempt or run.attempt
    if move.state not in MOVES.get(run.state, frozenset()) or attempt != run.attempt + back:
        raise InvalidMove(run, move)
    run.state = move.state
    run.attempt = attempt
    if move.HasField("outcome"):
        run.outcome.CopyFrom(move.outcome)
    if move.state != RunState.RUN_STATE_QUEUED:
        run.ClearField("pending")
    if back:
        # Where and when it runs is not known again.
        run.ClearField("start_time")
        run.ClearField("nodes")
    if move.state == RunState.RUN_STATE_RUNNING:
        run.start_time.CopyFrom(event.time)
    if is_terminal(move.state):
        run.end_time.CopyFrom(event.time)
        _heard(run)


def _cancel_requested(run: Run, event: RunEvent) -> None:
    run.cancel_requested = True
    # An executor is told of the wish, and not why.
    run.superseded |= event.cancel_requested.superseded


def _sealed(run: Run, event: RunEvent) -> None:
    run.snapshot.CopyFrom(event.sealed)
    run.git_commit = event.git_commit


def _pending(run: Run, event: RunEvent) -> None:
    run.pending.CopyFrom(event.pending)


def _nodes(run: Run, event: RunEvent) -> None:
    run.nodes[:] = event.nodes_assigned.nodes


def _usage(run: Run, event: RunEvent) -> None:
    run.usage.CopyFrom(event.usage)


def _collected(run: Run, event: RunEvent) -> None:
    run.result.CopyFrom(event.collected)


def _notice(run: Run, event: RunEvent) -> None:
    run.notices.append(event.notice)


def _reachability(run: Run, event: RunEvent) -> None:
    _heard(run)
    if event.reachability.HasField("unreachable_since"):
        run.unreachable_since.CopyFrom(event.reachability.unreachable_since)
        run.unreachable_detail = event.reachability.detail


def _heard(run: Run) -> None:
    run.ClearField("unreachable_since")
    run.ClearField("unreachable_detail")


_FOLDS: Mapping[str, Callable[[Run, RunEvent], None]] = {
    "accepted": _accepted,
    "state_changed": _moved,
    "cancel_requested": _cancel_requested,
    "sealed": _sealed,
    "pending": _pending,
    "nodes_assigned": _nodes,
    "usage": _usage,
    "collected": _collected,
    "notice": _notice,
    "reachability": _reachability,
}
