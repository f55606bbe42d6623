"""One cluster, as the executor sees it: submit, find, cancel, follow, explain, and what it offers.

All that is remembered can be lost: jobs are found again by their names, and the probe asks again.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import re
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NoReturn

from pollinator.executors.slurm import partitions, reasons
from pollinator.executors.slurm.commands import Commands, Said
from pollinator.executors.slurm.pace import Pace
from pollinator.executors.slurm.poll import Poller
from pollinator.executors.slurm.probe import Probe, keep, kept, probe
from pollinator.executors.slurm.seen import (
    ACCOUNTS_NAMES_FORMAT,
    BREAK,
    NAMES_FORMAT,
    START_FORMAT,
    JobSeen,
    moment,
    named,
    start_of,
)
from pollinator.v1.executor_pb2 import Capabilities
from pollinator.v1.run_pb2 import Notice, PendingReason
from pollinator.v1.spec_pb2 import RunSpec
from pollinator.wire.errors import InvalidInput, NotFound, PollinatorError, Unavailable, WrongState

_log = logging.getLogger(__name__)

FRESH_S = 3600.0
"""How old the probe may be."""
AGAIN_S = 60.0
"""Between two probes, at least, however often one is asked for."""
FARTHEST = timedelta(days=3650)
"""Slurm estimates starts in a thousand years, where jobs without a limit are ahead."""
CANCEL_S = 60.0
WAITS_ALREADY = "pending execution"
"""What Slurm says of a job that is to be put back into the queue, and is there."""


class Cluster:
    """A Slurm cluster, reached by its programs on this machine.

    Args:
        folder: where what it offers is kept.
        commands: its programs.
        pace: how often it is asked.
    """

    def __init__(self, folder: Path, commands: Commands | None = None, pace: Pace | None = None) -> None:
        self._commands = commands or Commands()
        self._poller = Poller(self._commands, pace)
        self._kept = folder / "cluster.json"
        self._probe = kept(self._kept)
        self._probe_now = asyncio.Event()

    async def run(self) -> NoReturn:
        """Follow jobs, and keep the probe fresh."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._poller.run(), name="jobs of the cluster")
            group.create_task(self._keep_probing(), name="limits of the cluster")
        raise AssertionError("both go on until they are cancelled")

    @property
    def trouble(self) -> PollinatorError | None:
        """Why it could not be asked the last time; None when it could."""
        return self._poller.trouble

    # Jobs that are followed

    def follow(self, job_id: str, since: float | None = None) -> None:
        """Ask about a job from now on; ``since`` is when it was submitted, or somewhat before."""
        self._poller.follow(job_id, since)

    def drop(self, job_id: str) -> None:
        """Ask no more about a job."""
        self._poller.drop(job_id)

    def seen(self, job_id: str) -> JobSeen | None:
        """What Slurm told of a job last; None before it did."""
        return self._poller.seen(job_id)

    def look(self) -> None:
        """Something has happened to a job, as its files show: ask soon."""
        self._poller.look()

    # Jobs

    async def submit(self, script: str, workspace: Path) -> str:
        """Submit a job script; it is not followed yet.

        Returns:
            Id of the job.

        Raises:
            Unavailable: ``slurm_down`` if it was not accepted, ``submit_unknown`` if nobody knows.
            InvalidInput: Slurm refuses it, in its own words.
            Denied: Slurm refuses the user.
            WrongState: Slurm is not here.
        """
        try:
            said = await self._commands.submit(script, workspace)
        except InvalidInput:
            # The limits may have changed.
            self._probe_now.set()
            raise
        found = re.match(r"\s*(\d+)\s*(?:;|$)", said.out.splitlines()[0] if said.out.strip() else "")
        if found is None:
            raise Unavailable(
                f"sbatch does not print the id of a job: {said.out[:100]!r}",
                reason="submit_unknown",
                hint="the job is looked for before it is submitted again",
            )
        return found[1]

    async def find(self, run_id: str, since: float) -> list[str]:
        """Ids of the jobs of a run, the oldest first, in the queue or, where there are, in the accounts.

        Args:
            run_id: the run; its jobs have it in their name or comment.
            since: when the first of them can have been submitted, in seconds since 1970.

        Raises:
            Unavailable: Slurm does not answer, so that nobody knows.
        """
        names = [f"pollinator-{run_id}", f"pollinator:{run_id}"]
        user = f"--user={os.getuid()}"
        text = await self._commands.ask("squeue", "-h", "-t", "all", user, "-O", NAMES_FORMAT)
        found = named(text, names, BREAK)
        if not found:
            start = datetime.fromtimestamp(since - 60, UTC).strftime("%Y-%m-%dT%H:%M:%S")
            question = ("-n", "-P", "-X", user, f"--starttime={start}", f"--format={ACCOUNTS_NAMES_FORMAT}")
            # Without accounting the controller is the only one that knows, for as long as it remembers.
            with contextlib.suppress(WrongState):
                found = named(await self._commands.ask("sacct", *question), names, "|")
        return sorted(set(found), key=int)

    async def cancel(self, job_ids: Sequence[str]) -> None:
        """End jobs, wherever they are; those that have ended are no error.

        Raises:
            Unavailable: Slurm does not answer.
            Denied: they are not ours.
        """
        if job_ids:
            # Jobs that have ended, or are unknown by now, are what was wanted.
            with contextlib.suppress(NotFound):
                await self._commands.ask("scancel", "--quiet", *job_ids, deadline_s=CANCEL_S)
            self.look()

    async def requeue(self, job_id: str) -> None:
        """Put a job that has ended back into the queue, under its number; one that waits there is no error.

        Raises:
            Unavailable: Slurm does not answer, or the job is not quite over.
            NotFound: Slurm does not know the job any more.
            InvalidInput: Slurm does not do that with this job.
        """
        try:
            await self._commands.ask("scontrol", "requeue", job_id)
        except InvalidInput as error:
            if WAITS_ALREADY not in error.message:
                raise
        self.look()

    async def estimate(self, job_id: str) -> datetime | None:
        """When a job may start, as the scheduler plans now; None when it does not say.

        Raises:
            Unavailable: Slurm does not answer.
        """
        question = ("-h", "--start", f"--jobs={job_id}", "-o", START_FORMAT)
        try:
            return _plausible(start_of(await self._commands.ask("squeue", *question), job_id))
        except NotFound:
            return None

    async def test(self, script: str) -> datetime | None:
        """When a job with this script might start, without submitting it; None when Slurm does not say.

        Raises:
            Unavailable: Slurm does not answer.
            InvalidInput: Slurm would refuse it, in its own words.
        """
        try:
            said = await self._commands.submit(script, Path("/"), "--test-only")
        except Unavailable as error:
            # Nothing was submitted, whatever became of the answer.
            raise Unavailable(error.message, reason="slurm_down", hint="try again later") from error
        return _plausible(_start_told(said))

    # What it offers

    def explain(self, seen: JobSeen, spec: RunSpec) -> PendingReason:
        """Why a job waits, in plain words."""
        return reasons.explain(seen, spec, self._probe, self._partition_named(spec))

    def capabilities(self) -> Capabilities:
        """What it offers, as it was asked last; little before it answered for the first time."""
        if self._probe is None or time.time() - self._probe.asked_at > FRESH_S:
            self._probe_now.set()
        return self._probe.capabilities() if self._probe else Capabilities()

    def partition_for(self, spec: RunSpec) -> str:
        """The partition for a run; empty leaves it to Slurm, as long as nobody knows the limits.

        Raises:
            InvalidInput: it fits into none.
        """
        try:
            return self._chosen(spec)
        except InvalidInput:
            # The limits may have changed, and an account or a partition be new.
            self._probe_now.set()
            raise

    def notices(self, spec: RunSpec) -> list[Notice]:
        """What the user should know about a run that fits."""
        return partitions.notices(self._probe, spec, self.partition_for(spec)) if self._probe else []

    def gpu_model(self, spec: RunSpec) -> str:
        """The model of GPU that a run asks for, as this cluster spells it."""
        return partitions.gpu_model(self._probe, spec) if self._probe else spec.gpu.name

    @property
    def probe(self) -> Probe | None:
        """What it offers in full."""
        return self._probe

    def _partition_named(self, spec: RunSpec) -> str:
        try:
            return self._chosen(spec)
        except InvalidInput:
            return spec.slurm.partition

    def _chosen(self, spec: RunSpec) -> str:
        return partitions.choose(self._probe, spec) if self._probe else spec.slurm.partition

    async def _keep_probing(self) -> NoReturn:
        while True:
            age = time.time() - self._probe.asked_at if self._probe else FRESH_S
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(max(0.0, FRESH_S - age)):
                    await self._probe_now.wait()
            self._probe_now.clear()
            try:
                self._probe = await probe(self._commands, time.time())
                keep(self._kept, self._probe)
            except (PollinatorError, OSError) as error:
                _log.warning("what the cluster offers is not known anew: %s", error)
            await asyncio.sleep(AGAIN_S)


def _start_told(said: Said) -> datetime | None:
    """The time in ``sbatch: Job 7 to start at 2026-11-26T00:05:45 using 6 processors``, which is local."""
    found = re.search(r"to start at (\S+)", said.err + said.out)
    told = moment(found[1]) if found else None
    return told.replace(tzinfo=None).astimezone(UTC) if told else None


def _plausible(start: datetime | None) -> datetime | None:
    return start if start is not None and start < datetime.now(UTC) + FARTHEST else None
