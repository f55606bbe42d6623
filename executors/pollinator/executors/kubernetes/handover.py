"""One run on its way through a cluster: what is known of it, and its files, which outlive the process."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from pathlib import Path

from pollinator.executors.base import Job, Observation
from pollinator.executors.intent import Intent
from pollinator.executors.kubernetes.data import Data, PodSeen
from pollinator.executors.kubernetes.journal import Journal
from pollinator.executors.kubernetes.naming import job_name
from pollinator.executors.kubernetes.seen import PodState
from pollinator.executors.records import (
    EXIT,
    STARTED,
    Record,
    attempts,
    end_of_run,
    may_go_on,
    next_attempt,
    read_record,
    write_exit,
    write_json,
)
from pollinator.v1.run_pb2 import PendingReason
from pollinator.wire.errors import PollinatorError

NUMBER = "job.json"
"""Which Job it is."""


class Handover:
    """One run.

    Args:
        job: the run.
        data: how its words come here.
    """

    def __init__(self, job: Job, data: Data) -> None:
        self.job = job
        self.data = data
        self.secrets: dict[str, str] = {}
        self.wished = asyncio.Event()
        """Something has happened that cuts a pause short."""
        self.submitted = False
        """The host has asked for it since this process began."""
        self.left = False
        """The run is over."""
        self.pending: PendingReason | None = None
        """Why the cluster does not have it yet."""
        known = read_record(self.path / NUMBER) or {}
        self.attempt = attempts(self.path) + 1
        is_of_this = int(known.get("attempt", 1)) == self.attempt
        self.uid = str(known.get("uid", "")) if is_of_this else ""
        """Of its Job."""
        self.whole = bool(known.get("whole", False)) and is_of_this
        """All that belongs to the Job was made as well."""
        self.starting = bool(known.get("starting", False)) and is_of_this
        """The host was told that this attempt has its nodes."""
        self.deleted = bool(known.get("deleted", False)) and is_of_this
        """We have asked for the end of its Job."""
        self.vanished = False
        """It had a Job, of which nobody knows more than that it is gone."""
        self.made_at = float("-inf")
        """When its Job was made or found, by the monotonic clock."""
        self.intent = Intent(self.path, self.attempt - 1)
        """There may be a Job."""
        self.cancelled = (self.path / "cancel").exists()
        """It is wished that the run ends."""
        self.observed: Observation | None = None
        """How the host was told last that it is."""
        self.asked_at = float("-inf")
        self.ask_pause_s = 0.0
        """When the cluster was last asked what it tells besides, and until when not again."""
        self._seen: dict[int, tuple[PodSeen, ...]] = {}
        self._begin()

    def _begin(self) -> None:
        """Nothing is known of this attempt yet."""
        self.journals = [Journal() for _ in range(self.job.spec.nodes)]
        self.failed: list[int] = []
        """Nodes on which something failed, in the order in which that was seen."""
        self.told: set[str] = set()
        """What its supervisors were told."""
        self.since: dict[str, float] = {}
        """When something was seen first, by the monotonic clock."""
        self.shown = False
        """The host was told that it runs."""
        self.image_words = ""
        """What the registry said last."""
        self.events: Sequence[tuple[str, str]] = ()
        """What the cluster tells besides: reason and words, the newest last."""
        self._looked_at = float("-inf")

    @property
    def path(self) -> Path:
        """Its folder."""
        return self.job.workspace

    @property
    def name(self) -> str:
        """Of its Job."""
        return job_name(self.job.run_id, self.attempt)

    def cancel(self) -> None:
        """Note that it is wished that the run ends."""
        (self.path / "cancel").touch()
        self.cancelled = True
        self.wished.set()

    @property
    def record(self) -> Record | None:
        """How this attempt ended, if it has."""
        return read_record(self.path / EXIT)

    def read(self, at_most_s: float) -> None:
        """Have what its journals say, or said so long ago at most."""
        now = time.monotonic()
        if now - self._looked_at < at_most_s:
            return
        self._looked_at = now
        for node, journal in enumerate(self.journals):
            if journal.done:
                continue
            if data := self.data.journal(self.job, self.attempt, node, journal.offset):
                journal.feed(data)
            if journal.failed and node not in self.failed:
                self.failed.append(node)

    def see(self, attempt: int, pods: Sequence[PodState], lost: Sequence[str]) -> None:
        """Tell how all pods of an attempt are, where that is news."""
        seen = tuple(
            PodSeen(each.index, each.uid, each.over, each.emptied or each.uid in lost) for each in pods
        )
        if seen != self._seen.get(attempt):
            self._seen[attempt] = seen
            self.data.see(self.job, attempt, seen)

    def age(self, what: str, *, holds: bool = True) -> float:
        """For how many seconds something has held without a break."""
        if not holds:
            self.since.pop(what, None)
            return 0.0
        return time.monotonic() - self.since.setdefault(what, time.monotonic())

    @property
    def began(self) -> bool:
        """A supervisor of this attempt was at work, as far as is known."""
        return any(each.began for each in self.journals)

    @property
    def running(self) -> bool:
        """All nodes have begun with the run."""
        return all(each.running or each.done for each in self.journals)

    @property
    def done(self) -> bool:
        """All supervisors have ended, and said all that they had to say."""
        return all(each.done for each in self.journals)

    # What is written down

    def withdraw(self) -> bool:
        """End the run, which has no Job, if that is wished."""
        if not self.cancelled:
            return False
        self.end({"reason": "cancelled", "detail": "cancelled before it was submitted"})
        return True

    def refused(self, error: PollinatorError) -> None:
        """End the run, because the cluster does not take it."""
        lines = [error.message, *(f"{each.where} {each.message}" for each in error.violations), error.hint]
        self.end({"reason": "launch", "exit_code": 127, "detail": "\n".join(filter(None, lines))})

    def end(self, record: Record) -> None:
        """Note how this attempt ended."""
        write_exit(self.path, record)

    def is_job(self, uid: str) -> None:
        """Note which Job it is."""
        self.made_at = time.monotonic()
        if uid != self.uid:
            self.uid = uid
            self._save()

    def is_whole(self) -> None:
        """Note that all that belongs to the Job is there."""
        if not self.whole:
            self.whole = True
            self._save()

    def is_deleted(self) -> None:
        """Note that we have asked for the end of its Job."""
        if not self.deleted:
            self.deleted = True
            self._save()

    def note_starting(self) -> None:
        """Note that this attempt has its nodes."""
        if not self.starting:
            self.starting = True
            self._save()

    def note_started(self, nodes: Sequence[str]) -> None:
        """Note that the ranks of this attempt may have begun."""
        if not (self.path / STARTED).exists():
            write_json(self.path / STARTED, {"nodes": list(nodes), "time": time.time()})

    def may_go_on(self, record: Record) -> bool:
        """A run that ended like this is to have another attempt."""
        spec = self.job.spec
        return may_go_on(self.path, record, requeue=spec.requeue, max_requeues=spec.max_requeues)

    def end_of_run(self, record: Record) -> Record:
        """How the run has ended whose last attempt ended like this."""
        spec = self.job.spec
        return end_of_run(self.path, record, requeue=spec.requeue, max_requeues=spec.max_requeues)

    def go_on(self) -> None:
        """Make ready for another attempt: this one has ended. Repeating it after a crash is harmless."""
        next_attempt(self.path)
        self.attempt = attempts(self.path) + 1
        self.uid, self.whole, self.starting, self.deleted, self.vanished = "", False, False, False, False
        self.made_at = float("-inf")
        self.intent.renew(self.attempt - 1)
        # Which Job the last one was need not be written over: it says of which attempt it was.
        self._begin()

    def _save(self) -> None:
        known = {
            "attempt": self.attempt,
            "uid": self.uid,
            "whole": self.whole,
            "starting": self.starting,
            "deleted": self.deleted,
        }
        write_json(self.path / NUMBER, known, durable=True)
