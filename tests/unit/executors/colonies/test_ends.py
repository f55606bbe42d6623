"""How a run ended, from an executor of ours to whoever submitted it."""

from __future__ import annotations

import pytest

from pollinator.executors.colonies.ends import outcome_text, read_outcome
from pollinator.v1.run_pb2 import Outcome, OutcomeReason
from pollinator.v1.tree_pb2 import SnapshotRef

OUTCOME = Outcome(
    reason=OutcomeReason.OUTCOME_REASON_SIGNAL, exit_code=139, signal=11, detail="rank 2 <é>", rank=2
)


@pytest.mark.parametrize("result", [None, SnapshotRef(key="s/1", digest=b"\x01\xff")])
@pytest.mark.parametrize("outcome", [Outcome(), OUTCOME])
def test_it_arrives_as_it_was(outcome: Outcome, result: SnapshotRef | None) -> None:
    assert (outcome, result) == read_outcome(outcome_text(outcome, result))


def test_a_reason_that_is_not_known_here_is_one() -> None:
    read = read_outcome('{"reason": "moonlight", "exit_code": 3, "colour": 7}')

    assert read is not None
    assert Outcome(reason=OutcomeReason.OUTCOME_REASON_BACKEND, exit_code=3) == read[0]


@pytest.mark.parametrize("text", ["", "{", "[]", "7", '{"exit_code": "x"}', '{"result": {"key": 1}}'])
def test_what_cannot_be_read_says_nothing(text: str) -> None:
    assert read_outcome(text) is None
