"""One job as squeue and sacct tell of it, read from text that has a separator of its own.

Text, because its fields have had the same names in every version since 20.02. Their JSON has not: see
docs/decisions/0015-slurm-text.md.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from pollinator.executors.slurm.nodelist import hostnames
from pollinator.executors.slurm.states import Meaning, meaning, read

BREAK = "\x1f"
"""Between fields. A field with an ending but no width is printed in full, so nothing is cut off."""

_QUEUE = (
    "JobID",
    "JobArrayID",
    "State",
    "Reason",
    "NodeList",
    "exit_code",
    "RestartCnt",
    "StartTime",
    "EndTime",
)
QUEUE_FORMAT = ",".join(f"{name}:{BREAK}" for name in _QUEUE)
NAMES_FORMAT = ",".join(f"{name}:{BREAK}" for name in ("JobID", "Name", "Comment"))
START_FORMAT = f"%A{BREAK}%S"
"""For -o: beside --start, -O is not heeded."""

_ACCOUNTS = ("JobIDRaw", "JobID", "State", "ExitCode", "Start", "End", "NodeList")
ACCOUNTS_FORMAT = ",".join(_ACCOUNTS)
ACCOUNTS_NAMES_FORMAT = "JobIDRaw,JobName,Comment"


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a job, as the accounts have it."""

    name: str
    """``batch``, ``extern``, or the number of an srun."""
    state: str
    exit_code: int = 0
    signal: int = 0


@dataclass(frozen=True, slots=True)
class JobSeen:
    """One job as Slurm told of it last."""

    job_id: str
    asked_at: float
    """When Slurm said so, in seconds since 1970."""
    state: str = ""
    """Base state; empty where Slurm printed a flag instead."""
    flags: tuple[str, ...] = ()
    reason: str = ""
    """Why it waits, or why it ended; one of Slurm's names."""
    detail: str = ""
    """What Slurm adds to the reason, or empty."""
    cancelled_by: str = ""
    """Number of the user, where the accounts say so."""
    nodes: tuple[str, ...] = ()
    exit_code: int = 0
    signal: int = 0
    restarts: int = 0
    estimate: datetime | None = None
    """When it may start, while it waits."""
    started: datetime | None = None
    ends: datetime | None = None
    """When it ended, or has to while it runs."""
    steps: tuple[Step, ...] = ()
    accounted: bool = False
    """The accounts were read and have its end; without accounting never."""
    gone: bool = False
    """Slurm answered that it does not know it any more; the rest is what was seen last."""

    @property
    def meaning(self) -> Meaning:
        """What its state means for a run."""
        return meaning(self.state, self.flags)


def queue_rows(text: str, asked_at: float) -> dict[str, JobSeen]:
    """Jobs by id, as squeue printed them in ``QUEUE_FORMAT``."""
    found: dict[str, JobSeen] = {}
    for row in _rows(text, len(_QUEUE)):
        job_id, array_id, state, why, nodes, code, restarts, start, end = row
        reason, detail = _reason(why)
        word = read(state)
        exit_code, signal = status(code)
        waits = meaning(word.base, word.flags).state == meaning("PENDING").state
        seen = JobSeen(
            job_id=job_id,
            asked_at=asked_at,
            state=word.base,
            flags=word.flags,
            reason="" if reason == "None" and not waits else reason,
            detail=detail,
            nodes=hostnames(_there(nodes)),
            exit_code=exit_code,
            signal=signal,
            restarts=int(restarts) if restarts.isdigit() else 0,
            estimate=moment(start) if waits else None,
            started=None if waits else moment(start),
            ends=None if waits else moment(end),
        )
        found[job_id] = seen
        # A task of an array answers for the whole one unless that has a row of its own.
        found.setdefault(array_id.partition("_")[0], replace(seen, job_id=array_id.partition("_")[0]))
    return found


def account_rows(text: str, asked_at: float) -> dict[str, JobSeen]:
    """Jobs by id with their steps, as sacct printed them in ``ACCOUNTS_FORMAT``."""
    jobs: dict[str, JobSeen] = {}
    steps: dict[str, list[Step]] = {}
    for raw, _, state, code, start, end, nodes in _rows(text, len(_ACCOUNTS), "|"):
        job_id, dot, step = raw.partition(".")
        word = read(state)
        exit_code, signal = status(code)
        if dot:
            steps.setdefault(job_id, []).append(Step(step, word.base, exit_code, signal))
            continue
        jobs[job_id] = JobSeen(
            job_id=job_id,
            asked_at=asked_at,
            state=word.base,
            flags=word.flags,
            cancelled_by=word.by,
            nodes=hostnames(_there(nodes)),
            exit_code=exit_code,
            signal=signal,
            started=moment(start),
            ends=moment(end),
        )
    return {
        # After an outage of the database an end is booked in two steps, the first without its time and code.
        job_id: replace(
            job, steps=tuple(steps.get(job_id, ())), accounted=job.meaning.ended and job.ends is not None
        )
        for job_id, job in jobs.items()
    }


def with_accounts(seen: JobSeen | None, accounts: JobSeen) -> JobSeen:
    """What was seen in the queue and what the accounts say, as one: the accounts know no restarts."""
    if seen is None:
        return accounts
    return replace(
        accounts,
        restarts=max(seen.restarts, accounts.restarts),
        reason=accounts.reason or seen.reason,
        detail=accounts.detail or seen.detail,
        nodes=accounts.nodes or seen.nodes,
        started=accounts.started or seen.started,
    )


def named(text: str, names: Sequence[str], separator: str) -> list[str]:
    """Ids of the jobs that have one of the names as their name or comment."""
    return [row[0].partition(".")[0] for row in _rows(text, 3, separator) if {row[1], row[2]} & set(names)]


def start_of(text: str, job_id: str) -> datetime | None:
    """When a job may start, as squeue printed it in ``START_FORMAT``."""
    times = [moment(start) for row_id, start in _rows(text, 2) if row_id == job_id]
    return times[0] if times else None


def status(code: str) -> tuple[int, int]:
    """Exit code and signal, from ``3:0`` or from the raw status of ``wait``."""
    first, colon, second = code.partition(":")
    if colon:
        return _number(first), _number(second)
    raw = _number(first)
    return raw >> 8, raw & 0x7F


def moment(text: str) -> datetime | None:
    """A time that Slurm printed for UTC; None where it has none, written in many ways."""
    try:
        return datetime.strptime(text, "%Y-%m-%dT%H:%M:%S").replace(tzinfo=UTC)
    except ValueError:
        return None


def _rows(text: str, fields: int, separator: str = BREAK) -> Iterator[list[str]]:
    """Rows with enough fields; an ending after the last one may be there or not."""
    for line in _lines(text):
        row = line.split(separator)
        if len(row) >= fields:
            yield [each.strip() for each in row[:fields]]


def _lines(text: str) -> Iterable[str]:
    # Not splitlines: it would take the separator for the end of a line.
    return (line for line in text.split("\n") if line.strip())


def _there(text: str) -> str:
    return "" if text in _NOTHING else text


_NOTHING = frozenset({"(null)", "n/a", "N/A", "None assigned", "None", "Unknown"})


def _reason(text: str) -> tuple[str, str]:
    """The name, and what is added to it, as in ``ReqNodeNotAvail, UnavailableNodes:n[1-2]``."""
    name = _NAME.match(text)
    if name is None:
        return "", text
    return name.group(), text[name.end() :].strip(" ,_()")


_NAME = re.compile(r"[A-Z][A-Za-z]+(?![^,\s(])")


def _number(text: str) -> int:
    return int(text) if text.isdigit() else 0
