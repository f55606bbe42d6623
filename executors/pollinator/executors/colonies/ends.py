"""What an executor of ours tells of a process for which a colony has no words: how it ended."""

from __future__ import annotations

import json
from typing import Any

from google.protobuf.json_format import MessageToDict, ParseDict, ParseError

from pollinator.v1.run_pb2 import Outcome, OutcomeReason
from pollinator.v1.tree_pb2 import SnapshotRef

NODES = "NODES"
"""Names of nodes in rank order, with commas between; public executors set it as well."""
OUTCOME = "POLLINATOR_OUTCOME"
LEFT = ".pollinator"
"""Name of a file that holds the same, in the label of the results: nothing can be told of a process that was
cancelled, but its results come home all the same, and this one last."""

_REASON = "OUTCOME_REASON_"


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
