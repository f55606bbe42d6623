"""Telling executors of which runs everything is here: they keep all others for ever.

Of runs whose results are at their executor and nowhere else nothing is said: they stay held.

Which runs an executor may still have is in the run log until it has heard. A daemon that was killed at the
end of a run, or could not reach the executor then, says it again when it starts.
"""

from __future__ import annotations

import logging

import grpc

from pollinator.daemon.registry import Registry
from pollinator.daemon.runs.log import RunLog
from pollinator.v1.run_pb2 import ForgetRunRequest, OutcomeReason, Run
from pollinator.wire.errors import NotFound, PollinatorError, WrongState
from pollinator.wire.faults import crash_point
from pollinator.wire.status import to_error

TRY_S = 5.0

_log = logging.getLogger(__name__)


def left_there(run: Run) -> bool:
    """The results of an ended run could not be stored, or not be fetched: only its executor has them."""
    return run.outcome.reason == OutcomeReason.OUTCOME_REASON_COLLECT and not run.HasField("result")


class Forgetting:
    """Lets executors forget runs that have ended. Every call may be repeated."""

    def __init__(self, log: RunLog, registry: Registry) -> None:
        self._runs = log
        self._registry = registry

    async def tell(self, run_id: str) -> None:
        """The run has ended: its executor need not keep it. If it does not hear, the next start says it."""
        crash_point("before_forget")
        run = self._runs.get(run_id)
        if self._runs.is_held(run_id) and not left_there(run):
            await self._answered(run)

    async def catch_up(self) -> None:
        """Say it of all runs of which it could not be said before, one after another.

        An executor that gives no answer is asked once.
        """
        silent: set[str] = set()
        try:
            for run_id in self._runs.held():
                run = self._runs.get(run_id)
                if left_there(run) or run.executor in silent:
                    continue
                if not await self._answered(run, start=True):
                    silent.add(run.executor)
        except PollinatorError as error:
            _log.warning("runs stay at their executors: %s", error.message)

    async def _answered(self, run: Run, *, start: bool = False) -> bool:
        """Say it; False when nobody answers."""
        try:
            await self._say(run, start=start)
        except NotFound:
            pass
        except WrongState as error:
            # It goes on there, whatever was recorded here.
            _log.warning("run %s stays at its executor: %s", run.id, error.message)
            return True
        except PollinatorError as error:
            _log.info("run %s stays at its executor: %s", run.id, error.message)
            return False
        self._runs.let_go(run.id)
        return True

    async def _say(self, run: Run, *, start: bool) -> None:
        link = self._registry.get(run.executor)
        if start:
            await link.ensure()
        try:
            await link.runs.ForgetRun(ForgetRunRequest(run_id=run.id), timeout=TRY_S)
        except grpc.aio.AioRpcError as error:
            raise to_error(error) from error
