"""Owns one task for every run that has not ended, also those found in the log after a restart.

Of those that have, one more task tells their executors, where that is still to be done.
"""

from __future__ import annotations

import asyncio
import logging

from pollinator.daemon.about import only_about
from pollinator.daemon.pool import Pool
from pollinator.daemon.runs.driver import RunDriver
from pollinator.daemon.runs.forgetting import Forgetting
from pollinator.daemon.runs.log import RunLog
from pollinator.daemon.runs.plan import end_event, failed
from pollinator.model.run import UNSEALED, is_terminal
from pollinator.v1.run_pb2 import Outcome, OutcomeReason, RunState
from pollinator.wire.errors import PollinatorError

RETRY_S = 5.0

_log = logging.getLogger(__name__)


class Crew:
    """Drives all runs."""

    def __init__(
        self,
        log: RunLog,
        driver: RunDriver,
        forgetting: Forgetting,
        group: asyncio.TaskGroup,
        pool: Pool,
    ) -> None:
        self._runs = log
        self._driver = driver
        self._forgetting = forgetting
        self._group = group
        self._tasks: set[asyncio.Task[None]] = set()
        self.pool = pool

    def reconcile(self) -> None:
        """Go on with every run that has not ended, and see to it that executors forget the others."""
        self._own(self._group.create_task(self._forgetting.catch_up(), name="forget"))
        for run in self._runs.active():
            self.drive(run.id)

    def drive(self, run_id: str) -> None:
        """Drive a run to its end in the background."""
        context = only_about(run=run_id, project=self._runs.get(run_id).project)
        self._own(self._group.create_task(self._drive(run_id), name=f"run {run_id}", context=context))

    async def give_up(self, run_id: str, why: str) -> None:
        """End a run here whose executor is no longer asked: what becomes of it there, nobody will know."""
        for task in [task for task in self._tasks if task.get_name() == f"run {run_id}"]:
            task.cancel()
            await asyncio.wait([task])
        run = self._runs.get(run_id)
        if run.state in UNSEALED:
            self._runs.append(run_id, failed(run, OutcomeReason.OUTCOME_REASON_LAUNCH, why))
        elif not is_terminal(run.state):
            outcome = Outcome(reason=OutcomeReason.OUTCOME_REASON_BACKEND, detail=why)
            self._runs.append(run_id, end_event(RunState.RUN_STATE_LOST, outcome, run.attempt))

    def _own(self, task: asyncio.Task[None]) -> None:
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _drive(self, run_id: str) -> None:
        while True:
            if await self._driven(run_id):
                return
            await asyncio.sleep(RETRY_S)

    async def _driven(self, run_id: str) -> bool:
        done = False
        try:
            await self._driver.drive(run_id)
            await self._forgetting.tell(run_id)
            done = True
        except* PollinatorError as several:
            # Nothing is lost: the log says where the run is. A full disk may have room again.
            _log.error("run %s: %s; trying again", run_id, several.exceptions)
        except* Exception:  # noqa: BLE001 - the root of one run: a defect it meets must not end the daemon
            _log.exception("run %s: trying again", run_id)
        return done

    async def stop(self) -> None:
        """Let go of all runs; they go on at their executors."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
