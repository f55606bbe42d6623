"""Handing a sealed run to its executor: its files first, where that cannot reach their store.

Repeating it is harmless: what is stored is named by content, and an executor answers a request that it had
before with the same run.
"""

from __future__ import annotations

import asyncio
import getpass
import logging
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TypeVar

import grpc

from pollinator.daemon.link import ExecutorLink
from pollinator.daemon.registry import Registry
from pollinator.daemon.runs.bridge import Bridge
from pollinator.daemon.runs.log import RunLog
from pollinator.daemon.runs.plan import cancelled, failed, words_of
from pollinator.daemon.runs.secrets import SecretFiles
from pollinator.model.run import is_terminal
from pollinator.v1.run_pb2 import (
    CancelRunRequest,
    GetRunRequest,
    OutcomeReason,
    Run,
    RunState,
    SnapshotSource,
    StartRunRequest,
)
from pollinator.wire.errors import NotFound, PollinatorError, with_name
from pollinator.wire.faults import crash_point
from pollinator.wire.status import to_error

LAUNCH_S = 60.0
"""Longest time an executor may take to accept a run."""

CANCEL_TRY_S = 5.0
RETRY_S = 1.0
RENEW_AGAIN_S = 30.0

_log = logging.getLogger(__name__)
_Result = TypeVar("_Result")


class Launcher:
    """Launches runs.

    Args:
        log: the runs.
        registry: their executors.
        secrets: what their ranks get and nobody else.
        bridge: brings their files to where their executor finds them.
        unreachable: told why an executor is not reached.
        cancel_wished: returns when somebody wishes that a run ends.
    """

    def __init__(
        self,
        log: RunLog,
        registry: Registry,
        secrets: SecretFiles,
        bridge: Bridge,
        unreachable: Callable[[str, PollinatorError], None],
        cancel_wished: Callable[[str], Awaitable[None]],
    ) -> None:
        self._runs = log
        self._registry = registry
        self._secrets = secrets
        self._bridge = bridge
        self._unreachable = unreachable
        self._cancel_wished = cancel_wished
        self._handed: set[str] = set()
        """Executors have these from this daemon."""
        # Of those an earlier daemon left here nobody knows whether it had handed them over.
        self._maybe_launched = {run.id for run in log.active() if run.state == RunState.RUN_STATE_LAUNCHING}

    async def launch(self, run: Run) -> bool:
        """Try it once; True when the executor has the run.

        Where it has not, the run has ended here or is to be launched again.
        """
        if run.cancel_requested and not await self._may_be_launched(run):
            self._runs.append(run.id, cancelled(run))
            return False
        link = self._registry.get(run.executor)
        try:
            await link.ensure()
            if not link.near and run.id in self._maybe_launched and await self._knows(run, link):
                # Its files need not be sent to find out.
                return True
            source = await self._source(run, link)
            if is_terminal(self._runs.get(run.id).state):
                return False
            source.user = _user()
            request = StartRunRequest(request_id=run.id, snapshot=source, secrets=self._secrets.read(run.id))
            self._maybe_launched.add(run.id)
            await link.runs.StartRun(request, timeout=LAUNCH_S)
            self._handed.add(run.id)
        except grpc.aio.AioRpcError as error:
            await self._failed(run, to_error(error))
            return False
        except PollinatorError as error:
            if error.retryable or not await self._has(run, link):
                await self._failed(run, error)
                return False
        crash_point("after_launch_sent")
        return True

    async def renew(self, run_id: str) -> None:
        """Hand new credentials to the executor of a run, in time, as long as there are any that end.

        They go with the same request again: it has the run, and takes only these from it. One that has lost
        the run is not asked, for it would begin another.
        """
        run = self._runs.get(run_id)
        link = self._registry.get(run.executor)
        while True:
            known = await outcome(self._bridge.renewal_s(run, link))
            if known is None:
                return
            if isinstance(known, float):
                # What an earlier daemon had handed over may end at any moment.
                await asyncio.sleep(known if run_id in self._handed else 0.0)
                known = await outcome(self._hand_again(run, link))
                if known is False:
                    return
            if isinstance(known, PollinatorError):
                _log.warning("run %s: its credentials are not renewed: %s", run_id, known.message)
                await asyncio.sleep(RENEW_AGAIN_S)

    async def _hand_again(self, run: Run, link: ExecutorLink) -> bool:
        """Returns False when it does not have the run."""
        if not await self._knows(run, link):
            return False
        source = await self._bridge.source(run, link, bool)
        try:
            await link.runs.StartRun(StartRunRequest(request_id=run.id, snapshot=source), timeout=LAUNCH_S)
        except grpc.aio.AioRpcError as error:
            raise to_error(error) from error
        self._handed.add(run.id)
        return True

    def forget(self, run_id: str) -> None:
        """The run has ended."""
        self._maybe_launched.discard(run_id)
        self._handed.discard(run_id)

    async def _source(self, run: Run, link: ExecutorLink) -> SnapshotSource:
        """Have the files where the executor finds them.

        While no executor can have the run a wish to cancel it is carried out at once, whatever is under way.
        """
        if link.near or run.id in self._maybe_launched:
            return await self._bridge.source(run, link, partial(self._wished, run.id))
        async with asyncio.TaskGroup() as group:
            cancelling = group.create_task(self._cancel_unsent(run), name=f"cancel {run.id}")
            source = await outcome(self._bridge.source(run, link, partial(self._wished, run.id)))
            cancelling.cancel()
        if isinstance(source, PollinatorError):
            raise source
        return source

    async def _cancel_unsent(self, run: Run) -> None:
        await self._cancel_wished(run.id)
        self._runs.append(run.id, cancelled(run))

    def _wished(self, run_id: str) -> bool:
        return self._runs.get(run_id).cancel_requested

    async def _knows(self, run: Run, link: ExecutorLink) -> bool:
        """The executor says that it has the run, or that it has not."""
        try:
            await link.runs.GetRun(GetRunRequest(run_id=run.id), timeout=CANCEL_TRY_S)
        except grpc.aio.AioRpcError as error:
            meaning = to_error(error)
            if isinstance(meaning, NotFound):
                return False
            raise meaning from error
        return True

    async def _has(self, run: Run, link: ExecutorLink) -> bool:
        """The executor has the run from an earlier launch: nobody else can say then that it failed."""
        if run.id not in self._maybe_launched:
            return False
        known = await outcome(self._knows(run, link))
        return known is not False

    async def _may_be_launched(self, run: Run) -> bool:
        """The executor has the run, as far as can be known. One that does is told to cancel it."""
        if run.id not in self._maybe_launched:
            return False
        link = self._registry.get(run.executor)
        try:
            await link.ensure()
            await link.runs.CancelRun(CancelRunRequest(run_id=run.id), timeout=CANCEL_TRY_S)
        except grpc.aio.AioRpcError as error:
            return not isinstance(to_error(error), NotFound)
        except PollinatorError:
            return True
        return True

    async def _failed(self, run: Run, error: PollinatorError) -> None:
        if is_terminal(self._runs.get(run.id).state):
            return
        if error.retryable:
            self._unreachable(run.id, error)
            await asyncio.sleep(RETRY_S)
            return
        words = with_name(words_of(error), run.executor)
        self._runs.append(run.id, failed(run, OutcomeReason.OUTCOME_REASON_LAUNCH, words))


def _user() -> str:
    """Whose daemon this is; empty where the system has no name for them."""
    try:
        name = getpass.getuser()
    except (KeyError, OSError):
        return ""
    # Of the environment, which may hold any bytes; what is told is text.
    return name.encode("utf-8", "replace").decode("utf-8")


async def outcome(work: Awaitable[_Result]) -> _Result | PollinatorError:
    """What it gives, or why it failed: a group of tasks would wrap that."""
    try:
        return await work
    except PollinatorError as error:
        return error
