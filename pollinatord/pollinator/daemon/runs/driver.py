"""Carries out the plan of one run, from acceptance to its end, also across restarts of the daemon.

Every step is safe to repeat: the intent is in the log before the act, the snapshot is named by content, the
executor answers a repeated launch with the same run, and its events and output are taken over by offset.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator
from contextlib import aclosing
from functools import partial
from pathlib import Path

import grpc

from pollinator.daemon.link import ExecutorLink
from pollinator.daemon.registry import Registry
from pollinator.daemon.runs.bridge import Bridge
from pollinator.daemon.runs.home import ResultsHome
from pollinator.daemon.runs.launch import CANCEL_TRY_S, RETRY_S, Launcher
from pollinator.daemon.runs.log import RunLog
from pollinator.daemon.runs.output import OutputFiles
from pollinator.daemon.runs.plan import (
    Step,
    cancelled,
    end_event,
    ended,
    failed,
    next_step,
    relayed,
    words_of,
)
from pollinator.daemon.runs.secrets import SecretFiles
from pollinator.daemon.sync.git import head_commit
from pollinator.daemon.sync.projects import Projects
from pollinator.daemon.sync.sealed import Sealed
from pollinator.model.run import is_terminal
from pollinator.v1.run_pb2 import (
    CancelRunRequest,
    Notice,
    Outcome,
    OutcomeReason,
    OutputOffset,
    ProgressKind,
    Reachability,
    Run,
    RunEvent,
    RunState,
    StartRunRequest,
    StateChanged,
    WatchRunRequest,
    WatchRunResponse,
)
from pollinator.v1.tree_pb2 import SnapshotRef
from pollinator.wire.errors import Code, NeedsLogin, NotFound, PollinatorError, Unavailable, with_name
from pollinator.wire.faults import crash_point
from pollinator.wire.progress import Teller
from pollinator.wire.status import to_error
from pollinator.wire.streams import follow_run

BRING_TRIES = 120
"""How often results are asked for while their store is away: some minutes."""
FOREVER_S = 10.0 * 365 * 86400
"""A run outlives everything: word from its executor is waited for without limit."""

_OF_THIS_DISK = frozenset({"disk_full", "output_gap", "records_damaged", "records_unusable"})
"""Troubles that say nothing about the executor."""

_log = logging.getLogger(__name__)


class RunDriver:
    """Brings runs to their end. One ``drive`` call for each run that has not ended."""

    def __init__(
        self,
        log: RunLog,
        output: OutputFiles,
        projects: Projects,
        registry: Registry,
        secrets: SecretFiles,
        home: ResultsHome,
        bridge: Bridge,
    ) -> None:
        self._runs = log
        self._output = output
        self._projects = projects
        self._registry = registry
        self._secrets = secrets
        self._home = home
        self._bridge = bridge
        self._launcher = Launcher(log, registry, secrets, bridge, self._unreachable, self._cancel_wished)

    async def drive(self, run_id: str) -> None:
        """Take step after step until the run has ended."""
        while (step := next_step(run := self._runs.get(run_id))) is not Step.NOTHING:
            match step:
                case Step.SEAL:
                    await self._seal(run)
                case Step.CANCEL:
                    self._runs.append(run_id, cancelled(run))
                case Step.LAUNCH:
                    if await self._launcher.launch(run):
                        await self._follow(run)
                case Step.FOLLOW:
                    self._secrets.forget(run_id)
                    await self._follow(run)
        self._secrets.forget(run_id)
        self._launcher.forget(run_id)
        _log.info("run %s ended: %s", run_id, RunState.Name(run.state))

    # Sealing

    async def _seal(self, run: Run) -> None:
        source = self._runs.request_of(run.id)
        if run.state == RunState.RUN_STATE_ACCEPTED:
            self._runs.append(run.id, _moved(RunState.RUN_STATE_SNAPSHOTTING, run))
        async with asyncio.TaskGroup() as group:
            cancelling = group.create_task(self._cancel_unsealed(run), name=f"cancel {run.id}")
            events = await self._try_to_seal(run, source)
            cancelling.cancel()
        crash_point("after_seal")
        run = self._runs.get(run.id)
        if is_terminal(run.state):
            return
        if not run.cancel_requested and events[0].HasField("sealed"):
            events.append(_moved(RunState.RUN_STATE_LAUNCHING, run))
        self._runs.append(run.id, *events)
        crash_point("after_seal_recorded")

    async def _cancel_unsealed(self, run: Run) -> None:
        """No executor has it: a wish to cancel is carried out at once, however long the upload takes."""
        await self._cancel_wished(run.id)
        self._runs.append(run.id, cancelled(run))

    async def _try_to_seal(self, run: Run, source: StartRunRequest) -> list[RunEvent]:
        try:
            match source.WhichOneof("what"):
                case "rerun":
                    # The very snapshot of the earlier run; a changed spec travels beside it.
                    earlier = self._runs.get(run.rerun_of)
                    return [RunEvent(sealed=earlier.snapshot, git_commit=earlier.git_commit)]
                case "snapshot":
                    return [RunEvent(sealed=source.snapshot.snapshot)]
                case _:
                    pass
            sealed = await self._sealed(run, strict=source.project.strict)
        except PollinatorError as error:
            return [failed(run, OutcomeReason.OUTCOME_REASON_SNAPSHOT, words_of(error))]
        event = RunEvent(sealed=sealed.ref, git_commit=sealed.snapshot.git_commit)
        return [event, *(RunEvent(notice=notice) for notice in sealed.notices)]

    async def _sealed(self, run: Run, *, strict: bool) -> Sealed:
        commit = await self._home.pool.run(head_commit, Path(run.root, "cfs", "src"))
        while True:
            project = await self._projects.open_for(run)
            try:
                return await project.worker.seal(run.spec, strict=strict, git_commit=commit)
            except Unavailable as error:
                if error.reason != "project_closed":
                    raise

    # Following

    async def _follow(self, run: Run) -> None:
        """Take over the executor's events and output until its end, cancelling there when wished."""
        link = self._registry.get(run.executor)
        async with asyncio.TaskGroup() as group:
            cancelling = group.create_task(self._pass_cancel_on(run.id, link), name=f"cancel {run.id}")
            renewing = group.create_task(self._launcher.renew(run.id), name=f"renew {run.id}")
            known = await self._take_over(run.id, link)
            cancelling.cancel()
            renewing.cancel()
        if known:
            await self._come_home(run.id, link)
        else:
            self._runs.append(run.id, self._lost(run.id))

    async def _take_over(self, run_id: str, link: ExecutorLink) -> bool:
        """Copy until the end; False when the executor says that it does not know the run.

        Whatever else goes wrong is tried again, for the run goes on at its executor.
        """
        output = True
        while True:
            try:
                await self._relay(run_id, link, output=output)
                return True
            except NotFound:
                return False
            except PollinatorError as error:
                _log.warning("run %s: %s; trying again", run_id, error.message)
                if error.reason == "offset_beyond_end":
                    # A power cut took what the executor had not yet on disk; what was copied here is more.
                    output = False
                elif error.reason not in _OF_THIS_DISK:
                    self._unreachable(run_id, error)
            await asyncio.sleep(RETRY_S)

    async def _relay(self, run_id: str, link: ExecutorLink, *, output: bool) -> None:
        async with aclosing(self._messages(run_id, link, output=output)) as messages:
            async for message in messages:
                self._take(run_id, message, link)

    def _take(self, run_id: str, message: WatchRunResponse, link: ExecutorLink) -> None:
        match message.WhichOneof("kind"):
            case "event" if not link.near and message.event.WhichOneof("kind") == "collected":
                # It is when the results are here, see _come_home.
                pass
            case "event":
                self._take_event(run_id, message.event)
            case "output":
                block = message.output
                self._output.append(run_id, block.rank, block.offset, block.data)
                crash_point("after_output")
                self._runs.ring(run_id)
            case "progress":
                self._runs.tell(run_id, message.progress)
            case _:
                pass
        self._heard(run_id)

    def _messages(self, run_id: str, link: ExecutorLink, *, output: bool) -> AsyncGenerator[WatchRunResponse]:
        request = WatchRunRequest(
            run_id=run_id, after_seq=self._runs.executor_seq(run_id), output=output, follow=True
        )
        for rank in self._output.ranks(run_id) if output else ():
            request.offsets.append(OutputOffset(rank=rank, offset=self._output.size(run_id, rank)))

        async def on_cut(error: PollinatorError) -> None:
            self._unreachable(run_id, error)
            try:
                await link.ensure()
            except PollinatorError as still_down:
                _log.warning("run %s: %s", run_id, still_down.message)
                self._unreachable(run_id, still_down)

        return follow_run(link.runs, request, patience_s=FOREVER_S, on_cut=on_cut)

    def _take_event(self, run_id: str, word: RunEvent) -> None:
        self._runs.tell(run_id, None)
        if ended(word) is not None:
            # Not recorded yet: the stream goes on with the rest of the output, and after a restart
            # the executor must say it again.
            return
        if word.seq <= self._runs.executor_seq(run_id):
            return
        before = self._runs.get(run_id)
        event = relayed(before, word)
        run = self._runs.append(run_id, *([event] if event else []), executor_seq=word.seq)
        if run.state != before.state == RunState.RUN_STATE_LAUNCHING:
            # Until here a power cut may cost the executor what it had accepted, and it is launched again.
            self._secrets.forget(run_id)

    async def _come_home(self, run_id: str, link: ExecutorLink) -> None:
        """The executor's stream is complete: fetch the results and end the run here, too."""
        answer = await self._final_word(run_id, link)
        run = self._runs.get(run_id)
        answer.outcome.detail = with_name(answer.outcome.detail, run.executor)
        if run.state != RunState.RUN_STATE_COLLECTING:
            collecting = _moved(RunState.RUN_STATE_COLLECTING, run)
            collecting.state_changed.outcome.CopyFrom(answer.outcome)
            run = self._runs.append(run_id, collecting)
        if answer.outcome.reason == OutcomeReason.OUTCOME_REASON_MATERIALISE:
            self._bridge.doubt(run, link)
        try:
            if answer.HasField("result") and not run.HasField("result"):
                await self._fetch(run, answer.result, link)
                run = self._runs.append(run_id, RunEvent(collected=answer.result))
            crash_point("before_results")
            notices = await self._bring(run)
        except PollinatorError as error:
            self._runs.append(run_id, failed(run, OutcomeReason.OUTCOME_REASON_COLLECT, words_of(error)))
            return
        crash_point("after_results")
        end = end_event(answer.state, answer.outcome, run.attempt)
        self._runs.append(run_id, *(RunEvent(notice=notice) for notice in notices), end)

    async def _fetch(self, run: Run, result: SnapshotRef, link: ExecutorLink) -> None:
        """Have the results in the run's store. They are nowhere else, so whoever has them is waited for."""
        if link.near:
            return
        while True:
            try:
                await link.ensure()
                await self._bridge.fetch(run, result, link)
                self._heard(run.id)
                return
            except PollinatorError as error:
                if not error.retryable:
                    raise
                _log.warning("the results of run %s wait at its executor: %s", run.id, error.message)
                if not error.reason.startswith("store_") and error.reason not in _OF_THIS_DISK:
                    self._unreachable(run.id, error)
            await asyncio.sleep(RETRY_S)

    async def _bring(self, run: Run) -> list[Notice]:
        """Lay the results out; a store that does not answer is waited for."""
        left = BRING_TRIES
        teller = Teller(partial(self._runs.tell, run.id), ProgressKind.PROGRESS_KIND_FETCH)
        while True:
            left -= 1
            try:
                return await self._home.bring(run, teller)
            except PollinatorError as error:
                if not (error.retryable and left):
                    raise
                _log.warning("the results of run %s wait for the store: %s", run.id, error.message)
            finally:
                self._runs.tell(run.id, None)
            await asyncio.sleep(RETRY_S)

    async def _final_word(self, run_id: str, link: ExecutorLink) -> Run:
        request = WatchRunRequest(run_id=run_id, after_seq=2**62)
        async with aclosing(follow_run(link.runs, request, patience_s=FOREVER_S)) as messages:
            async for message in messages:
                if message.WhichOneof("kind") == "run":
                    return message.run
        raise NotFound(f"the executor does not know run {run_id}", reason="run_missing")

    async def _pass_cancel_on(self, run_id: str, link: ExecutorLink) -> None:
        await self._cancel_wished(run_id)
        while True:
            try:
                await link.runs.CancelRun(CancelRunRequest(run_id=run_id), timeout=CANCEL_TRY_S)
                return
            except grpc.aio.AioRpcError as error:
                if to_error(error).code is Code.NOT_FOUND:
                    return
            await asyncio.sleep(RETRY_S)

    async def _cancel_wished(self, run_id: str) -> None:
        """Return when somebody wishes that the run ends."""
        while True:
            seen = self._runs.version(run_id)
            if self._runs.get(run_id).cancel_requested:
                return
            await self._runs.changed(run_id, seen, FOREVER_S)

    # Recording

    def _heard(self, run_id: str) -> None:
        if self._runs.get(run_id).HasField("unreachable_since"):
            self._runs.append(run_id, RunEvent(reachability=Reachability()))

    def _unreachable(self, run_id: str, error: PollinatorError) -> None:
        run = self._runs.get(run_id)
        needs_login = isinstance(error, NeedsLogin)
        # That a connection was cut is said in gRPC's words, which tell nobody anything.
        told = "" if error.reason == "unavailable" else error.message
        detail = f"{told}: {error.hint}" if needs_login else told
        # Once is enough, but what the user has to do must be said whatever was the matter before.
        if run.HasField("unreachable_since") and not (needs_login and detail != run.unreachable_detail):
            return
        observed = RunEvent(reachability=Reachability(detail=detail))
        if run.HasField("unreachable_since"):
            observed.reachability.unreachable_since.CopyFrom(run.unreachable_since)
        else:
            observed.reachability.unreachable_since.GetCurrentTime()
        self._runs.append(run_id, observed)

    def _lost(self, run_id: str) -> RunEvent:
        run = self._runs.get(run_id)
        outcome = Outcome(
            reason=OutcomeReason.OUTCOME_REASON_BACKEND,
            detail=f"executor {run.executor} does not know this run any more and left no exit record",
        )
        return end_event(RunState.RUN_STATE_LOST, outcome, run.attempt)


def _moved(state: RunState.ValueType, run: Run) -> RunEvent:
    return RunEvent(state_changed=StateChanged(state=state, attempt=run.attempt))
