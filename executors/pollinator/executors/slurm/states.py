"""What Slurm's words for the state of a job mean for a run.

Slurm has base states and flags. Its programs print one word for both: a flag where one is set that they know,
else the base state. A word that is not in these tables is reported as it is, and never guessed at.
"""

from __future__ import annotations

from dataclasses import dataclass

from pollinator.v1.run_pb2 import OutcomeReason, RunState


@dataclass(frozen=True, slots=True)
class Meaning:
    """What a state is for a run."""

    state: RunState.ValueType
    """COLLECTING where its exit record says how it ended; an end where Slurm may be the only one to know how;
    unspecified for a word that is not known."""
    reason: OutcomeReason.ValueType = OutcomeReason.OUTCOME_REASON_UNSPECIFIED
    """Why it failed, for a job that left no record."""
    detail: str = ""
    """For people, or empty."""
    ended: bool = False
    """It does not run any more. After NODE_FAIL and PREEMPTED Slurm may still put it back into the queue."""


_QUEUED = RunState.RUN_STATE_QUEUED
_STARTING = RunState.RUN_STATE_STARTING
_RUNNING = RunState.RUN_STATE_RUNNING
_FAILED = RunState.RUN_STATE_FAILED

_TIME_LIMIT = OutcomeReason.OUTCOME_REASON_TIME_LIMIT
_OUT_OF_MEMORY = OutcomeReason.OUTCOME_REASON_OUT_OF_MEMORY
_NODE_FAILED = OutcomeReason.OUTCOME_REASON_NODE_FAILED
_PREEMPTED = OutcomeReason.OUTCOME_REASON_PREEMPTED
_BY_RECORD = Meaning(RunState.RUN_STATE_COLLECTING, ended=True)


def _failed(reason: OutcomeReason.ValueType, detail: str) -> Meaning:
    return Meaning(RunState.RUN_STATE_FAILED, reason, detail, ended=True)


BASE: dict[str, Meaning] = {
    "PENDING": Meaning(_QUEUED),
    "RUNNING": Meaning(_RUNNING),
    "SUSPENDED": Meaning(_RUNNING, detail="paused by Slurm"),
    "COMPLETED": _BY_RECORD,
    "FAILED": _BY_RECORD,
    "CANCELLED": Meaning(RunState.RUN_STATE_CANCELLED, detail="cancelled in Slurm", ended=True),
    "TIMEOUT": _failed(_TIME_LIMIT, "its time in Slurm was over"),
    "DEADLINE": _failed(_TIME_LIMIT, "it could not end before its deadline in Slurm"),
    "OUT_OF_MEMORY": _failed(_OUT_OF_MEMORY, "it used more memory than Slurm gave it"),
    "NODE_FAIL": _failed(_NODE_FAILED, "a node that it ran on failed"),
    "BOOT_FAIL": _failed(_NODE_FAILED, "a node for it did not start"),
    "PREEMPTED": _failed(_PREEMPTED, "Slurm gave its nodes to a job that goes first"),
}
"""Every job has one of these."""

FLAGS: dict[str, Meaning] = {
    "CONFIGURING": Meaning(_STARTING, detail="its nodes are being made ready"),
    "POWER_UP_NODE": Meaning(_STARTING, detail="its nodes are being switched on"),
    "COMPLETING": Meaning(RunState.RUN_STATE_COLLECTING, detail="Slurm cleans up after it"),
    "STAGE_OUT": Meaning(RunState.RUN_STATE_COLLECTING, detail="Slurm copies its files out"),
    "REQUEUED": Meaning(_QUEUED, detail="put back into the queue"),
    "REQUEUE_FED": Meaning(_QUEUED, detail="put back into the queue of the federation"),
    "REQUEUE_HOLD": Meaning(_QUEUED, detail="put back into the queue, and held"),
    "SPECIAL_EXIT": Meaning(_QUEUED, detail="put back into the queue, and held for its exit code"),
    "RESV_DEL_HOLD": Meaning(_QUEUED, detail="held because its reservation was deleted"),
    "STOPPED": Meaning(_RUNNING, detail="stopped by a signal; it keeps its nodes"),
    "SIGNALING": Meaning(_RUNNING, detail="a signal is on its way to it"),
    "RESIZING": Meaning(_RUNNING, detail="its size is being changed"),
    "LAUNCH_FAILED": Meaning(_FAILED, _NODE_FAILED, "a node could not start it, or its prolog failed"),
    "RECONFIG_FAIL": Meaning(_FAILED, _NODE_FAILED, "a node could not be set up for it"),
    "REVOKED": Meaning(RunState.RUN_STATE_LOST, detail="a federated cluster has taken it", ended=True),
}
"""These are told instead of the base state, and say more than it."""

IGNORED = frozenset({"EXPEDITING", "UPDATE_DB"})
"""Flags that change nothing for a run."""


@dataclass(frozen=True, slots=True)
class Word:
    """One state as Slurm prints it."""

    base: str = ""
    """Empty where only a flag was printed."""
    flags: tuple[str, ...] = ()
    by: str = ""
    """The number of the user who cancelled it, where that was printed."""


def read(text: str) -> Word:
    """What Slurm printed: ``RUNNING``, ``COMPLETING``, ``CANCELLED by 1000``, ``PENDING,REQUEUED``."""
    first, _, by = text.strip().partition(" by ")
    words = [each.strip().upper() for each in first.replace("+", ",").split(",")]
    bases = [each for each in words if each in BASE]
    # One that is in no table is kept among the flags, where `meaning` finds and reports it.
    flags = tuple(each for each in words if each and each not in BASE)
    return Word(bases[0] if bases else "", flags, by.strip())


def meaning(base: str, flags: tuple[str, ...] = ()) -> Meaning:
    """What a base state with its flags means; unspecified, and saying so, for words that are not known."""
    telling = [flag for flag in flags if flag not in IGNORED]
    for word in telling:
        if word in FLAGS:
            return FLAGS[word]
    if telling:
        return _unknown(telling[0])
    if base in BASE:
        return BASE[base]
    return _unknown(base)


def _unknown(word: str) -> Meaning:
    return Meaning(
        RunState.RUN_STATE_UNSPECIFIED, detail=f"Slurm says {word or 'nothing'}, which is not known here"
    )
