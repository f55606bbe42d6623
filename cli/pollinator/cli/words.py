"""Numbers, times and reasons in plain words. Knows nothing of streams or services."""

from __future__ import annotations

import re
import shlex
import signal
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from google.protobuf.timestamp_pb2 import Timestamp

    from pollinator.v1.run_pb2 import Outcome, Run, RunState

_UNIT_S = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
_PART = re.compile(r"(\d+)([smhdw])")


def bytes_text(count: int) -> str:
    """``12.3 MiB``."""
    size = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{count} B" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} TiB"


def count_text(count: float, noun: str) -> str:
    """``1 node``, ``2 nodes``, ``0.5 cores``."""
    return f"{count:g} {noun}" if count == 1 else f"{count:g} {noun}s"


def duration_text(seconds: float) -> str:
    """``0.4s``, ``12s``, ``3m05s``, ``2h10m``, ``4d03h``."""
    if seconds < 10:
        return f"{max(0.0, seconds):.1f}s"
    whole = int(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02d}s"
    if whole < 86400:
        return f"{whole // 3600}h{whole % 3600 // 60:02d}m"
    return f"{whole // 86400}d{whole % 86400 // 3600:02d}h"


def left_text(seconds: float | None) -> str:
    """``12s left``, ``3m05s left``; a question mark when nobody knows."""
    return (
        "? left" if seconds is None else f"{duration_text(max(1, round(seconds)))} left".replace(".0s", "s")
    )


def ignore_line(path: bytes, *, directory: bool) -> str:
    """The line of the project's ignore file for a path of its trees, quoted for a shell."""
    escaped = re.sub(rb"([\\*?\[])", rb"\\\1", path)
    return shlex.quote(f"/cfs/{escaped.decode('utf-8', 'surrogateescape')}{'/' * directory}")


def parse_duration_s(text: str) -> int:
    """Seconds of ``90``, ``90s``, ``10m``, ``1h30m``, ``2d``, ``1w``.

    Raises:
        ValueError: it is no duration.
    """
    text = text.strip()
    if text.isdecimal():
        return int(text)
    parts = _PART.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise ValueError(f"{text!r} is no duration: write 90, 90s, 10m, 1h30m or 2d")
    return sum(int(number) * _UNIT_S[unit] for number, unit in parts)


def parse_since(text: str, now: datetime) -> datetime:
    """A point in time: a duration before ``now``, or a date such as ``2026-01-31`` or ``2026-01-31T14:00``.

    Raises:
        ValueError: it is neither.
    """
    try:
        return now - timedelta(seconds=parse_duration_s(text))
    except (ValueError, OverflowError):
        pass
    try:
        return datetime.fromisoformat(text).astimezone(UTC)
    except ValueError:
        raise ValueError(f"{text!r} is neither a duration such as 4h nor a date such as 2026-01-31") from None


def time_text(stamp: Timestamp) -> str:
    """Local date and time."""
    return stamp.ToDatetime(UTC).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def age_text(stamp: Timestamp, now: datetime) -> str:
    """How long ago."""
    return duration_text((now - stamp.ToDatetime(UTC)).total_seconds())


def state_word(state: RunState.ValueType) -> str:
    """``running`` for RUN_STATE_RUNNING."""
    from pollinator.v1.run_pb2 import RunState

    return RunState.Name(state).removeprefix("RUN_STATE_").lower()


def signal_text(number: int) -> str:
    """``11 (SIGSEGV)``."""
    try:
        return f"{number} ({signal.Signals(number).name})"
    except ValueError:
        return str(number)


def run_time_s(run: Run, now: datetime) -> float | None:
    """How long the ranks ran or have been running; None when they never started."""
    if not run.HasField("start_time"):
        return None
    end = run.end_time.ToDatetime(UTC) if run.HasField("end_time") else now
    return (end - run.start_time.ToDatetime(UTC)).total_seconds()


def reason_word(run: Run) -> str:
    """The stable word for why a run ended as it did, or empty."""
    from pollinator.v1.run_pb2 import OutcomeReason

    if not run.outcome.reason:
        return ""
    try:
        return OutcomeReason.Name(run.outcome.reason).removeprefix("OUTCOME_REASON_").lower()
    except ValueError:
        return f"reason_{run.outcome.reason}"


def what_happened(run: Run) -> str:
    """What there is to say about how a run ended; empty for one that succeeded or goes on."""
    from pollinator.v1.run_pb2 import RunState

    detail, _ = _told(run)
    match run.state:
        case RunState.RUN_STATE_FAILED:
            return _failure(run, detail)
        case RunState.RUN_STATE_CANCELLED:
            return detail
        case RunState.RUN_STATE_LOST:
            return detail or f"Executor {run.executor} does not know it any more."
        case _:
            return ""


def what_to_do(run: Run) -> str:
    """One line with the next command after a failure; empty when there is none."""
    from pollinator.v1.run_pb2 import RunState

    if run.state == RunState.RUN_STATE_LOST:
        return f"start it again: pollinator rerun {run.id}"
    if run.state != RunState.RUN_STATE_FAILED:
        return ""
    _, told = _told(run)
    return told or _next_command(run)


def _next_command(run: Run) -> str:
    from pollinator.v1.run_pb2 import OutcomeReason

    match run.outcome.reason:
        case OutcomeReason.OUTCOME_REASON_OUT_OF_MEMORY:
            more = f"{max(1, 2 * run.spec.memory_bytes // 2**20)}Mi"
            return f"ask for more: pollinator rerun {run.id} --set conditions.mem={more}"
        case OutcomeReason.OUTCOME_REASON_TIME_LIMIT:
            more = str(max(1, 2 * run.spec.walltime_ms // 1000))
            return f"allow more time: pollinator rerun {run.id} --set conditions.walltime={more}"
        case OutcomeReason.OUTCOME_REASON_EXIT_CODE | OutcomeReason.OUTCOME_REASON_SIGNAL:
            return f"its output says more: pollinator logs --tail 50 {run.id}"
        case OutcomeReason.OUTCOME_REASON_NODE_FAILED | OutcomeReason.OUTCOME_REASON_PREEMPTED:
            return f"start it again: pollinator rerun {run.id}"
        case OutcomeReason.OUTCOME_REASON_COLLECT:
            return f"fetch them again: pollinator pull {run.id}"
        case OutcomeReason.OUTCOME_REASON_IMAGE:
            alone = f"pollinator images pull {run.spec.image} --executor {run.executor}"
            return f"see that environment.docker is right; try it alone, where there is an engine: {alone}"
        case OutcomeReason.OUTCOME_REASON_SNAPSHOT:
            return "look at the project's state: pollinator status"
        case _:
            return f"look at the executor: pollinator executors show {run.executor}"


def _told(run: Run) -> tuple[str, str]:
    """The detail of an outcome, and what the one who recorded it said to do.

    Where something of ours failed, the detail is an error: a sentence, indented lines with places, a hint.
    """
    from pollinator.v1.run_pb2 import OutcomeReason

    detail = run.outcome.detail.strip()
    above, newline, last = detail.rpartition("\n")
    of_ours = (
        OutcomeReason.OUTCOME_REASON_SNAPSHOT,
        OutcomeReason.OUTCOME_REASON_LAUNCH,
        OutcomeReason.OUTCOME_REASON_MATERIALISE,
    )
    if newline and run.outcome.reason in of_ours and not last.startswith(" "):
        return above, last
    return detail, ""


def _failure(run: Run, detail: str) -> str:
    from pollinator.v1.run_pb2 import OutcomeReason

    outcome = run.outcome
    match outcome.reason:
        case OutcomeReason.OUTCOME_REASON_EXIT_CODE:
            said = f"{_who(run, outcome)} ended with exit code {outcome.exit_code}."
        case OutcomeReason.OUTCOME_REASON_SIGNAL:
            said = f"{_who(run, outcome)} was ended by signal {signal_text(outcome.signal)}."
        case OutcomeReason.OUTCOME_REASON_OUT_OF_MEMORY:
            said = f"It used more memory than it asked for ({_memory(run)})."
        case OutcomeReason.OUTCOME_REASON_TIME_LIMIT:
            said = f"It took longer than its walltime of {duration_text(run.spec.walltime_ms / 1000)}."
        case _:
            return detail or f"It failed: {reason_word(run).replace('_', ' ')}."
    return f"{said} {detail}" if detail and detail not in said else said


def _who(run: Run, outcome: Outcome) -> str:
    ranks = run.spec.nodes * run.spec.processes_per_node
    return f"Rank {outcome.rank}" if ranks > 1 else "The job"


def _memory(run: Run) -> str:
    asked = f"asked for {bytes_text(run.spec.memory_bytes)}"
    if not run.usage.peak_memory_bytes:
        return asked
    return f"{asked}, peak {bytes_text(run.usage.peak_memory_bytes)} by {run.usage.memory_source}"
