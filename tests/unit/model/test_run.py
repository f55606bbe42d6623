"""States and moves of a run."""

from __future__ import annotations

import itertools

import pytest

from pollinator.model.run import MOVES, TERMINAL, InvalidMove, apply, fold, is_terminal
from pollinator.v1.run_pb2 import (
    CancelRequested,
    NodesAssigned,
    Notice,
    Outcome,
    PendingReason,
    Reachability,
    Run,
    RunEvent,
    RunState,
    StateChanged,
    Usage,
)
from pollinator.v1.tree_pb2 import SnapshotRef

EXPECTED = """\
ACCEPTED      SNAPSHOTTING LAUNCHING QUEUED STARTING FAILED CANCELLED
SNAPSHOTTING  LAUNCHING FAILED CANCELLED
LAUNCHING     QUEUED STARTING RUNNING COLLECTING FAILED CANCELLED LOST
QUEUED        STARTING RUNNING COLLECTING FAILED CANCELLED LOST
STARTING      QUEUED RUNNING COLLECTING FAILED CANCELLED LOST
RUNNING       QUEUED COLLECTING FAILED CANCELLED LOST
COLLECTING    SUCCEEDED FAILED CANCELLED LOST
SUCCEEDED
FAILED
CANCELLED
LOST
"""
"""The moves as people read them; a change of the table is a change here."""

STATES = [state for state in RunState.values() if state != RunState.RUN_STATE_UNSPECIFIED]


def name(state: RunState.ValueType) -> str:
    return RunState.Name(state).removeprefix("RUN_STATE_")


def value(state: str) -> RunState.ValueType:
    return RunState.Value(f"RUN_STATE_{state}")


ALLOWED = {
    value(first): {value(other) for other in rest} for first, *rest in map(str.split, EXPECTED.splitlines())
}


def moved(state: RunState.ValueType, attempt: int = 0, outcome: Outcome | None = None) -> RunEvent:
    event = RunEvent(seq=8, state_changed=StateChanged(state=state, attempt=attempt, outcome=outcome))
    event.time.FromSeconds(100)
    return event


def a_run(state: RunState.ValueType) -> Run:
    return Run(id="r", state=state, attempt=1, last_seq=7)


def test_the_table_is_the_one_that_is_written_down() -> None:
    assert ALLOWED == {state: set(moves) for state, moves in MOVES.items()}


def test_every_state_is_in_the_table() -> None:
    assert set(STATES) == set(MOVES)


def test_the_ends_are_those_without_a_move() -> None:
    assert {value(word) for word in ("SUCCEEDED", "FAILED", "CANCELLED", "LOST")} == TERMINAL
    assert [state in TERMINAL for state in STATES] == [is_terminal(state) for state in STATES]


@pytest.mark.parametrize(("before", "after"), list(itertools.product(STATES, repeat=2)), ids=name)
def test_a_run_moves_as_the_table_says_and_in_no_other_way(
    before: RunState.ValueType, after: RunState.ValueType
) -> None:
    run = a_run(before)
    again = after == RunState.RUN_STATE_QUEUED and name(before) in ("STARTING", "RUNNING")
    event = moved(after, attempt=2 if again else 1)
    if after in ALLOWED[before]:
        assert (after, 2 if again else 1, 8) == (
            (changed := apply(run, event)).state,
            changed.attempt,
            changed.last_seq,
        )
    else:
        with pytest.raises(InvalidMove, match=f"run r cannot move from RUN_STATE_{name(before)}"):
            apply(run, event)
    assert a_run(before) == run


@pytest.mark.parametrize("state", STATES, ids=name)
def test_a_run_that_was_not_accepted_moves_nowhere(state: RunState.ValueType) -> None:
    with pytest.raises(InvalidMove):
        apply(Run(), moved(state))


@pytest.mark.parametrize(
    ("before", "after", "attempt"),
    [("RUNNING", "QUEUED", 1), ("RUNNING", "QUEUED", 3), ("RUNNING", "QUEUED", 0), ("QUEUED", "RUNNING", 2)],
)
def test_an_attempt_is_counted_by_waiting_again_and_by_nothing_else(
    before: str, after: str, attempt: int
) -> None:
    with pytest.raises(InvalidMove, match=rf"\(attempt {attempt}\)"):
        apply(a_run(value(before)), moved(value(after), attempt))


def test_a_run_that_waits_again_has_no_place_and_has_not_begun() -> None:
    running = apply(a_run(value("STARTING")), moved(value("RUNNING")))
    running = apply(running, RunEvent(seq=9, nodes_assigned=NodesAssigned(nodes=["n1"])))
    again = apply(running, moved(value("QUEUED"), attempt=2))

    assert (100, ["n1"]) == (running.start_time.seconds, list(running.nodes))
    assert (False, []) == (again.HasField("start_time"), list(again.nodes))


def test_a_run_that_moves_on_does_not_wait_any_more() -> None:
    waiting = apply(a_run(value("QUEUED")), RunEvent(seq=8, pending=PendingReason(code="cpu")))

    assert "cpu" == waiting.pending.code
    assert not apply(waiting, moved(value("STARTING"))).HasField("pending")


def test_the_end_has_its_time_and_its_outcome_and_ends_the_silence() -> None:
    run = a_run(value("COLLECTING"))
    run.unreachable_since.FromSeconds(5)
    ended = apply(run, moved(value("FAILED"), outcome=Outcome(exit_code=3)))

    assert (100, 3, False) == (
        ended.end_time.seconds,
        ended.outcome.exit_code,
        ended.HasField("unreachable_since"),
    )


def test_an_outcome_that_is_known_stays_when_the_end_does_not_repeat_it() -> None:
    collecting = apply(a_run(value("RUNNING")), moved(value("COLLECTING"), outcome=Outcome(exit_code=3)))

    assert 3 == apply(collecting, moved(value("FAILED"))).outcome.exit_code


def test_a_log_begins_with_the_run_as_it_was_accepted() -> None:
    first = RunEvent(seq=1, accepted=Run(id="r", project="p", state=value("RUNNING")))

    assert Run(id="r", project="p", state=value("ACCEPTED"), attempt=1, last_seq=1) == fold([first])


def test_what_happens_to_a_run_is_kept_in_it() -> None:
    since = Reachability(detail="gone")
    since.unreachable_since.FromSeconds(4)
    run = fold(
        [
            RunEvent(seq=1, accepted=Run(id="r")),
            RunEvent(seq=2, cancel_requested=CancelRequested(by="me", superseded=True)),
            RunEvent(seq=3, sealed=SnapshotRef(key="s/1")),
            RunEvent(seq=4, usage=Usage(peak_memory_bytes=5)),
            RunEvent(seq=5, collected=SnapshotRef(key="s/2")),
            RunEvent(seq=6, notice=Notice(code="one")),
            RunEvent(seq=7, notice=Notice(code="two")),
            RunEvent(seq=8, reachability=since),
            RunEvent(seq=9, cancel_requested=CancelRequested(by="the executor that was told")),
        ]
    )

    assert (True, True, "s/1", 5, "s/2", ["one", "two"], 4, 9) == (
        run.cancel_requested,
        run.superseded,
        run.snapshot.key,
        run.usage.peak_memory_bytes,
        run.result.key,
        [notice.code for notice in run.notices],
        run.unreachable_since.seconds,
        run.last_seq,
    )
    assert not apply(run, RunEvent(seq=10, reachability=Reachability())).HasField("unreachable_since")


def test_a_kind_that_is_not_known_only_counts() -> None:
    before = a_run(value("RUNNING"))
    after = apply(before, RunEvent(seq=9))
    before.last_seq = 9

    assert before == after
