"""How a process ended: what a colony says of it, and what an executor of ours tells beside that."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from google.protobuf.json_format import MessageToDict, ParseDict, ParseError

from pollinator.executors.colonies.messages import Process, State, one
from pollinator.v1.run_pb2 import Notice, Outcome, OutcomeReason, RunState, Usage
from pollinator.v1.tree_pb2 import SnapshotRef

NODES = "NODES"
"""Names of nodes in rank order, with commas between; public executors set it as well."""
OUTCOME = "POLLINATOR_OUTCOME"
ATTEMPT = "POLLINATOR_ATTEMPT_"
"""With a number, from 2 on: our executor runs it again by itself, for that time."""
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
    usage: Usage | None = None
    notices: tuple[Notice, ...] = ()
    """What its user should know of its results."""
    left: bool = False
    """An executor of ours had it, and may still be bringing results."""


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of what a rank printed."""

    start: int
    """Offset of its first byte in all that the rank printed."""
    data: bytes


@dataclass(frozen=True, slots=True)
class Told:
    """What an executor of ours tells."""

    outcome: Outcome
    result: SnapshotRef | None = None
    """In the bucket that the snapshot came from, if that is where they are."""
    usage: Usage | None = None
    notices: tuple[Notice, ...] = ()
    printed: Mapping[int, Piece] = field(default_factory=dict[int, Piece])
    """By rank: what was printed and is in no log."""


def end_of(process: Process, *, ours: bool, wished: bool) -> End:
    """How a process that has ended did.

    Args:
        process: the process.
        ours: executors of ours took it.
        wished: it was cancelled from here.
    """
    told = read_outcome(process.attributes.get(OUTCOME, ""))
    known = told or Told(Outcome())
    outcome, left = known.outcome, False
    if process.state == State.CANCELLED:
        state = RunState.RUN_STATE_CANCELLED
        if not wished:
            outcome.detail = outcome.detail or "somebody else cancelled it in the colony"
        left = ours and process.started is not None and told is None
    elif process.state == State.SUCCESS and not outcome.reason:
        state = RunState.RUN_STATE_SUCCEEDED
    else:
        state = RunState.RUN_STATE_FAILED
        if not outcome.reason and not outcome.exit_code:
            outcome = _outcome_of_errors(process.errors)
    return End(state, outcome, known.result, known.usage, known.notices, left)


def _outcome_of_errors(errors: tuple[str, ...]) -> Outcome:
    text = "\n".join(filter(None, errors)) or "its executor did not say why"
    for pattern, reason in _ERRORS:
        if found := pattern.search(text):
            code = int(found[1]) if found.groups() else 1
            return Outcome(reason=reason, exit_code=code or 1, detail=text)
    return Outcome(reason=_R.OUTCOME_REASON_BACKEND, exit_code=1, detail=text)


def _piece(told: Any) -> Piece:
    start, data = told
    return Piece(int(start), base64.b64decode(data))


def outcome_text(told: Told) -> str:
    """What the attribute ``OUTCOME`` holds."""
    outcome = told.outcome
    text: dict[str, Any] = MessageToDict(outcome, preserving_proto_field_name=True)
    text["reason"] = OutcomeReason.Name(outcome.reason).removeprefix(_REASON).lower()
    if told.result is not None:
        text["result"] = {"key": told.result.key, "digest": told.result.digest.hex()}
    if told.usage is not None:
        text["usage"] = MessageToDict(told.usage, preserving_proto_field_name=True)
    if told.notices:
        text["notices"] = [MessageToDict(each, preserving_proto_field_name=True) for each in told.notices]
    if told.printed:
        text["printed"] = {
            rank: [piece.start, base64.b64encode(piece.data).decode()] for rank, piece in told.printed.items()
        }
    return json.dumps(text, ensure_ascii=False)


def read_outcome(text: str) -> Told | None:
    """What an attribute says; None when it cannot be read."""
    try:
        told = json.loads(text)
        parts = ("result", "usage", "notices", "printed")
        result, usage, notices, printed = (told.pop(name, None) for name in parts)
        reason = f"{_REASON}{told.pop('reason', 'unspecified').upper()}"
        outcome = ParseDict(told, Outcome(), ignore_unknown_fields=True)
        # A reason that is not known here is one all the same.
        known = reason in OutcomeReason.keys()  # noqa: SIM118 - the wrapper is no mapping
        outcome.reason = OutcomeReason.Value(reason) if known else OutcomeReason.OUTCOME_REASON_BACKEND
        return Told(
            outcome,
            SnapshotRef(key=result["key"], digest=bytes.fromhex(result["digest"])) if result else None,
            ParseDict(usage, Usage(), ignore_unknown_fields=True) if usage else None,
            tuple(ParseDict(each, Notice(), ignore_unknown_fields=True) for each in notices or ()),
            {int(rank): _piece(told) for rank, told in one(printed).items()},
        )
    except (ValueError, TypeError, AttributeError, KeyError, ParseError):
        return None
