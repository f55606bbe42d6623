"""One run on its way through Slurm: what is known of it, and its files, which outlive the process."""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pollinator.executors.base import Job
from pollinator.executors.intent import Intent
from pollinator.executors.records import (
    EXIT,
    MAX_REQUEUES,
    STARTED,
    Record,
    attempts,
    may_go_on,
    next_attempt,
    read_record,
    write_exit,
    write_json,
)
from pollinator.executors.slurm.batch import CLAIM, INTERRUPTED, verdict
from pollinator.executors.slurm.seen import JobSeen
from pollinator.v1.run_pb2 import PendingReason
from pollinator.wire.errors import PollinatorError

NUMBER = "job.json"
"""Which job it is."""

TOLD_S = 60.0
"""So long Slurm may take to tell that a job waits again which it has put back."""


@dataclass(slots=True)
class Look:
    """What the files of a run say, as of a moment ago."""

    at: float = float("-inf")
    record: Record | None = None
    started: Record | None = None
    attempts: int = 0


class Handover:
    """One run."""

    def __init__(self, job: Job, write_script: Callable[[], str]) -> None:
        self.job = job
        self.write_script = write_script
        self.cancel_wished = asyncio.Event()
        self.end_at = 0.0
        """When Slurm is to end the job, if that is wished."""
        self.left = False
        """The run is over."""
        self.pending: PendingReason | None = None
        """Why Slurm does not have it yet."""
        self.ended_at: float | None = None
        """When Slurm was first heard to say that it has ended."""
        self._files = Look()
        self._interrupted = False
        self._saving = threading.Lock()
        known = read_record(self.path / NUMBER) or {}
        self.job_id = str(known.get("job_id", ""))
        self.told = int(known.get("told", 0))
        """The attempt that the host was told of, from 0."""
        self.starting = bool(known.get("starting", False))
        """The host was told that this attempt has its nodes."""
        self.past: list[str] = list(known.get("past", ()))
        """Jobs of it that have ended, and that another one follows."""
        self.before = int(known.get("before", 0))
        """Attempts that they made."""
        self.goes_on = bool(self.past) and not self.job_id
        """Its job has ended, and it is to have another attempt."""
        self._back: tuple[int, float] | None = None
        self.intent = Intent(self.path, len(self.past))
        """There may be a job."""

    @property
    def path(self) -> Path:
        """Its folder."""
        return self.job.workspace

    @property
    def cancelled(self) -> bool:
        """It is wished that the run ends."""
        return (self.path / "cancel").exists()

    def withdraw(self) -> bool:
        """End the run, which has no job, if that is wished."""
        if not self.cancelled:
            return False
        self._end({"reason": "cancelled", "detail": "cancelled before it was submitted"})
        return True

    def refused(self, error: PollinatorError) -> None:
        """End the run, because Slurm does not take it."""
        self._end({"reason": "launch", "exit_code": 1, "detail": f"{error.message}\n{error.hint}".strip()})

    def claimed_by(self, job_ids: Sequence[str]) -> str:
        """Which of several jobs has the run: the one that says so, or the oldest."""
        try:
            claim = (self.path / CLAIM).read_text(encoding="ascii")
        except FileNotFoundError:
            return job_ids[0]
        return claim if claim in job_ids else job_ids[0]

    async def keep_job(self) -> None:
        """Have it on disk which job it is."""
        await asyncio.to_thread(self._save)

    def may_go_on(self, seen: JobSeen, look: Look, record: Record) -> bool:
        """A run whose job ended like this is to have another attempt."""
        spec = self.job.spec
        if not may_go_on(self.path, record, requeue=spec.requeue, max_requeues=spec.max_requeues):
            return False
        # Slurm counts those as well that came to nothing before they began.
        return self.attempt_of(look, seen) < (spec.max_requeues or MAX_REQUEUES)

    def go_on(self, record: Record | None) -> None:
        """Its job has ended, and it is to have another attempt, which puts the record of this one aside."""
        if record is None:
            write_exit(self.path, verdict(INTERRUPTED, 0, 0))
            self.forget_look()
        self.goes_on = True

    def is_back(self, restarts: int) -> None:
        """Slurm has put its job back into the queue, and had started it anew so many times before."""
        self.goes_on = False
        self._back = restarts, time.monotonic() + TOLD_S

    def has_ended(self, seen: JobSeen | None) -> bool:
        """Its job has, as Slurm says, and is not on its way back into the queue."""
        if seen is None or not (seen.gone or seen.meaning.ended) or self.goes_on:
            return False
        return self._back is None or seen.restarts > self._back[0] or time.monotonic() > self._back[1]

    def release(self) -> None:
        """Make ready for another job: this one has ended for good. Repeating it after a crash is harmless."""
        if self.job_id:
            self.past.append(self.job_id)
            self.job_id = ""
            self.intent.renew(len(self.past))
            self._save()
        claim = self.path / CLAIM
        # The next job can be there already, and have it.
        if not claim.exists() or claim.read_text(encoding="ascii") in self.past:
            if (self.path / EXIT).exists():
                next_attempt(self.path)
            claim.unlink(missing_ok=True)
            self.before = attempts(self.path)
        self.goes_on = False
        self.forget_look()

    def attempt_of(self, look: Look, seen: JobSeen | None) -> int:
        """Number of the attempt that runs or waits, from 0."""
        return max(look.attempts, self.before + seen.restarts if seen else 0)

    def note_attempt(self, number: int) -> bool:
        """Note which attempt this is; whether that is news."""
        if number <= self.told:
            return False
        self.told, self.starting = number, False
        self._save(durable=False)
        return True

    def note_starting(self) -> None:
        """Note that this attempt has its nodes."""
        if not self.starting:
            self.starting = True
            self._save(durable=False)

    def note_interrupted(self, look: Look) -> bool:
        """Note whether Slurm ended this attempt, as its supervisor says; whether it did, and that is news."""
        before, self._interrupted = self._interrupted, look.record is not None
        return self._interrupted and not before

    def look(self, at_most_s: float) -> Look:
        """What its files say, or said so long ago at most."""
        now = time.monotonic()
        if now - self._files.at >= at_most_s:
            self._files = Look(
                now,
                read_record(self.path / EXIT),
                read_record(self.path / STARTED),
                attempts(self.path) if self.job.spec.requeue else 0,
            )
        return self._files

    def forget_look(self) -> None:
        """Look anew the next time."""
        self._files = Look()

    def being_submitted(self) -> bool:
        """An sbatch of an executor that was killed is still at it."""
        # It is the only program that works in this folder before the job does.
        here = str(self.path)
        for name in os.listdir("/proc") if os.path.isdir("/proc") else ():
            if name.isdecimal():
                with contextlib.suppress(OSError):
                    if os.readlink(f"/proc/{name}/cwd") == here:
                        return True
        return False

    def _end(self, record: Record) -> None:
        write_exit(self.path, record)
        self.forget_look()

    def _save(self, *, durable: bool = True) -> None:
        # By several threads; the last to write knows all.
        if not self._saving.acquire(blocking=durable):
            # Nobody waits for the disk here; what is not written down is found out anew after a restart.
            return
        try:
            known = {
                "job_id": self.job_id,
                "past": self.past,
                "before": self.before,
                "told": self.told,
                "starting": self.starting,
            }
            write_json(self.path / NUMBER, known, durable=durable)
        finally:
            self._saving.release()


def has_begun(look: Look, seen: JobSeen | None) -> bool:
    """The supervisor of this attempt is at work, or was."""
    return look.started is not None and int(look.started["restarts"]) >= (seen.restarts if seen else 0)
