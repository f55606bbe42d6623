"""Hands runs over to a cluster exactly once each, tells their supervisors, and ends their Jobs.

Before the cluster is asked, the wish is written down, and the name of a Job follows from its run: who asks
again, after a crash or after an answer that was lost, finds the Job that is there.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import NoReturn, TypeVar

from pollinator.executors.kubernetes.api import JOBS, Api
from pollinator.executors.kubernetes.data import Data, Manifest
from pollinator.executors.kubernetes.handover import Handover
from pollinator.executors.kubernetes.manifest import Wish, secret_manifest, service_manifest
from pollinator.executors.kubernetes.naming import is_ours
from pollinator.executors.kubernetes.reasons import reason
from pollinator.executors.kubernetes.watcher import Watcher
from pollinator.v1.run_pb2 import PendingReason
from pollinator.wire.documents import as_entry
from pollinator.wire.errors import (
    AlreadyExists,
    Exhausted,
    NeedsLogin,
    NotFound,
    PollinatorError,
    Unavailable,
    WrongState,
)
from pollinator.wire.faults import crash_point

FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 30.0
AT_A_TIME = 16
"""So many runs are handed over at a time: the rest of the cluster wants to ask as well."""
THREADS = 8
EARLIER_S = 600.0
"""So long an attempt waits for what the pods of the one before it store, while the store answers."""
EARLIER_LOOK_S = 0.5
CLUSTER = ("kubernetes_", "bad_kubeconfig", "context_missing")
"""So begin the reasons of what goes wrong on the way to the cluster, or there."""

_Result = TypeVar("_Result")
_log = logging.getLogger(__name__)


class Submission:
    """The tasks that change something in the cluster.

    Args:
        api: of the namespace.
        watcher: told of what is made.
        data: how files come into pods.
        wish: what an attempt is made from.
        manifest: its Job.
        executor: who we are.
    """

    def __init__(
        self,
        api: Api,
        watcher: Watcher,
        data: Data,
        wish: Callable[[Handover], Wish],
        manifest: Callable[[Wish], Manifest],
        executor: str,
    ) -> None:
        self._api = api
        self._watcher = watcher
        self._data = data
        self._wish = wish
        self._manifest = manifest
        self._executor = executor
        self._work: list[tuple[str, Callable[[], Awaitable[None]]]] = []
        self._wake = asyncio.Event()
        self._turns = asyncio.Semaphore(AT_A_TIME)
        self._deleting: set[str] = set()
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="kubernetes")

    def submit(self, run: Handover) -> None:
        """Have it handed over soon."""
        self._do(f"submit {run.job.run_id}", lambda: self._hand_over(run))

    def tell(self, run: Handover, name: str, text: str) -> None:
        """Have the supervisors of an attempt told something, once."""
        if name not in run.told:
            run.told.add(name)
            self._do(f"tell {run.job.run_id}", lambda: self._tell(run, run.attempt, name, text))

    def delete(self, uid: str, name: str) -> None:
        """Have a Job end, with all that belongs to it; asking twice is asking once."""
        if uid and uid not in self._deleting:
            self._deleting.add(uid)
            self._do(f"delete {name}", lambda: self._delete(uid, name))

    async def run(self) -> NoReturn:
        """Work on all that is asked for."""
        try:
            async with asyncio.TaskGroup() as group:
                while True:
                    await self._wake.wait()
                    self._wake.clear()
                    while self._work:
                        name, work = self._work.pop(0)
                        group.create_task(_awaited(work), name=name)
        finally:
            self._threads.shutdown(wait=False, cancel_futures=True)
        raise AssertionError("it goes on until it is cancelled")

    def _do(self, name: str, work: Callable[[], Awaitable[None]]) -> None:
        self._work.append((name, work))
        self._wake.set()

    async def _in_thread(self, work: Callable[[], _Result]) -> _Result:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)

    # Handing over

    async def _hand_over(self, run: Handover) -> None:
        pause_s = FIRST_PAUSE_S
        while not await self._is_handed_over(run):
            await _rest(run, pause_s)
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)

    async def _is_handed_over(self, run: Handover) -> bool:
        """Try it; True when nothing is left to do."""
        try:
            await self._earlier_told(run)
            async with self._turns:
                if run.left or (run.cancelled and not run.intent.since and run.withdraw()):
                    return True
                await self._once_or_refused(run)
            return True
        except PollinatorError as error:
            run.pending = _why(error)
            _log.warning("run %s: %s", run.job.run_id, error.message)
        except OSError as error:
            # A disk that is full has room again some time.
            _log.warning("run %s: %s", run.job.run_id, error)
        except Exception:  # noqa: BLE001 - the root of one run: a defect it meets must not end the others
            _log.exception("run %s: trying again", run.job.run_id)
        return False

    async def _earlier_told(self, run: Handover) -> None:
        """Wait for what is to be there before its Job is: nobody else waits meanwhile, and no node does."""
        while not (run.intent.since or run.cancelled or run.left):
            words = self._data.awaited(run.job, run.attempt)
            if words is None or run.age("earlier", holds=not words) > EARLIER_S:
                return
            run.pending = reason("earlier_attempt", words)
            await _rest(run, EARLIER_LOOK_S)
            run.pending = None

    async def _once_or_refused(self, run: Handover) -> None:
        try:
            await self._once(run)
        except (Exhausted, NeedsLogin):
            raise
        except PollinatorError as error:
            if error.retryable or isinstance(error, WrongState):
                raise
            await self._take_back(run)
            run.refused(error)

    async def _take_back(self, run: Handover) -> None:
        """End its Job, if there is one: it may lack what belongs to it, and must not begin."""
        if not run.uid:
            await self._find(run)
        if run.uid:
            await self._api.delete(JOBS, run.name, run.uid)

    async def _find(self, run: Handover) -> bool:
        """Note which Job it is, whose answer may have been lost; False where none of that name is there."""
        try:
            found = await self._api.get(JOBS, run.name)
        except NotFound:
            return False
        if is_ours(found, self._executor, run.job.run_id):
            run.is_job(_uid(found))
        return True

    async def _once(self, run: Handover) -> None:
        wish = self._wish(run)
        manifest = self._manifest(wish)
        if run.cancelled and not run.uid and await self._withdrawn(run):
            return
        if not run.uid and self._has_begun(run):
            # Somebody made its Job and was killed before that was noted. It must not be made again.
            await self._find(run)
            run.vanished = not run.uid
        elif not run.uid:
            await self._in_thread(lambda: self._data.prepare(run.job, run.attempt))
            run.intent.note()
            crash_point("before_create")
            made = await self._made(run, manifest)
            crash_point("after_create")
            self._watcher.made(made)
            run.is_job(_uid(made))
        if not run.whole and run.uid:
            await self._complete(run, wish)
            if run.attempt != wish.attempt:
                # It has ended meanwhile, and the next one is handed over by itself.
                return
            run.is_whole()
        crash_point("after_job")
        run.pending = None
        if run.left:
            # It ended while this was done.
            self.delete(run.uid, run.name)

    async def _withdrawn(self, run: Handover) -> bool:
        """End a run whose Job may have been made, and was not; False where there is one."""
        if not await self._find(run):
            run.intent.retract()
            return run.withdraw()
        if run.uid:
            # Nobody is to begin with it: it lacks nothing.
            run.is_whole()
        return False

    def _has_begun(self, run: Handover) -> bool:
        """It has a Job, or had one."""
        run.read(0.0)
        return bool(run.intent.since) and run.began

    async def _made(self, run: Handover, manifest: Manifest) -> Manifest:
        """Its Job, whoever made it."""
        try:
            return await self._api.create(manifest)
        except AlreadyExists:
            found = await self._api.get(JOBS, run.name)
        if not is_ours(found, self._executor, run.job.run_id):
            raise AlreadyExists(
                f"there is a Job {run.name} in the namespace already, and it is not of this executor",
                reason="job_taken",
            )
        return found

    async def _complete(self, run: Handover, wish: Wish) -> None:
        """Make what belongs to its Job, and ends with it."""
        owner = {"name": run.name, "uid": run.uid}
        objects = [secret_manifest(wish, owner)] if wish.secrets else []
        if run.job.spec.nodes > 1:
            objects.append(service_manifest(wish, owner))
        for each in await self._data.objects(run.job, run.attempt):
            reference = secret_manifest(wish, owner)["metadata"]["ownerReferences"]
            objects.append(each | {"metadata": each["metadata"] | {"ownerReferences": reference}})
        for each in objects:
            with contextlib.suppress(AlreadyExists):
                await self._api.create(each)

    # Telling and ending

    async def _tell(self, run: Handover, attempt: int, name: str, text: str) -> None:
        try:
            await self._in_thread(lambda: self._data.tell(run.job, attempt, name, text))
        except (OSError, PollinatorError) as error:
            # Who looks at the run next has it told again.
            _log.warning("run %s: %s is not told yet: %s", run.job.run_id, name, error)
            await asyncio.sleep(FIRST_PAUSE_S)
            if run.attempt == attempt:
                run.told.discard(name)

    async def _delete(self, uid: str, name: str) -> None:
        pause_s = FIRST_PAUSE_S
        began = time.monotonic()
        while True:
            try:
                await self._api.delete(JOBS, name, uid)
                return
            except (NotFound, WrongState):
                # Another one has the name by now.
                return
            except PollinatorError as error:
                if time.monotonic() - began > LONGEST_PAUSE_S:
                    _log.warning("Job %s is not deleted yet: %s", name, error)
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)


def _uid(found: Manifest) -> str:
    """Of an object that the cluster says it has.

    Raises:
        Unavailable: it says nothing of the kind.
    """
    uid = as_entry(found.get("metadata")).get("uid")
    if not uid:
        raise Unavailable("the cluster's answer cannot be understood", reason="kubernetes_garbled")
    return str(uid)


def _why(error: PollinatorError) -> PendingReason:
    """What is said of a run that cannot be handed over now."""
    match error.reason:
        case "kubernetes_quota":
            return reason("quota", error.message)
        case "kubernetes_login":
            return reason("login", error.message, error.hint)
        case cluster if cluster.startswith(CLUSTER):
            return reason("api_unreachable", error.message)
        case _:
            # Of whoever issues credentials for its pods.
            return reason("store_unreachable", error.message, error.hint)


async def _rest(run: Handover, pause_s: float) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(pause_s):
            await run.wished.wait()
    # A wish cuts one pause short, and not all that come.
    run.wished.clear()


async def _awaited(work: Callable[[], Awaitable[None]]) -> None:
    await work()
