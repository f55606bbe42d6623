"""What the exit record of a run says, in the words of the protocol."""

from __future__ import annotations

from pollinator.executors.records import Record
from pollinator.v1.run_pb2 import Outcome, OutcomeReason, RunState, Usage

_REASONS = {
    "": OutcomeReason.OUTCOME_REASON_UNSPECIFIED,
    "cancelled": OutcomeReason.OUTCOME_REASON_UNSPECIFIED,
    "exit_code": OutcomeReason.OUTCOME_REASON_EXIT_CODE,
    "signal": OutcomeReason.OUTCOME_REASON_SIGNAL,
    "out_of_memory": OutcomeReason.OUTCOME_REASON_OUT_OF_MEMORY,
    "time_limit": OutcomeReason.OUTCOME_REASON_TIME_LIMIT,
    "launch": OutcomeReason.OUTCOME_REASON_LAUNCH,
    "image": OutcomeReason.OUTCOME_REASON_IMAGE,
    "materialise": OutcomeReason.OUTCOME_REASON_MATERIALISE,
    "node_failed": OutcomeReason.OUTCOME_REASON_NODE_FAILED,
    "preempted": OutcomeReason.OUTCOME_REASON_PREEMPTED,
}


def state_of(record: Record) -> RunState.ValueType:
    """The end that a record means."""
    reason = str(record["reason"])
    if reason == "cancelled":
        return RunState.RUN_STATE_CANCELLED
    return RunState.RUN_STATE_FAILED if reason else RunState.RUN_STATE_SUCCEEDED


def outcome_of(record: Record) -> Outcome:
    """How the run ended, as far as its record says."""
    return Outcome(
        reason=_REASONS.get(str(record["reason"]), OutcomeReason.OUTCOME_REASON_BACKEND),
        exit_code=int(record.get("exit_code", 0)),
        signal=int(record.get("signal", 0)),
        rank=int(record.get("rank", 0)),
        detail=str(record.get("detail", "")),
    )


def usage_of(record: Record) -> Usage:
    """What the run used."""
    usage = Usage(
        peak_memory_bytes=int(record.get("peak_memory_bytes", 0)),
        memory_source=str(record.get("memory_source", "")),
    )
    usage.cpu.FromMicroseconds(round(float(record.get("cpu_s", 0)) * 1e6))
    return usage
