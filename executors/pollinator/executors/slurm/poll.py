"""Asks Slurm about all jobs that are followed, together and no more often than is needed.

A round is one squeue, and one sacct where jobs have ended of which the accounts were not read yet. What was
seen stays as it is while Slurm does not answer.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import time
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import NoReturn

from pollinator.executors.slurm.commands import Commands
from pollinator.executors.slurm.pace import Pace, Rhythm
from pollinator.executors.slurm.seen import (
    ACCOUNTS_FORMAT,
    QUEUE_FORMAT,
    JobSeen,
    account_rows,
    queue_rows,
    with_accounts,
)
from pollinator.wire.errors import NotFound, PollinatorError, Unavailable, WrongState

_log = logging.getLogger(__name__)

TOGETHER = 500
"""Ids in one question: what fits on a command line, and does not hold the controller for long."""
BEFORE_S = 86_400.0
"""How much earlier than it was first heard of a job may have been submitted."""
UNHEARD_S = 60 * 86_400.0
"""The same for one of which nobody remembers when that was."""


@dataclass(slots=True)
class _Followed:
    """A job that is asked about."""

    since: float
    seen: JobSeen | None = None
    missing: bool = False
    """squeue does not know it."""
    accounts_at: float = 0.0
    """When its accounts may be asked for, on the monotonic clock."""
    accounts_wait_s: float = 0.0

    @property
    def wants_accounts(self) -> bool:
        if self.seen is not None and self.seen.accounted:
            return False
        return self.missing or (self.seen is not None and self.seen.meaning.ended)


class Poller:
    """The only one that asks a cluster about its jobs."""

    def __init__(self, commands: Commands, pace: Pace | None = None) -> None:
        self._commands = commands
        self._pace = pace or Pace()
        self._user = f"--user={os.getuid()}"
        self._jobs: dict[str, _Followed] = {}
        self._wake = asyncio.Event()
        self._rhythm = Rhythm(self._pace)
        self._accounting = True
        self.trouble: PollinatorError | None = None
        """Why Slurm could not be asked the last time; None when it could."""

    def follow(self, job_id: str, since: float | None = None) -> None:
        """Ask about a job from now on.

        Args:
            job_id: its id.
            since: when it was submitted, or somewhat before, in seconds since 1970.
        """
        if job_id not in self._jobs:
            self._jobs[job_id] = _Followed(time.time() - UNHEARD_S if since is None else since - BEFORE_S)
            self.look()

    def drop(self, job_id: str) -> None:
        """Ask no more about a job."""
        self._jobs.pop(job_id, None)

    def seen(self, job_id: str) -> JobSeen | None:
        """What Slurm told of it last; None before it did."""
        followed = self._jobs.get(job_id)
        return followed.seen if followed else None

    def look(self) -> None:
        """Something has happened: ask soon, unless Slurm is down."""
        if self.trouble is None:
            self._rhythm.hurry()
        self._wake.set()

    async def run(self) -> NoReturn:
        """Ask, as long as anything is followed."""
        while True:
            if not self._jobs:
                await self._wake.wait()
            self._wake.clear()
            began = time.monotonic()
            changed = await self._round()
            took = time.monotonic() - began
            await self._rest(changed, took)

    async def _rest(self, changed: bool, took: float) -> None:
        """Wait for the next round: cut short by `look`, but never so that the pace is too quick."""
        down = self.trouble is not None
        interval = self._rhythm.next(changed=changed, down=down, soon=self._soon())
        least = interval if down else self._rhythm.least(took)
        await asyncio.sleep(self._rhythm.about(least))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, self._rhythm.about(interval) - least)):
                await self._wake.wait()

    def _soon(self) -> Iterator[float]:
        """In how many seconds something may happen: a job starts, its time is over, its end is booked."""
        now, clock = datetime.now(UTC), time.monotonic()
        for followed in self._jobs.values():
            seen = followed.seen
            if self._accounting and followed.wants_accounts:
                yield max(0.0, followed.accounts_at - clock)
            if seen is None or seen.gone or seen.meaning.ended:
                continue
            moment = seen.estimate or seen.ends
            if moment is not None and moment > now:
                yield (moment - now).total_seconds()

    # One round

    async def _round(self) -> bool:
        """Ask once about everything; whether anything was new."""
        before = {job_id: _story(each.seen) for job_id, each in self._jobs.items()}
        try:
            for ids in _parts([job_id for job_id, each in self._jobs.items() if not _done(each)]):
                self._take(ids, await self._queue(ids))
        except PollinatorError as error:
            self._note(error)
        else:
            self._note(None)
            await self._accounts()
        return any(before.get(job_id) != _story(each.seen) for job_id, each in self._jobs.items())

    def _note(self, error: PollinatorError | None) -> None:
        if error is not None and self.trouble is None:
            _log.warning("Slurm cannot be asked: %s", error)
        if error is None and self.trouble is not None:
            _log.info("Slurm answers again")
            self._rhythm.hurry()
        self.trouble = error

    async def _queue(self, ids: Sequence[str]) -> dict[str, JobSeen]:
        # With --user the controller sends only what is ours.
        question = ("-h", "-t", "all", self._user, "-O", QUEUE_FORMAT)
        asked_at = time.time()
        try:
            text = await self._commands.ask("squeue", *question, f"--jobs={','.join(ids)}")
        except NotFound:
            if len(ids) == 1:
                return {}
            # Some versions say so when one of many is not there.
            text = await self._commands.ask("squeue", *question)
        rows = queue_rows(text, asked_at)
        if text.strip() and not rows:
            raise Unavailable(f"squeue prints what cannot be read: {text[:100]!r}", reason="slurm_garbled")
        return rows

    def _take(self, ids: Collection[str], rows: dict[str, JobSeen]) -> None:
        for job_id in ids:
            if (followed := self._jobs.get(job_id)) is None:
                continue
            row = rows.get(job_id)
            followed.missing = row is None
            if row is not None and not _older(row, followed.seen):
                followed.seen = row
            elif row is None and not self._accounting:
                self._gone(job_id, followed)

    async def _accounts(self) -> None:
        now = time.monotonic()
        wanted = [
            job_id
            for job_id, each in self._jobs.items()
            if self._accounting and each.wants_accounts and each.accounts_at <= now
        ]
        for ids in _parts(wanted):
            try:
                rows = await self._ask_accounts(ids)
            except WrongState as error:
                _log.info(
                    "the end of jobs is known only for as long as the controller remembers it: %s", error
                )
                self._accounting = False
                rows = {}
            except PollinatorError as error:
                # What is missing in the queue may have ended in any way: it is asked again.
                _log.warning("accounts cannot be read: %s", error)
                rows = None
            for job_id in ids:
                self._account_for(job_id, rows)

    async def _ask_accounts(self, ids: Sequence[str]) -> dict[str, JobSeen]:
        asked_at = time.time()
        since = min((each.since for job_id in ids if (each := self._jobs.get(job_id))), default=asked_at)
        start = datetime.fromtimestamp(since, UTC).strftime("%Y-%m-%dT%H:%M:%S")
        question = ("-n", "-P", f"--starttime={start}", f"--format={ACCOUNTS_FORMAT}")
        return account_rows(await self._commands.ask("sacct", *question, f"--jobs={','.join(ids)}"), asked_at)

    def _account_for(self, job_id: str, rows: dict[str, JobSeen] | None) -> None:
        if (followed := self._jobs.get(job_id)) is None:
            return
        longer = max(self._pace.quick_s, 2 * followed.accounts_wait_s)
        followed.accounts_wait_s = min(longer, self._pace.slow_s)
        followed.accounts_at = time.monotonic() + followed.accounts_wait_s
        if rows is None:
            return
        row = rows.get(job_id)
        if row is not None and row.accounted:
            followed.seen = with_accounts(followed.seen, row)
        elif followed.missing:
            # Neither the queue nor the accounts have more of it, but the accounts may be late.
            self._gone(job_id, followed)

    def _gone(self, job_id: str, followed: _Followed) -> None:
        last = followed.seen or JobSeen(job_id, 0.0)
        followed.seen = replace(last, asked_at=time.time(), gone=True)


def _older(row: JobSeen, seen: JobSeen | None) -> bool:
    """The queue still shows an end of which the accounts say more; another state there is news."""
    if seen is None or not seen.accounted:
        return False
    return row.meaning.ended or "COMPLETING" in row.flags


def _done(followed: _Followed) -> bool:
    """Nothing more will be told of it."""
    return followed.missing and followed.seen is not None and followed.seen.accounted


def _story(seen: JobSeen | None) -> JobSeen | None:
    """What was seen, without when."""
    return replace(seen, asked_at=0.0) if seen else None


def _parts(ids: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(ids), TOGETHER):
        yield ids[start : start + TOGETHER]
