"""One process of a colony, from when it was given to us until it is closed.

It is a run of this executor like any other: its files are brought, it is started, followed and collected, and
what it prints and leaves is told to the colony. All of that goes on after a kill, from what is written down.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Protocol, TypeVar

import grpc

from pollinator.executors.colonies.client import Client
from pollinator.executors.colonies.ends import OUTCOME, Told, outcome_text
from pollinator.executors.colonies.errands import Errand, Errands
from pollinator.executors.colonies.funcspec import OURS
from pollinator.executors.colonies.messages import one
from pollinator.executors.colonies.standing import Gone, Holding, Standing
from pollinator.executors.colonies.telling import Telling
from pollinator.executors.colonies.wanted import Wanted, wanted
from pollinator.v1.run_pb2 import (
    CancelRunRequest,
    ForgetRunRequest,
    GetRunRequest,
    Notice,
    Origin,
    Outcome,
    OutcomeReason,
    Run,
    RunState,
    Severity,
    SnapshotSource,
    StartRunRequest,
)
from pollinator.v1.run_pb2_grpc import RunServiceStub
from pollinator.v1.store_pb2 import StoreSettings
from pollinator.v1.tree_pb2 import SnapshotRef
from pollinator.wire.errors import NotFound, PollinatorError
from pollinator.wire.faults import crash_point
from pollinator.wire.status import to_error

FIRST_PAUSE_S = 0.25
LONGEST_PAUSE_S = 15.0
FILES_PATIENCE_S = 600.0
RESULTS_PATIENCE_S = 24 * 3600.0
"""As for any other run: files can be asked for again by a new one, results are nowhere else."""
UNWANTED_PATIENCE_S = 60.0
"""For results of a process that somebody has ended."""
CALL_S = 60.0
_Result = TypeVar("_Result")
_S, _R = RunState, OutcomeReason
_log = logging.getLogger(__name__)


class Staging(Protocol):
    """Brings files of processes here, and results back."""

    async def bring(self, found: Wanted) -> SnapshotRef:
        """Have the files of a process where this executor finds them.

        Raises:
            PollinatorError: they cannot be had.
        """
        ...

    async def leave(self, found: Wanted, text: str) -> None:
        """Leave word of how a run of ours ended, where its results are: nothing is told of its process.

        Raises:
            PollinatorError: it cannot be stored there.
        """
        ...

    def store(self, found: Wanted) -> StoreSettings:
        """Where they are then."""
        ...

    async def take_home(self, found: Wanted, result: SnapshotRef) -> bool:
        """Have the results of a run where whoever submitted it looks for them.

        Returns:
            They are in the bucket that their snapshot came from.

        Raises:
            PollinatorError: they cannot be stored there.
        """
        ...


@dataclass(frozen=True, slots=True)
class Desk:
    """What all processes in hand share."""

    client: Client
    runs: RunServiceStub
    errands: Errands
    staging: Staging
    places: asyncio.Semaphore
    """So many have their files brought and run at once; others wait here."""
    look_s: Callable[[], float]
    """How long to wait between looks at a process."""


class Served:
    """One process in hand. Belongs to one event loop."""

    def __init__(self, desk: Desk, errand: Errand) -> None:
        self.errand = errand
        self.holding = Holding(desk.client, errand.process_id, desk.look_s)
        self._desk = desk
        self._has_place = False
        self._closed_by_us = False
        self._keep = partial(desk.errands.keep, errand)
        self._telling = Telling(desk.client, desk.runs, errand, self._keep, self.holding)

    async def serve(self) -> None:
        """Bring it to its end, from wherever it is."""
        async with asyncio.TaskGroup() as group:
            watching = group.create_task(self.holding.watch(), name=f"watch {self.errand.run_id}")
            ending = group.create_task(self._end_when_gone(), name=f"end {self.errand.run_id}")
            try:
                await self._serve()
            finally:
                watching.cancel()
                ending.cancel()
                if self._has_place:
                    self._has_place = False
                    self._desk.places.release()
        self._desk.errands.drop(self.errand)

    async def _serve(self) -> None:
        if not self.errand.closed:
            try:
                await self._see_through()
            except Gone:
                _log.info("process %s was taken back before it was started", self.errand.process_id)
                return
            except _Refused as refused:
                await self._close(_S.RUN_STATE_FAILED, Told(refused.outcome))
            self.errand.closed = True
            self._keep()
        crash_point("after_colony_closed")
        if await self._known() is not None:
            await self._ask(self._desk.runs.ForgetRun, ForgetRunRequest(run_id=self.errand.run_id))

    async def _see_through(self) -> None:
        with _refusing(_R.OUTCOME_REASON_LAUNCH):
            found = wanted(self.errand.spec, self.errand.process_id)
        try:
            if await self._known() is None:
                async with self.holding.unless_gone():
                    ref = await self._bring(found)
                await self._start(found, ref)
        except Gone:
            await self._leave(found, Told(Outcome()))
            raise
        await self._telling.follow()
        await self._finish(found)

    # Starting

    async def _bring(self, found: Wanted) -> SnapshotRef:
        """Have its files here, once there is a place for it."""
        await self._desk.places.acquire()
        self._has_place = True
        # It may have waited long, or not have been ours for a while.
        await self.holding.certainly_ours()
        bring = partial(self._desk.staging.bring, found)
        with _refusing(_R.OUTCOME_REASON_MATERIALISE):
            ref = await _patiently(bring, lambda: FILES_PATIENCE_S)
        crash_point("before_colony_start")
        await self.holding.certainly_ours()
        return ref

    async def _start(self, found: Wanted, ref: SnapshotRef) -> None:
        """Have the run started, once."""
        source = SnapshotSource(
            run_id=self.errand.run_id,
            snapshot=ref,
            store=self._desk.staging.store(found),
            spec=found.spec,
            origin=Origin(run_id=found.run_id, process_id=self.errand.process_id),
            user=self.errand.user,
        )
        request = StartRunRequest(request_id=self.errand.run_id, snapshot=source)
        with _refusing(_R.OUTCOME_REASON_LAUNCH):
            await self._ask(self._desk.runs.StartRun, request)
        crash_point("after_colony_start")

    async def _known(self) -> Run | None:
        """The run, if it was started."""
        try:
            run = (await self._ask(self._desk.runs.GetRun, GetRunRequest(run_id=self.errand.run_id))).run
        except NotFound:
            return None
        return run if run.id == self.errand.run_id else None

    # Ending

    async def _end_when_gone(self) -> None:
        """Have the run end when nobody waits for it any more; this is ended with the rest."""
        await self.holding.lost()
        request = CancelRunRequest(run_id=self.errand.run_id, by="the colony")
        while True:
            try:
                await self._ask(self._desk.runs.CancelRun, request)
                return
            except NotFound:
                # It may be about to be started.
                await asyncio.sleep(FIRST_PAUSE_S)

    async def _finish(self, found: Wanted) -> None:
        """The run has ended: bring its results home and say so."""
        run = await self._known()
        if run is None:
            await self._close(_S.RUN_STATE_FAILED, Told(Outcome(reason=_R.OUTCOME_REASON_BACKEND)))
            return
        state, outcome, stored = run.state, run.outcome, False
        if run.HasField("result") and self.holding.standing is not Standing.OTHERS:
            take = partial(self._desk.staging.take_home, found, run.result)
            try:
                stored = await _patiently(take, self._results_patience_s)
            except PollinatorError as error:
                state = _S.RUN_STATE_FAILED
                outcome = Outcome(reason=_R.OUTCOME_REASON_COLLECT, exit_code=outcome.exit_code)
                outcome.detail = f"the results could not be stored: {error.message}"
        crash_point("after_colony_results")
        notices = tuple(each for each in run.notices if each.code == "not_collected")
        told = Told(outcome, run.result if stored else None, run.usage, notices)
        await self._close(state, told)
        await self._leave(found, told)

    async def _leave(self, found: Wanted, told: Told) -> None:
        """Whoever cancelled a run of ours waits for what it leaves, and is told that this was all."""
        if not found.run_id or self.holding.standing is not Standing.ENDED or self._closed_by_us:
            return
        rest, lost = await self._telling.rest()
        if lost:
            text = f"{lost} bytes that it printed last are lost: it was cancelled while more of them waited"
            notice = Notice(severity=Severity.SEVERITY_WARNING, code="output_lost", text=text)
            told = replace(told, notices=(*told.notices, notice))
        leave = partial(self._desk.staging.leave, found, outcome_text(replace(told, printed=rest)))
        try:
            await _patiently(leave, lambda: UNWANTED_PATIENCE_S)
        except PollinatorError as error:
            _log.warning("process %s: no word is left: %s", self.errand.process_id, error.message)

    def _results_patience_s(self) -> float:
        return UNWANTED_PATIENCE_S if self.holding.gone else RESULTS_PATIENCE_S

    async def _close(self, state: RunState.ValueType, told: Told) -> None:
        outcome = told.outcome
        try:
            errors = _errors(state, outcome)
            if errors and OURS not in one(self.errand.spec.get("kwargs")) and not outcome.exit_code:
                # The original program shows its user nothing but the log.
                await self._telling.say(f"pollinator: {errors[-1]}")
            await self._telling.attribute(OUTCOME, outcome_text(told))
            crash_point("before_colony_close")
            while True:
                await self._say_end(errors)
                # Whether it was heard or not, the server knows; then it is gone.
                await self.holding.refused()
        except Gone:
            _log.info("process %s has ended", self.errand.process_id)

    async def _say_end(self, errors: list[str]) -> None:
        await self.holding.ours()
        self._closed_by_us = True
        try:
            if errors:
                await self._desk.client.close_failed(self.errand.process_id, errors)
            else:
                await self._desk.client.close_successful(self.errand.process_id)
        except PollinatorError as error:
            _log.info("process %s is not closed yet: %s", self.errand.process_id, error.message)
        crash_point("after_colony_close")

    async def _ask(self, call: Callable[..., Any], request: Any) -> Any:
        """Ask this very executor."""
        while True:
            try:
                return await call(request, timeout=CALL_S)
            except grpc.aio.AioRpcError as cut:
                error = to_error(cut)
                if not error.retryable:
                    raise error from cut
            await asyncio.sleep(FIRST_PAUSE_S)


async def _patiently(work: Callable[[], Awaitable[_Result]], patience_s: Callable[[], float]) -> _Result:
    """Do something with a server or a store; one that does not answer is waited for."""
    began, pause_s = time.monotonic(), FIRST_PAUSE_S
    while True:
        try:
            return await work()
        except PollinatorError as error:
            # Who is no member for a moment becomes one again.
            lasting = not error.retryable and error.reason != "colony_denied"
            if lasting or time.monotonic() - began > patience_s():
                raise
            _log.warning("%s; trying again", error.message)
        await asyncio.sleep(pause_s)
        pause_s = min(2 * pause_s, LONGEST_PAUSE_S)


class _Refused(Exception):
    """Nothing is run, for this reason."""

    def __init__(self, outcome: Outcome) -> None:
        super().__init__(outcome.detail)
        self.outcome = outcome


@contextmanager
def _refusing(reason: OutcomeReason.ValueType) -> Generator[None]:
    """An error in this block is the end of the process."""
    try:
        yield
    except PollinatorError as error:
        detail = "\n".join(filter(None, (error.message, error.hint)))
        more = (f"\n{each.where} {each.message}" for each in error.violations if each.message not in detail)
        raise _Refused(Outcome(reason=reason, detail=detail + "".join(more))) from error


def _errors(state: RunState.ValueType, outcome: Outcome) -> list[str]:
    """Why a run has failed, for people; nothing when it has not."""
    if state == _S.RUN_STATE_SUCCEEDED:
        return []
    if state == _S.RUN_STATE_CANCELLED:
        return ["cancelled where it ran"]
    if outcome.exit_code:
        return list(filter(None, (f"exit code {outcome.exit_code}", outcome.detail)))
    return [outcome.detail or OutcomeReason.Name(outcome.reason).removeprefix("OUTCOME_REASON_").lower()]
