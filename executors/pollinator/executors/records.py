"""The exit record of a run, which its supervisor writes last: reading, writing, and what it says.

A run with several attempts keeps the records of those that were not the last beside it.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from pollinator.v1.run_pb2 import Outcome, OutcomeReason, RunState, Usage

EXIT = "exit.json"
STARTED = "started.json"
MAX_REQUEUES = 10
"""How often a run that asks for it is run again, unless it says."""

_AGAIN = ("time_limit", "node_failed", "preempted")
"""Ends that are not the job's own."""

_REASONS = {
    "": OutcomeReason.OUTCOME_REASON_UNSPECIFIED,
    "cancelled": OutcomeReason.OUTCOME_REASON_UNSPECIFIED,
    "exit_code": OutcomeReason.OUTCOME_REASON_EXIT_CODE,
    "signal": OutcomeReason.OUTCOME_REASON_SIGNAL,
    "out_of_memory": OutcomeReason.OUTCOME_REASON_OUT_OF_MEMORY,
    "time_limit": OutcomeReason.OUTCOME_REASON_TIME_LIMIT,
    "launch": OutcomeReason.OUTCOME_REASON_LAUNCH,
    "node_failed": OutcomeReason.OUTCOME_REASON_NODE_FAILED,
    "preempted": OutcomeReason.OUTCOME_REASON_PREEMPTED,
}

Record = dict[str, Any]


def read_record(path: Path) -> Record | None:
    """A record that was written whole; None without one."""
    try:
        record: Record = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    return record


def write_json(path: Path, value: Record, *, durable: bool = False) -> None:
    """Write a file that only this user can read, atomically; it survives a power cut if it is ``durable``."""
    temporary = path.with_suffix(".new")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        json.dump(value, file)
        if durable:
            file.flush()
            os.fsync(file.fileno())
    temporary.replace(path)


def write_exit(workspace: Path, record: Record) -> None:
    """Write the exit record for one who could not."""
    write_json(workspace / EXIT, record, durable=True)


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


def attempts(workspace: Path) -> int:
    """How many attempts have ended and were followed by another."""
    return sum(1 for _ in workspace.glob("attempt.*.json"))


def may_go_on(workspace: Path, record: Record, *, requeue: bool, max_requeues: int) -> bool:
    """A run that ended like this is to be run again."""
    if not requeue or record["reason"] not in _AGAIN or (workspace / "cancel").exists():
        return False
    return attempts(workspace) < (max_requeues or MAX_REQUEUES)


def next_attempt(workspace: Path) -> None:
    """Put the record of an attempt aside: the run has not ended. Repeating it after a crash is harmless."""
    # A record without a start is this one, interrupted; a start without a record would be a lost run.
    (workspace / STARTED).unlink(missing_ok=True)
    (workspace / EXIT).replace(workspace / f"attempt.{attempts(workspace) + 1}.json")
