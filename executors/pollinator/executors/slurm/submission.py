"""Hands runs over to Slurm exactly once each, and ends them when that is wished.

Before sbatch is asked, the wish is written down. Whoever finds it without the number of a job, after a crash
or after an answer that was lost, looks for the job before it submits another.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from typing import NoReturn

from pollinator.executors.records import STARTED
from pollinator.executors.slurm.cluster import Cluster
from pollinator.executors.slurm.handover import Handover
from pollinator.v1.run_pb2 import PendingReason, RunState
from pollinator.wire.errors import PollinatorError
from pollinator.wire.faults import crash_point

FIRST_PAUSE_S = 1.0
LONGEST_PAUSE_S = 60.0
ORPHAN_S = 120.0
"""Longer than any sbatch takes."""
FIND_S = 1.0
CANCEL_S = 5.0
"""Between two tries to end jobs."""

_log = logging.getLogger(__name__)


class Submission:
    """The tasks that talk to a cluster about runs.

    Args:
        cluster: the one there is.
        patience_s: how long a run that has begun may take to end by itself: Slurm tells all processes at
            once, and its supervisor would tell them again.
    """

    def __init__(self, cluster: Cluster, patience_s: float) -> None:
        self._cluster = cluster
        self._patience_s = patience_s
        self._waiting: list[Handover] = []
        self._ending: dict[str, Handover] = {}
        self._wake = asyncio.Event()
        self._end_now = asyncio.Event()

    def submit(self, run: Handover) -> None:
        """Have it handed over soon, or once more if it goes on."""
        self._waiting.append(run)
        self._wake.set()

    def cancel(self, run: Handover) -> None:
        """Have its job ended; one that is not handed over yet never will be."""
        begun = not run.left and (run.path / STARTED).exists()
        run.end_at = time.monotonic() + (self._patience_s if begun else 0.0)
        self._ending[run.job.run_id] = run
        run.cancel_wished.set()
        self._end_now.set()

    def leave(self, run: Handover) -> None:
        """The run is over: its job is followed only until it has ended as well, if that is wished."""
        run.left = True
        if not run.job_id:
            self._ending.pop(run.job.run_id, None)
            return
        seen = self._cluster.seen(run.job_id)
        if seen is not None and not seen.gone and seen.meaning.state == RunState.RUN_STATE_QUEUED:
            # Another job had the run.
            self.cancel(run)
        if run.job.run_id not in self._ending:
            self._cluster.drop(run.job_id)

    async def run(self) -> NoReturn:
        """Work on all that is asked for."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._end_jobs(), name="end jobs")
            while True:
                await self._wake.wait()
                self._wake.clear()
                while self._waiting:
                    run = self._waiting.pop(0)
                    group.create_task(self._hand_over(run), name=f"submit {run.job.run_id}")
        raise AssertionError("it goes on until it is cancelled")

    # Handing over

    async def _hand_over(self, run: Handover) -> None:
        pause_s = FIRST_PAUSE_S
        while not await self._is_handed_over(run):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause_s):
                    await run.cancel_wished.wait()
            # A wish cuts one pause short, and not all that come.
            run.cancel_wished.clear()
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)

    async def _is_handed_over(self, run: Handover) -> bool:
        """Try it; True when nothing is left to do."""
        try:
            if run.intent.since or not run.withdraw():
                await self._once_or_refused(run)
            return True
        except PollinatorError as error:
            _log.warning("run %s: %s", run.job.run_id, error)
            run.pending = PendingReason(
                code="controller_down",
                text=f"Slurm does not answer, so the job is not submitted yet: {error.message}",
                action="wait: it is tried again",
            )
        except OSError as error:
            # A disk that is full has room again some time.
            _log.warning("run %s: %s", run.job.run_id, error)
        return False

    async def _once_or_refused(self, run: Handover) -> None:
        try:
            await self._once(run)
        except PollinatorError as error:
            # As long as there may be a job of it, nobody can say that there is none.
            if error.retryable or run.intent.since:
                raise
            run.refused(error)

    async def _once(self, run: Handover) -> None:
        if run.goes_on and await self._put_back(run):
            return
        job_id = await self._find(run)
        if not job_id and run.withdraw():
            return
        run.job_id = job_id or await self._sbatch(run)
        run.pending = None
        self._cluster.follow(run.job_id, run.intent.since)
        await run.keep_job()
        crash_point("after_job")
        self._end_now.set()

    async def _put_back(self, run: Handover) -> bool:
        """Have Slurm put its job back, which has ended; False when it needs another one."""
        if run.job_id:
            if run.cancelled:
                run.goes_on = False
                return True
            seen = self._cluster.seen(run.job_id)
            try:
                await self._cluster.requeue(run.job_id)
            except PollinatorError as error:
                if error.retryable:
                    raise
                _log.info("run %s goes on as another job: %s", run.job.run_id, error)
            else:
                crash_point("after_requeue")
                run.is_back(seen.restarts if seen else 0)
                return True
            self._cluster.drop(run.job_id)
        run.release()
        crash_point("after_release")
        return False

    async def _find(self, run: Handover) -> str:
        """The job that an earlier try has led to, or empty."""
        if not run.intent.since:
            return ""
        patience = time.monotonic() + ORPHAN_S
        while run.being_submitted() and time.monotonic() < patience:  # noqa: ASYNC110 - by another process
            await asyncio.sleep(FIND_S / 10)
        while True:
            known = await self._cluster.find(run.job.run_id, run.intent.since)
            found = [each for each in known if each not in run.past]
            if found:
                # Others may be there although all was done; they would find nothing to do.
                await self._cluster.cancel([each for each in found if each != run.claimed_by(found)])
                return run.claimed_by(found)
            if not run.intent.may_appear:
                return ""
            await asyncio.sleep(FIND_S)

    async def _sbatch(self, run: Handover) -> str:
        script = run.write_script()
        # Disks can be slow, and many runs may come at once.
        await asyncio.to_thread(run.intent.note)
        crash_point("before_sbatch")
        try:
            job_id = await self._cluster.submit(script, run.path)
        except PollinatorError as error:
            if error.reason == "submit_unknown":
                run.intent.doubt()
            else:
                run.intent.retract()
            raise
        crash_point("after_sbatch")
        return job_id

    # Ending

    async def _end_jobs(self) -> NoReturn:
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(CANCEL_S if self._ending else None):
                    await self._end_now.wait()
            self._end_now.clear()
            for run_id, run in list(self._ending.items()):
                if run.job_id and run.has_ended(self._cluster.seen(run.job_id)):
                    del self._ending[run_id]
                    if run.left:
                        self._cluster.drop(run.job_id)
            due = [run for run in self._ending.values() if time.monotonic() >= run.end_at]
            job_ids = [run.job_id for run in due if run.job_id]
            try:
                await self._cluster.cancel(job_ids)
            except PollinatorError as error:
                _log.warning("jobs are not cancelled yet: %s", error)
