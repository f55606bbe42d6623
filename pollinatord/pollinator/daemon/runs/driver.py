"""Carries out the plan of one run, from acceptance to its end, also across restarts of the daemon.

Every step is safe to repeat: the intent is in the log before the act, the snapshot is named by content, the
executor answers a repeated launch with the same run, and its events and output are taken over by offset.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from pathlib import Path

import grpc

from pollinator.daemon.registry import ExecutorLink, Registry
from pollinator.daemon.runs.home import ResultsHome
from pollinator.daemon.runs.log import RunLog
from pollinator.daemon.runs.output import OutputFiles
from pollinator.daemon.runs.plan import Step, end_event, ended, failed, next_step, relayed
from pollinator.daemon.runs.secrets import SecretFiles
from pollinator.daemon.sync.git import head_commit
from pollinator.daemon.sync.projects import Projects
from pollinator.daemon.sync.stores import StoreKeeper
from pollinator.v1.run_pb2 import (
    CancelRunRequest,
    ForgetRunRequest,
    Notice,
    Outcome,
    OutcomeReason,
    OutputOffset,
    Reachability,
    Run,
    RunEvent,
    RunState,
    SnapshotSource,
    StartRunRequest,
    StateChanged,
    WatchRunRequest,
    WatchRunResponse,
)
from pollinator.wire.errors import Code, NotFound, PollinatorError
from pollinator.wire.faults import crash_point
from pollinator.wire.status import to_error
from pollinator.wire.streams import follow_run

LAUNCH_S = 60.0
"""Longest time an executor may take to accept a run."""

CANCEL_TRY_S = 5.0
FORGET_TRY_S = 5.0
RETRY_S = 1.0
BRING_TRIES = 120
"""How often results are asked for while their store is away: some minutes."""
FOREVER_S = 10.0 * 365 * 86400
"""A run outlives everything: word from its executor is waited for without limit."""

_log = logging.getLogger(__name__)


class RunDriver:
    """Brings runs to their end. One ``drive`` call for each run that has not ended."""

    def __init__(
        self,
        log: RunLog,
        output: OutputFiles,
        projects: Projects,
        registry: Registry,
        keeper: StoreKeeper,
        secrets: SecretFiles,
        home: ResultsHome,
    ) -> None:
        self._runs = log
        self._output = output
        self._projects = projects
        self._registry = registry
        self._keeper = keeper
        self._secrets = secrets
        self._home = home

    async def drive(self, run_id: str) -> None:
        """Take step after step until the run has ended."""
        while (step := next_step(run := self._runs.get(run_id))) is not Step.NOTHING:
            match step:
                case Step.SEAL:
                    await self._seal(run)
                case Step.CANCEL:
                    self._runs.append(run_id, end_event(RunState.RUN_STATE_CANCELLED, Outcome(), run.attempt))
                case Step.LAUNCH:
                    await self._launch(run)
                case Step.FOLLOW:
                    await self._follow(run)
        self._secrets.forget(run_id)
        _log.info("run %s ended: %s", run_id, RunState.Name(run.state))
        await self._let_go(run)

    # Sealing

    async def _seal(self, run: Run) -> None:
        source = self._runs.request_of(run.id)
        if run.state == RunState.RUN_STATE_ACCEPTED:
            self._runs.append(run.id, _moved(RunState.RUN_STATE_SNAPSHOTTING, run))
        try:
            if source.WhichOneof("what") == "rerun":
                events = await self._resealed(run)
            else:
                events = await self._sealed(run, strict=source.project.strict)
        except PollinatorError as error:
            self._fail(run.id, OutcomeReason.OUTCOME_REASON_SNAPSHOT, error)
            return
        crash_point("after_seal")
        run = self._runs.get(run.id)
        if run.cancel_requested:
            self._runs.append(run.id, *events)
            return
        self._runs.append(run.id, *events, _moved(RunState.RUN_STATE_LAUNCHING, run))
        crash_point("after_seal_recorded")

    async def _sealed(self, run: Run, *, strict: bool) -> list[RunEvent]:
        project = await self._projects.open(Path(run.root), None)
        sealed = await project.worker.seal(
            run.spec, strict=strict, git_commit=await self._home.pool.run(head_commit, Path(run.root))
        )
        notices = [RunEvent(notice=notice) for notice in sealed.notices]
        return [RunEvent(sealed=sealed.ref), *notices]

    async def _resealed(self, run: Run) -> list[RunEvent]:
        """A rerun takes the very snapshot of the earlier run; a changed spec travels beside it."""
        earlier = self._runs.get(run.rerun_of)
        return [RunEvent(sealed=earlier.snapshot)]

    # Launching

    async def _launch(self, run: Run) -> None:
        # A daemon that was killed may have handed it over before the wish came: the executor knows.
        if run.cancel_requested and not await self._executor_knows(run):
            self._runs.append(run.id, end_event(RunState.RUN_STATE_CANCELLED, Outcome(), run.attempt))
            return
        link = self._registry.get(run.executor)
        source = SnapshotSource(run_id=run.id, snapshot=run.snapshot, spec=run.spec)
        try:
            source.store.CopyFrom(self._keeper.settings(run.store_id))
            request = StartRunRequest(request_id=run.id, snapshot=source, secrets=self._secrets.read(run.id))
            await link.ensure()
            await link.runs.StartRun(request, timeout=LAUNCH_S)
        except grpc.aio.AioRpcError as error:
            await self._launch_failed(run, to_error(error))
            return
        except PollinatorError as error:
            await self._launch_failed(run, error)
            return
        crash_point("after_launch_sent")
        self._secrets.forget(run.id)
        await self._follow(run)

    async def _executor_knows(self, run: Run) -> bool:
        link = self._registry.get(run.executor)
        try:
            await link.ensure()
            await link.runs.CancelRun(CancelRunRequest(run_id=run.id), timeout=CANCEL_TRY_S)
        except grpc.aio.AioRpcError as error:
            return not isinstance(to_error(error), NotFound)
        except PollinatorError:
            return True
        return True

    async def _launch_failed(self, run: Run, error: PollinatorError) -> None:
        if error.retryable:
            self._unreachable(run.id, error)
            await asyncio.sleep(RETRY_S)
            return
        self._fail(run.id, OutcomeReason.OUTCOME_REASON_LAUNCH, error)

    # Following

    async def _follow(self, run: Run) -> None:
        """Take over the executor's events and output until its end, cancelling there when wished."""
        link = self._registry.get(run.executor)
        try:
            async with asyncio.TaskGroup() as group:
                cancelling = group.create_task(self._pass_cancel_on(run.id, link), name=f"cancel {run.id}")
                await self._take_over(run.id, link)
                cancelling.cancel()
        except* NotFound:
            self._runs.append(run.id, self._lost(run.id))
        except* PollinatorError as group_error:
            error = group_error.exceptions[0]
            if isinstance(error, PollinatorError):
                self._fail(run.id, OutcomeReason.OUTCOME_REASON_BACKEND, error)

    async def _take_over(self, run_id: str, link: ExecutorLink) -> None:
        async for message in self._messages(run_id, link):
            match message.WhichOneof("kind"):
                case "event":
                    await self._take_event(run_id, message.event)
                case "output":
                    block = message.output
                    self._output.append(run_id, block.rank, block.offset, block.data)
                    crash_point("after_output")
                    self._runs.ring(run_id)
                case _:
                    pass
            if self._runs.get(run_id).HasField("unreachable_since"):
                self._runs.append(run_id, RunEvent(reachability=Reachability()))
        await self._come_home(run_id, link)

    def _messages(self, run_id: str, link: ExecutorLink) -> AsyncIterator[WatchRunResponse]:
        request = WatchRunRequest(
            run_id=run_id, after_seq=self._runs.executor_seq(run_id), output=True, follow=True
        )
        for rank in self._output.ranks(run_id):
            request.offsets.append(OutputOffset(rank=rank, offset=self._output.size(run_id, rank)))

        async def on_cut(error: PollinatorError) -> None:
            self._unreachable(run_id, error)
            try:
                await link.ensure()
            except PollinatorError as still_down:
                _log.warning("run %s: %s", run_id, still_down.message)

        return follow_run(link.runs, request, patience_s=FOREVER_S, on_cut=on_cut)

    async def _take_event(self, run_id: str, word: RunEvent) -> None:
        if ended(word) is not None:
            # Not recorded yet: the stream goes on with the rest of the output, and after a restart
            # the executor must say it again.
            return
        event = relayed(self._runs.get(run_id), word)
        self._runs.append(run_id, *([event] if event else []), executor_seq=word.seq)

    async def _come_home(self, run_id: str, link: ExecutorLink) -> None:
        """The executor's stream is complete: fetch the results and end the run here, too."""
        answer = await self._final_word(run_id, link)
        run = self._runs.get(run_id)
        if run.state != RunState.RUN_STATE_COLLECTING:
            collecting = _moved(RunState.RUN_STATE_COLLECTING, run)
            collecting.state_changed.outcome.CopyFrom(answer.outcome)
            run = self._runs.append(run_id, collecting)
        if answer.HasField("result") and not run.HasField("result"):
            run = self._runs.append(run_id, RunEvent(collected=answer.result))
        crash_point("before_results")
        try:
            notices = await self._bring(run)
        except PollinatorError as error:
            self._fail(run_id, OutcomeReason.OUTCOME_REASON_COLLECT, error)
            return
        crash_point("after_results")
        end = end_event(answer.state, answer.outcome, run.attempt)
        self._runs.append(run_id, *(RunEvent(notice=notice) for notice in notices), end)

    async def _bring(self, run: Run) -> list[Notice]:
        """Lay the results out; a store that does not answer is waited for."""
        left = BRING_TRIES
        while True:
            left -= 1
            try:
                return await self._home.bring(run)
            except PollinatorError as error:
                if not (error.retryable and left):
                    raise
                _log.warning("the results of run %s wait for the store: %s", run.id, error.message)
            await asyncio.sleep(RETRY_S)

    async def _final_word(self, run_id: str, link: ExecutorLink) -> Run:
        request = WatchRunRequest(run_id=run_id, after_seq=2**62)
        async for message in follow_run(link.runs, request, patience_s=FOREVER_S):
            if message.WhichOneof("kind") == "run":
                return message.run
        raise NotFound(f"the executor does not know run {run_id}", reason="run_missing")

    async def _pass_cancel_on(self, run_id: str, link: ExecutorLink) -> None:
        while True:
            seen = self._runs.version(run_id)
            if self._runs.get(run_id).cancel_requested:
                try:
                    await link.runs.CancelRun(CancelRunRequest(run_id=run_id), timeout=CANCEL_TRY_S)
                    return
                except grpc.aio.AioRpcError as error:
                    if to_error(error).code is Code.NOT_FOUND:
                        return
                    await asyncio.sleep(RETRY_S)
            else:
                await self._runs.changed(run_id, seen, FOREVER_S)

    async def _let_go(self, run: Run) -> None:
        """Everything is here: the executor need not keep it. Harmless when it does not hear of it."""
        try:
            await self._registry.get(run.executor).runs.ForgetRun(
                ForgetRunRequest(run_id=run.id), timeout=FORGET_TRY_S
            )
        except (grpc.aio.AioRpcError, PollinatorError) as error:
            _log.debug("run %s stays at its executor: %s", run.id, error)

    # Recording

    def _unreachable(self, run_id: str, error: PollinatorError) -> None:
        if self._runs.get(run_id).HasField("unreachable_since"):
            return
        observed = RunEvent(reachability=Reachability(detail=error.message))
        observed.reachability.unreachable_since.GetCurrentTime()
        self._runs.append(run_id, observed)

    def _fail(self, run_id: str, reason: OutcomeReason.ValueType, error: PollinatorError) -> None:
        detail = error.message + "".join(f"\n  {each.where}: {each.message}" for each in error.violations)
        if error.hint:
            detail += f"\n{error.hint}"
        self._runs.append(run_id, failed(self._runs.get(run_id), reason, detail))

    def _lost(self, run_id: str) -> RunEvent:
        run = self._runs.get(run_id)
        outcome = Outcome(
            reason=OutcomeReason.OUTCOME_REASON_BACKEND,
            detail=f"executor {run.executor} does not know this run any more and left no exit record",
        )
        return end_event(RunState.RUN_STATE_LOST, outcome, run.attempt)


def _moved(state: RunState.ValueType, run: Run) -> RunEvent:
    return RunEvent(state_changed=StateChanged(state=state, attempt=run.attempt))
