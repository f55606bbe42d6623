"""The life of a run at an executor: lay out, hand over, observe, collect, end; safe to repeat anywhere."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from pollinator.chunks.capture import Captured, capture
from pollinator.chunks.layout import disk_errors, lay_out
from pollinator.chunks.read import SnapshotReader
from pollinator.chunks.store import Store
from pollinator.executors.base import Executor, Observation
from pollinator.executors.runlog import RunFolder, remove_tree
from pollinator.model.run import is_terminal
from pollinator.v1.run_pb2 import (
    NodesAssigned,
    Notice,
    Outcome,
    OutcomeReason,
    RunEvent,
    RunState,
    Severity,
    StartRunRequest,
    StateChanged,
)
from pollinator.wire.errors import PollinatorError
from pollinator.wire.faults import crash_point

LOOK_S = 0.02
SLOW_LOOK_S = 0.1
LOOKS = 250
"""After so many looks at one state the slow pace is enough."""
RETRY_S = 2.0
TRIES = 60

_Result = TypeVar("_Result")
OpenStore = Callable[[StartRunRequest], Store]
_log = logging.getLogger(__name__)
_S = RunState


class Lifecycle:
    """Brings runs of one executor to their end."""

    def __init__(
        self, executor: Executor, open_store: OpenStore, threads: ThreadPoolExecutor, cache: Path
    ) -> None:
        self._executor = executor
        self._open_store = open_store
        self._threads = threads
        self._cache = cache

    async def live(self, folder: RunFolder) -> None:
        """Go on from wherever the run is."""
        if is_terminal(folder.run.state):
            # It has ended, and what was left to do did not succeed.
            self._release(folder)
            return
        if folder.run.state in (_S.RUN_STATE_ACCEPTED, _S.RUN_STATE_LAUNCHING) and not await self._launch(
            folder
        ):
            return
        if folder.run.state != _S.RUN_STATE_COLLECTING:
            self._submit(folder)
            await self._observe(folder)
        await self._collect(folder)

    async def remove(self, path: Path) -> None:
        """Remove the folder of a run that is not known any more."""
        await asyncio.get_running_loop().run_in_executor(self._threads, remove_tree, path)

    async def _launch(self, folder: RunFolder) -> bool:
        """Lay the files out, unless that was done; False when the run ended here."""
        if folder.run.state == _S.RUN_STATE_ACCEPTED:
            folder.append(_moved(_S.RUN_STATE_LAUNCHING))
        try:
            if not (folder.path / "laid-out").exists() and not folder.run.cancel_requested:
                await self._patiently(self._lay_out, folder)
        except PollinatorError as error:
            if not folder.run.cancel_requested:
                detail = f"{error.message}\n{error.hint}".strip()
                outcome = Outcome(reason=OutcomeReason.OUTCOME_REASON_MATERIALISE, detail=detail)
                self._end(folder, _S.RUN_STATE_FAILED, outcome)
                return False
        if folder.run.cancel_requested and not (folder.path / "handed-over").exists():
            self._end(folder, _S.RUN_STATE_CANCELLED, Outcome())
            return False
        return True

    def _lay_out(self, folder: RunFolder) -> None:
        request = folder.request()
        store = self._open_store(request)
        try:
            reader = SnapshotReader(store, self._cache)
            snapshot = reader.open(request.snapshot.snapshot)
            work = folder.job.work
            remove_tree(work)
            with disk_errors(work):
                for name, tree in (("src", snapshot.src), ("data", snapshot.data)):
                    (work / name).mkdir(mode=0o755, parents=True)
                    lay_out(reader, tree, work / name, external_links=folder.run.spec.allow_external_links)
                (work / "result").mkdir(mode=0o755)
                (folder.path / "laid-out").touch()
        finally:
            store.close()

    def _submit(self, folder: RunFolder) -> None:
        (folder.path / "handed-over").touch()
        secrets = {each.name: each.value for each in folder.request().secrets}
        self._executor.submit(folder.job, secrets)

    async def _observe(self, folder: RunFolder) -> None:
        looks = 0
        while True:
            if folder.run.cancel_requested and not (folder.path / "cancel").exists():
                self._executor.cancel(folder.job)
            before = folder.run.last_seq
            seen = self._executor.observe(folder.job)
            if is_terminal(seen.state):
                crash_point("before_exit_event")
                self._note_end(folder, seen)
                return
            self._note(folder, seen)
            looks = looks + 1 if folder.run.last_seq == before else 0
            await asyncio.sleep(LOOK_S if looks < LOOKS else SLOW_LOOK_S)

    def _note(self, folder: RunFolder, seen: Observation) -> None:
        run = folder.run
        if seen.state != run.state and not (
            run.state == _S.RUN_STATE_RUNNING and seen.state == _S.RUN_STATE_STARTING
        ):
            # What started and waits again is another attempt.
            again = seen.state == _S.RUN_STATE_QUEUED and run.state != _S.RUN_STATE_LAUNCHING
            run = folder.append(_moved(seen.state, run.attempt + again))
        if seen.pending is not None and seen.pending != run.pending:
            folder.append(RunEvent(pending=seen.pending))
        if seen.nodes and tuple(run.nodes) != seen.nodes:
            folder.append(RunEvent(nodes_assigned=NodesAssigned(nodes=seen.nodes)))
        if seen.state == _S.RUN_STATE_RUNNING:
            folder.drop_secrets()

    def _note_end(self, folder: RunFolder, seen: Observation) -> None:
        if (folder.path / "started.json").exists() and folder.run.state in (
            _S.RUN_STATE_LAUNCHING,
            _S.RUN_STATE_QUEUED,
            _S.RUN_STATE_STARTING,
        ):
            folder.append(_moved(_S.RUN_STATE_RUNNING))
        if seen.usage is not None and seen.usage.memory_source:
            folder.append(RunEvent(usage=seen.usage))
        collecting = _moved(_S.RUN_STATE_COLLECTING)
        collecting.state_changed.outcome.CopyFrom(seen.outcome or Outcome())
        folder.append(collecting)

    async def _collect(self, folder: RunFolder) -> None:
        """Seal the results and end."""
        seen = self._executor.observe(folder.job)
        state, outcome = seen.state, seen.outcome or Outcome()
        crash_point("before_collect")
        try:
            captured = await self._patiently(self._capture, folder)
        except PollinatorError as error:
            outcome.detail = f"the results could not be stored: {error.message}\n{outcome.detail}".strip()
            outcome.reason = OutcomeReason.OUTCOME_REASON_COLLECT
            self._end(folder, _S.RUN_STATE_FAILED, outcome)
            return
        if captured is not None and not folder.run.HasField("result"):
            for line in captured.skipped[:10]:
                text = f"not collected: result/{line}"
                notice = Notice(severity=Severity.SEVERITY_WARNING, code="not_collected", text=text)
                folder.append(RunEvent(notice=notice))
            folder.append(RunEvent(collected=captured.ref))
        crash_point("after_collect")
        self._end(folder, state, outcome)

    def _capture(self, folder: RunFolder) -> Captured | None:
        result = folder.job.work / "result"
        if not result.is_dir():
            return None
        store = self._open_store(folder.request())
        try:
            return capture(result, store)
        finally:
            store.close()

    def _end(self, folder: RunFolder, state: RunState.ValueType, outcome: Outcome) -> None:
        end = _moved(state)
        end.state_changed.outcome.CopyFrom(outcome)
        folder.append(end)
        self._release(folder)

    def _release(self, folder: RunFolder) -> None:
        self._executor.forget(folder.job)
        folder.release()

    async def _patiently(self, work: Callable[[RunFolder], _Result], folder: RunFolder) -> _Result:
        """Do something with the store; one that does not answer is waited for."""
        left = TRIES
        while True:
            left -= 1
            try:
                return await self._in_thread(work, folder)
            except PollinatorError as error:
                if not (error.retryable and left):
                    raise
                _log.warning("run %s waits for the store: %s", folder.run.id, error.message)
                await asyncio.sleep(RETRY_S)
                if folder.run.cancel_requested and folder.run.state != _S.RUN_STATE_COLLECTING:
                    raise

    async def _in_thread(self, work: Callable[[RunFolder], _Result], folder: RunFolder) -> _Result:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work, folder)


def _moved(state: RunState.ValueType, attempt: int = 0) -> RunEvent:
    return RunEvent(state_changed=StateChanged(state=state, attempt=attempt))
