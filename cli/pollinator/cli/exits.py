"""The published table of exit codes, and which one an error or an ended run gets.

A job that ran and ended by itself decides the code of ``run --follow``, ``wait`` and ``logs -f``; the codes
here are for everything else. Words for people are in ``words``.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING

from pollinator.wire.errors import Code, PollinatorError

if TYPE_CHECKING:
    from pollinator.v1.run_pb2 import Outcome, Run


class Exit(IntEnum):
    """What a code of this program means."""

    OK = 0
    FAILED = 1
    USAGE = 2
    CORRUPT = 65
    UNAVAILABLE = 69
    DEFECT = 70
    EXISTS = 73
    TRY_AGAIN = 75
    NO_ACCESS = 77
    NOT_READY = 78
    NOT_STARTED = 100
    NOT_ENDED = 101
    NOT_FOUND = 102
    CANCELLED = 103
    NO_RESULTS = 104
    LOST = 105
    TAKEN_AWAY = 106
    TIME_LIMIT = 124
    INTERRUPTED = 130
    OUT_OF_MEMORY = 137
    BROKEN_PIPE = 141


@dataclass(frozen=True, slots=True)
class Row:
    """One row of the table."""

    code: Exit
    meaning: str


TABLE = (
    Row(Exit.OK, "done; with --follow, wait and logs -f: the job ended with 0"),
    Row(Exit.FAILED, "did not work; a check of doctor failed; ignored: no path; problems: there are some"),
    Row(Exit.USAGE, "wrong command line or wrong project.yaml"),
    Row(Exit.CORRUPT, "bytes read back are not those written"),
    Row(Exit.UNAVAILABLE, "the daemon, an executor or the store does not answer"),
    Row(Exit.DEFECT, "a defect of Pollinator"),
    Row(Exit.EXISTS, "something is there already, for example files in the folder named"),
    Row(Exit.TRY_AGAIN, "a limit is reached or time ran out; the same command may work later"),
    Row(Exit.NO_ACCESS, "credentials are missing, wrong, expired or not enough"),
    Row(Exit.NOT_READY, "something has to be put right first, for example a halted project"),
    Row(Exit.NOT_STARTED, "the run failed before or outside of its command: files, image, executor"),
    Row(Exit.NOT_ENDED, "wait --timeout passed; the run goes on"),
    Row(Exit.NOT_FOUND, "there is no such run, project or bucket"),
    Row(Exit.CANCELLED, "the run was cancelled"),
    Row(Exit.NO_RESULTS, "the command ended with 0, but its results could not be brought home"),
    Row(Exit.LOST, "the run is lost: its executor does not know it any more"),
    Row(Exit.TAKEN_AWAY, "the node failed or the resources were taken away"),
    Row(Exit.TIME_LIMIT, "the run took longer than its walltime"),
    Row(Exit.INTERRUPTED, "Ctrl-C; a run that was followed goes on unless --cancel-on-interrupt was given"),
    Row(Exit.OUT_OF_MEMORY, "the run used more memory than it asked for"),
    Row(Exit.BROKEN_PIPE, "whoever read the output is gone"),
)

_OF_ERROR = {
    Code.INVALID_ARGUMENT: Exit.USAGE,
    Code.NOT_FOUND: Exit.NOT_FOUND,
    Code.ALREADY_EXISTS: Exit.EXISTS,
    Code.FAILED_PRECONDITION: Exit.NOT_READY,
    Code.PERMISSION_DENIED: Exit.NO_ACCESS,
    Code.UNAUTHENTICATED: Exit.NO_ACCESS,
    Code.RESOURCE_EXHAUSTED: Exit.TRY_AGAIN,
    Code.OUT_OF_RANGE: Exit.FAILED,
    Code.UNAVAILABLE: Exit.UNAVAILABLE,
    Code.DEADLINE_EXCEEDED: Exit.TRY_AGAIN,
    Code.DATA_LOSS: Exit.CORRUPT,
    Code.INTERNAL: Exit.DEFECT,
}


def code_of_error(error: PollinatorError) -> int:
    """The exit code for an error."""
    return int(_OF_ERROR[error.code])


def code_of_run(run: Run) -> int:
    """The exit code for a run that has ended; ``NOT_ENDED`` for one that has not."""
    from pollinator.v1.run_pb2 import RunState

    match run.state:
        case RunState.RUN_STATE_SUCCEEDED:
            return int(Exit.OK)
        case RunState.RUN_STATE_CANCELLED:
            return int(Exit.CANCELLED)
        case RunState.RUN_STATE_LOST:
            return int(Exit.LOST)
        case RunState.RUN_STATE_FAILED:
            return _code_of_failure(run.outcome)
        case _:
            return int(Exit.NOT_ENDED)


def _code_of_failure(outcome: Outcome) -> int:
    from pollinator.v1.run_pb2 import OutcomeReason

    match outcome.reason:
        case OutcomeReason.OUTCOME_REASON_EXIT_CODE:
            return outcome.exit_code or int(Exit.FAILED)
        case OutcomeReason.OUTCOME_REASON_SIGNAL:
            return outcome.exit_code or 128 + outcome.signal
        case OutcomeReason.OUTCOME_REASON_OUT_OF_MEMORY:
            return int(Exit.OUT_OF_MEMORY)
        case OutcomeReason.OUTCOME_REASON_TIME_LIMIT:
            return int(Exit.TIME_LIMIT)
        case OutcomeReason.OUTCOME_REASON_NODE_FAILED | OutcomeReason.OUTCOME_REASON_PREEMPTED:
            return int(Exit.TAKEN_AWAY)
        case OutcomeReason.OUTCOME_REASON_COLLECT:
            return outcome.exit_code or int(Exit.NO_RESULTS)
        case _:
            return int(Exit.NOT_STARTED)
