"""The life of a run at an executor: lay out, hand over, observe, collect, end; safe to repeat anywhere."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TypeVar

from pollinator.chunks.capture import Captured, capture
from pollinator.chunks.keeping import write_lease
from pollinator.chunks.layout import disk_errors
from pollinator.chunks.store import Store
from pollinator.executors.base import Executor, Fetched, Observation
from pollinator.executors.boot import boot_id
from pollinator.executors.files import Files, OpenStore
from pollinator.executors.intent import INTENT
from pollinator.executors.records import attempts
from pollinator.executors.remarks import moved, note_attempts, note_results, notice, tell, while_wanted
from pollinator.executors.runlog import BEFORE_RANKS, RunFolder
from pollinator.executors.trees import remove_tree
from pollinator.model.run import is_terminal
from pollinator.v1.keeping_pb2 import Lease
from pollinator.v1.run_pb2 import (
    NodesAssigned,
    Notice,
    Outcome,
    OutcomeReason,
    ProgressKind,
    RunEvent,
    RunState,
)
from pollinator.v1.tree_pb2 import SnapshotRef
from pollinator.wire.errors import Corrupt, Denied, InvalidInput, NeedsLogin, PollinatorError
from pollinator.wire.faults import crash_point
from pollinator.wire.progress import Teller

LOOK_S = 0.02
SLOW_LOOK_S = 0.1
LOOKS = 250
"""After so many looks at one state the slow pace is enough."""
FIRST_PAUSE_S = 0.25
LONGEST_PAUSE_S = 30.0
FILES_PATIENCE_S = 600.0
IMAGE_PATIENCE_S = 120.0
RESULTS_PATIENCE_S = 24 * 3600.0
"""So long a store that does not answer is waited for. Files can be asked for again by a new run, results are
nowhere else."""

LEASE_S = 7 * 86400.0
"""So often the lease of a run that goes on is written again: one that is not is dead after a month."""

_Argument = TypeVar("_Argument")
_Result = TypeVar("_Result")
_log = logging.getLogger(__name__)
_S = RunState

_LAID_OUT = "laid-out"
_WAITING = {
    "files": ("store_unreachable", "its files wait for the store"),
    "image": ("registry_unreachable", "its image waits for the registry"),
    "stage": ("backend_unreachable", "its files wait for the way to where they are needed"),
    "fetch": ("backend_unreachable", "its results wait for the way from where they are"),
    "results": ("store_unreachable", "its results wait for the store"),
}


class Lifecycle:
    """Brings runs of one executor to their end."""

    def __init__(
        self, executor: Executor, open_store: OpenStore, threads: ThreadPoolExecutor, files: Files
    ) -> None:
        self._executor = executor
        self._open_store = open_store
        self._threads = threads
        self._files = files

    async def live(self, folder: RunFolder) -> None:
        """Go on from wherever the run is."""
        if is_terminal(folder.run.state):
            # It has ended, and what was left to do did not succeed.
            await self._release(folder)
            return
        if folder.run.state in BEFORE_RANKS and not await self._launch(folder):
            return
        if folder.run.state != _S.RUN_STATE_COLLECTING:
            self._submit(folder)
            await self._observe(folder)
        await self._collect(folder)

    async def remove(self, path: Path) -> None:
        """Remove the folder of a run that is not known any more."""
        await self._in_thread(remove_tree, path)

    async def _launch(self, folder: RunFolder) -> bool:
        """Lay the files out, unless that was done; False when the run ended here."""
        if folder.run.state == _S.RUN_STATE_ACCEPTED:
            folder.append(moved(_S.RUN_STATE_LAUNCHING))
        try:
            if not _is_laid_out(folder) and not folder.run.cancel_requested:
                crash_point("before_lay_out")
                await self._place(folder)
                crash_point("after_lay_out")
        except PollinatorError as error:
            if not folder.run.cancel_requested:
                await self._end(folder, *_refused(OutcomeReason.OUTCOME_REASON_MATERIALISE, error))
                return False
        try:
            if folder.run.spec.image and not folder.run.cancel_requested:
                notices = await self._telling(
                    ProgressKind.PROGRESS_KIND_IMAGE, "image", self._image, folder, IMAGE_PATIENCE_S
                )
                for said in notices:
                    tell(folder, said)
        except PollinatorError as error:
            if not folder.run.cancel_requested:
                await self._end(folder, *_refused(OutcomeReason.OUTCOME_REASON_IMAGE, error))
                return False
        if folder.run.cancel_requested and not (folder.path / "handed-over").exists():
            await self._end(folder, _S.RUN_STATE_CANCELLED, Outcome())
            return False
        return True

    async def _place(self, folder: RunFolder) -> None:
        """Have the files where the ranks will find them."""
        kind = ProgressKind.PROGRESS_KIND_LAY_OUT
        if self._executor.stages:
            lease = partial(self._in_thread, self._lease_source)
            await self._patiently("files", lease, folder, FILES_PATIENCE_S)
            await self._telling(kind, "stage", self._stage, folder, FILES_PATIENCE_S)
        else:
            await self._telling(kind, "files", self._in_place, folder, FILES_PATIENCE_S)

    async def _stage(self, teller: Teller, folder: RunFolder) -> None:
        """Have the files where the backend finds them."""
        store = await self._in_thread(self._open_store, folder.request())
        try:
            notices = await self._executor.stage(folder.job, store, while_wanted(folder, teller))
        finally:
            await self._in_thread(lambda opened: opened.close(), store)
        for said in notices:
            tell(folder, said)
        await self._in_thread(_note_laid_out, folder)

    async def _in_place(self, teller: Teller, folder: RunFolder) -> None:
        await self._in_thread(self._lease_source, folder)
        await self._in_thread(partial(self._lay_out, teller), folder)

    def _lay_out(self, teller: Teller, folder: RunFolder) -> None:
        self._files.lay_out(
            folder.request(),
            folder.job.work,
            while_wanted(folder, teller),
            lambda found: teller.begin(found.src.bytes + found.data.bytes),
        )
        _note_laid_out(folder)

    async def _image(self, teller: Teller, folder: RunFolder) -> list[Notice]:
        prepare = partial(self._executor.prepare_image, tell=while_wanted(folder, teller))
        return await self._in_thread(prepare, folder.job)

    def _lease_source(self, folder: RunFolder) -> None:
        store = self._open_store(folder.request())
        try:
            _lease(folder, store, Lease(source=folder.run.snapshot))
        finally:
            store.close()

    async def _renew(self, folder: RunFolder) -> None:
        try:
            await self._in_thread(self._lease_source, folder)
        except PollinatorError as error:
            _log.warning("run %s: its lease is not renewed: %s", folder.run.id, error.message)

    def _submit(self, folder: RunFolder) -> None:
        (folder.path / "handed-over").touch()
        request = folder.request()
        self._executor.submit(folder.job, {each.name: each.value for each in request.secrets})
        if not self._executor.stages:
            self._files.prepare(request)

    async def _observe(self, folder: RunFolder) -> None:
        looks, told = 0, False
        renew_at = time.monotonic() + LEASE_S
        while True:
            if time.monotonic() > renew_at:
                renew_at += LEASE_S
                await self._renew(folder)
            if folder.run.cancel_requested and not told:
                self._executor.cancel(folder.job)
                told = True
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
        note_attempts(folder, seen.attempt)
        run = folder.run
        if seen.state != run.state and not (
            run.state == _S.RUN_STATE_RUNNING and seen.state == _S.RUN_STATE_STARTING
        ):
            # What started and waits again is another attempt.
            again = seen.state == _S.RUN_STATE_QUEUED and run.state != _S.RUN_STATE_LAUNCHING
            run = folder.append(moved(seen.state, seen.attempt or run.attempt + again))
        if seen.pending is not None and seen.pending != run.pending:
            folder.append(RunEvent(pending=seen.pending))
        self._note_besides(folder, seen)
        if seen.state == _S.RUN_STATE_RUNNING and not run.spec.requeue:
            folder.drop_secrets()

    def _note_besides(self, folder: RunFolder, seen: Observation) -> None:
        for said in seen.notices:
            tell(folder, said)
        if seen.nodes and tuple(folder.run.nodes) != seen.nodes:
            folder.append(RunEvent(nodes_assigned=NodesAssigned(nodes=seen.nodes)))

    def _note_end(self, folder: RunFolder, seen: Observation) -> None:
        note_attempts(folder, seen.attempt)
        if (folder.path / "started.json").exists() and folder.run.state in (
            _S.RUN_STATE_LAUNCHING,
            _S.RUN_STATE_QUEUED,
            _S.RUN_STATE_STARTING,
        ):
            folder.append(moved(_S.RUN_STATE_RUNNING))
        self._note_besides(folder, seen)
        if seen.usage is not None and seen.usage.memory_source:
            folder.append(RunEvent(usage=seen.usage))
        collecting = moved(_S.RUN_STATE_COLLECTING)
        collecting.state_changed.outcome.CopyFrom(seen.outcome or Outcome())
        folder.append(collecting)

    async def _collect(self, folder: RunFolder) -> None:
        """Seal the results and end."""
        seen = self._executor.observe(folder.job)
        outcome = seen.outcome or Outcome()
        crash_point("before_collect")
        if not folder.run.HasField("result"):
            done, stay = "brought here", "they stay where the run was"
            try:
                stored = await self._fetch(folder) if self._executor.stages else None
                done, stay = "stored", f"they stay in {folder.job.work / 'result'}"
                if stored is not None:
                    await self._in_thread(partial(self._keep_result, stored), folder)
                    folder.append(RunEvent(collected=stored))
                else:
                    captured = await self._telling(
                        ProgressKind.PROGRESS_KIND_COLLECT, "results", self._seal, folder, RESULTS_PATIENCE_S
                    )
                    note_results(folder, captured)
            except PollinatorError as error:
                what = f"the results could not be {done}: {error.message}"
                outcome.detail = "\n".join(filter(None, (what, error.hint, stay, outcome.detail)))
                outcome.reason = OutcomeReason.OUTCOME_REASON_COLLECT
                await self._end(folder, _S.RUN_STATE_FAILED, outcome)
                return
        crash_point("after_collect")
        await self._end(folder, seen.state, outcome)

    async def _fetch(self, folder: RunFolder) -> SnapshotRef | None:
        """Have the results here, unless they are in the store already: then where."""

        async def fetch(teller: Teller, folder: RunFolder) -> Fetched:
            return await self._executor.fetch(folder.job, teller)

        kind = ProgressKind.PROGRESS_KIND_FETCH
        fetched = await self._telling(kind, "fetch", fetch, folder, RESULTS_PATIENCE_S)
        for said in fetched.notices:
            tell(folder, said)
        return fetched.stored

    def _keep_result(self, stored: SnapshotRef, folder: RunFolder) -> None:
        store = self._open_store(folder.request())
        try:
            _lease(folder, store, Lease(source=folder.run.snapshot, result=stored))
        finally:
            store.close()

    async def _seal(self, teller: Teller, folder: RunFolder) -> Captured | None:
        return await self._in_thread(partial(self._capture, teller), folder)

    def _capture(self, teller: Teller, folder: RunFolder) -> Captured | None:
        result = folder.job.work / "result"
        if result.is_symlink() or not result.is_dir():
            return None
        store = self._open_store(folder.request())
        try:
            teller.begin(0)
            captured = capture(result, store, progress=teller)
            crash_point("before_lease")
            _lease(folder, store, Lease(source=folder.run.snapshot, result=captured.ref))
            return captured
        finally:
            store.close()

    async def _end(self, folder: RunFolder, state: RunState.ValueType, outcome: Outcome) -> None:
        end = moved(state)
        end.state_changed.outcome.CopyFrom(outcome)
        folder.append(end)
        crash_point("before_clean")
        await self._release(folder)

    async def _release(self, folder: RunFolder) -> None:
        folder.drop_private()
        self._executor.forget(folder.job)
        # There may be a million files to remove.
        await self._in_thread(RunFolder.release, folder)

    async def _telling(
        self,
        kind: ProgressKind.ValueType,
        what: str,
        work: Callable[[Teller, RunFolder], Awaitable[_Result]],
        folder: RunFolder,
        patience_s: float,
    ) -> _Result:
        """The same as ``_patiently``; whoever follows the run hears how far the work is."""
        try:
            return await self._patiently(what, partial(work, Teller(folder.tell, kind)), folder, patience_s)
        finally:
            folder.tell(None)

    async def _patiently(
        self, what: str, work: Callable[[RunFolder], Awaitable[_Result]], folder: RunFolder, patience_s: float
    ) -> _Result:
        """Do something with a store or registry; one that does not answer is waited for, which is said."""
        deadline = time.monotonic() + patience_s
        pause_s = FIRST_PAUSE_S
        while True:
            try:
                return await work(folder)
            except PollinatorError as error:
                if not (error.retryable or _waits_for_new_ones(folder, error)) or time.monotonic() > deadline:
                    raise
                code, text = _WAITING[what]
                _log.warning("run %s: %s: %s", folder.run.id, text, error.message)
                notice(folder, code, f"{text}: {error.message}")
                # Until something happens to the run, which may be the wish that it ends.
                await folder.growth.changed(folder.growth.version, pause_s)
                if folder.run.cancel_requested and folder.run.state != _S.RUN_STATE_COLLECTING:
                    raise
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)

    async def _in_thread(self, work: Callable[[_Argument], _Result], argument: _Argument) -> _Result:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work, argument)


def _lease(folder: RunFolder, store: Store, lease: Lease) -> None:
    """Say in the store what the run needs: its daemon may be away longer than what nobody keeps stays there.

    Where that is not allowed the run goes on: its daemon keeps the same as soon as it knows of it.
    """
    try:
        write_lease(store, folder.run.id, lease)
    except (Corrupt, Denied, InvalidInput) as error:
        notice(folder, "not_leased", f"the store takes no lease of this run: {error.message}")


def _note_laid_out(folder: RunFolder) -> None:
    result = folder.job.work / "result"
    with disk_errors(result):
        result.mkdir(mode=0o755, parents=True, exist_ok=True)
        (folder.path / _LAID_OUT).write_bytes(boot_id().encode())


def _is_laid_out(folder: RunFolder) -> bool:
    """All files are there, or ranks have begun with them: then it is too late to do anything about them.

    What was laid out before the machine started is not looked at, see ``boot``. No rank can be about to begin
    with that: all that ran here ended with the machine.
    """
    if (folder.path / "started.json").exists() or attempts(folder.path):
        return True
    if (folder.path / INTENT).exists():
        # A backend may have it, on machines that did not start anew with this one, and begin at any moment.
        return True
    try:
        return (folder.path / _LAID_OUT).read_bytes() == boot_id().encode()
    except FileNotFoundError:
        return False


def _waits_for_new_ones(folder: RunFolder, error: PollinatorError) -> bool:
    """Credentials that were issued for a while have ended, and whoever sent the run brings new ones."""
    return isinstance(error, NeedsLogin) and bool(folder.request().snapshot.store.s3.session_token)


def _refused(reason: OutcomeReason.ValueType, error: PollinatorError) -> tuple[RunState.ValueType, Outcome]:
    detail = f"{error.message}\n{error.hint}".strip()
    return _S.RUN_STATE_FAILED, Outcome(reason=reason, detail=detail)
