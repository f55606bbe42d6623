"""How a job without a final record of its own ended, by what Slurm says. Decides only.

The record decides wherever there is one. Nothing is a success without.
"""

from __future__ import annotations

from pollinator.executors.records import Record
from pollinator.executors.slurm.batch import INTERRUPTED, WHY
from pollinator.executors.slurm.seen import JobSeen
from pollinator.v1.run_pb2 import OutcomeReason, RunState

_WORDS = {
    OutcomeReason.OUTCOME_REASON_TIME_LIMIT: ("time_limit", 15),
    OutcomeReason.OUTCOME_REASON_OUT_OF_MEMORY: ("out_of_memory", 9),
    OutcomeReason.OUTCOME_REASON_NODE_FAILED: ("node_failed", 0),
    OutcomeReason.OUTCOME_REASON_PREEMPTED: ("preempted", 15),
}


def is_final(record: Record | None) -> bool:
    """The run ended as it says."""
    return record is not None and record["reason"] != INTERRUPTED


def by_slurm(seen: JobSeen, record: Record | None, *, cancelled: bool, started: bool) -> Record:
    """The record of a job that Slurm says has ended, or does not know any more.

    Args:
        seen: what Slurm said last.
        record: that of a supervisor that was interrupted, if there is one.
        cancelled: it was wished that the run ends.
        started: ranks may have begun.
    """
    usage = record or {}
    if cancelled:
        return usage | _record("cancelled", 15, "")
    if usage.get(WHY):
        return usage | {"reason": usage[WHY]}
    if seen.gone:
        return usage | _forgotten(record)
    meaning = seen.meaning
    if meaning.state == RunState.RUN_STATE_CANCELLED:
        by = f" by user {seen.cancelled_by}" if seen.cancelled_by else ""
        return usage | _record("cancelled", 15, f"job {seen.job_id} was cancelled in Slurm{by}")
    if meaning.reason in _WORDS:
        reason, signal = _WORDS[meaning.reason]
        return usage | _record(reason, signal, f"job {seen.job_id}: {meaning.detail}")
    if meaning.state == RunState.RUN_STATE_LOST:
        return usage | _lost(f"job {seen.job_id}: {meaning.detail}")
    return usage | _unexplained(seen, started=started)


def _unexplained(seen: JobSeen, *, started: bool) -> Record:
    """Slurm says that it ended, and no more."""
    ended = f"signal {seen.signal}" if seen.signal else f"exit code {seen.exit_code}"
    code = {"exit_code": seen.exit_code or (128 + seen.signal if seen.signal else 1), "signal": seen.signal}
    if not started:
        return (
            _record("launch", 0, f"job {seen.job_id} ended with {ended} before it began with the run") | code
        )
    detail = f"job {seen.job_id} ended with {ended}, and its supervisor left no record"
    return _record("node_failed", 0, detail) | code


def _forgotten(record: Record | None) -> Record:
    if record is not None:
        return _record("backend", 15, "Slurm ended the job, and does not say why")
    return _lost("Slurm does not know the job any more, and it left no record")


def _lost(detail: str) -> Record:
    return _record("lost", 0, detail)


def _record(reason: str, signal: int, detail: str) -> Record:
    return {
        "reason": reason,
        "rank": 0,
        "exit_code": 128 + signal if signal else 1,
        "signal": signal,
        "detail": detail,
    }
