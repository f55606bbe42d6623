"""How a process ended: what a colony says of it, and what an executor of ours tells beside that."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

from google.protobuf.json_format import MessageToDict, ParseDict, ParseError

from pollinator.executors.colonies.messages import Process, State
from pollinator.v1.run_pb2 import Outcome, OutcomeReason, RunState
from pollinator.v1.tree_pb2 import SnapshotRef

NODES = "NODES"
"""Names of nodes in rank order, with commas between; public executors set it as well."""
OUTCOME = "POLLINATOR_OUTCOME"
LEFT = ".pollinator"
"""Name of a file that holds the same, in the label of the results: nothing can be told of a process that was
cancelled, but its results come home all the same, and this one last."""

_REASON = "OUTCOME_REASON_"
_R = OutcomeReason
_ERRORS = (
    (re.compile(r"Maximum (?:execution|waiting) time limit exceeded"), _R.OUTCOME_REASON_TIME_LIMIT),
    (re.compile(r"OOMKilled"), _R.OUTCOME_REASON_OUT_OF_MEMORY),
    (re.compile(r"exit code = (\d+)"), _R.OUTCOME_REASON_EXIT_CODE),
    (re.compile(r"container image|pull image", re.IGNORECASE), _R.OUTCOME_REASON_IMAGE),
    (re.compile(r"pre[- ]?sync|download snapshot", re.IGNORECASE), _R.OUTCOME_REASON_MATERIALISE),
    (re.compile(r"Failed to validate|Failed to parse|Unsupported funcname"), _R.OUTCOME_REASON_LAUNCH),
)
"""What public executors and the server write, and what it means."""


@dataclass(frozen=True, slots=True)
class End:
    """How a run ended."""

    state: RunState.ValueType
    outcome: Outcome
    result: SnapshotRef | None = None
    """Its results, if they are in the store of its snapshot."""
    left: bool = False
    """An executor of ours had it, and may still be bringing results."""


def end_of(process: Process, *, ours: bool, wished: bool) -> End:
    """How a process that has ended did.

    Args:
        process: the process.
        ours: executors of ours took it.
        wished: it was cancelled from here.
    """
    told = read_outcome(process.attributes.get(OUTCOME, ""))
    outcome, result = told or (Outcome(), None)
    if process.state == State.CANCELLED:
        if not wished:
            outcome.detail = outcome.detail or "somebody else cancelled it in the colony"
        left = ours and process.started is not None and result is None
        return End(RunState.RUN_STATE_CANCELLED, outcome, result, left)
    if process.state == State.SUCCESS and not outcome.reason:
        return End(RunState.RUN_STATE_SUCCEEDED, outcome, result)
    if told is None or (not outcome.reason and not outcome.exit_code):
        outcome = _outcome_of_errors(process.errors)
    return End(RunState.RUN_STATE_FAILED, outcome, result)


def _outcome_of_errors(errors: tuple[str, ...]) -> Outcome:
    text = "\n".join(filter(None, errors)) or "its executor did not say why"
    for pattern, reason in _ERRORS:
        if found := pattern.search(text):
            code = int(found[1]) if found.groups() else 1
            return Outcome(reason=reason, exit_code=code or 1, detail=text)
    return Outcome(reason=_R.OUTCOME_REASON_BACKEND, exit_code=1, detail=text)


def outcome_text(outcome: Outcome, result: SnapshotRef | None = None) -> str:
    """What the attribute ``OUTCOME`` holds.

    Args:
        outcome: how the run ended.
        result: its results in the bucket that its snapshot came from, if that is where they are.
    """
    told: dict[str, Any] = MessageToDict(outcome, preserving_proto_field_name=True)
    told["reason"] = OutcomeReason.Name(outcome.reason).removeprefix(_REASON).lower()
    if result is not None:
        told["result"] = {"key": result.key, "digest": result.digest.hex()}
    return json.dumps(told, ensure_ascii=False)


def read_outcome(text: str) -> tuple[Outcome, SnapshotRef | None] | None:
    """What an attribute says; None when it cannot be read."""
    try:
        told = json.loads(text)
        result = told.pop("result", None)
        reason = f"{_REASON}{told.pop('reason', 'unspecified').upper()}"
        outcome = ParseDict(told, Outcome(), ignore_unknown_fields=True)
        # A reason that is not known here is one all the same.
        known = reason in OutcomeReason.keys()  # noqa: SIM118 - the wrapper is no mapping
        outcome.reason = OutcomeReason.Value(reason) if known else OutcomeReason.OUTCOME_REASON_BACKEND
        ref = SnapshotRef(key=result["key"], digest=bytes.fromhex(result["digest"])) if result else None
    except (ValueError, TypeError, AttributeError, KeyError, ParseError):
        return None
    return outcome, ref
