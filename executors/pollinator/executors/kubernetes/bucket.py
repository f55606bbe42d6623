"""Files of runs in pods that share no volume with the executor: all goes through the store of the project.

A container that runs before the ranks lays the files out, one beside them tells what they print and stores
what they leave. Both have credentials for this project's objects and for a while, in a Secret that no rank
sees.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, NoReturn, Protocol, TypeVar

from pollinator.chunks.keys import page_prefix
from pollinator.chunks.store import Store
from pollinator.chunks.stores import open_store
from pollinator.executors.base import Fetched, Job, Tell
from pollinator.executors.kubernetes.companions import (
    parts_of,
    secret_data,
    secret_manifest,
    secret_name,
)
from pollinator.executors.kubernetes.credentials import Issued, Owner, issue
from pollinator.executors.kubernetes.data import (
    GO,
    JOURNAL_BYTES,
    STOP,
    Data,
    Manifest,
    Parts,
    PodSeen,
)
from pollinator.executors.kubernetes.pod import Plan
from pollinator.executors.kubernetes.relay import Relay
from pollinator.executors.kubernetes.results import joined, kept_of, without
from pollinator.executors.kubernetes.settings import Site
from pollinator.executors.kubernetes.told import folder_of
from pollinator.executors.records import EXIT, read_record
from pollinator.v1.run_pb2 import Notice
from pollinator.wire.errors import Denied, NotFound, PollinatorError, WrongState

THREADS = 16
RENEW_LOOK_S = 15.0
"""How often it is looked whether credentials have to be renewed."""

_Result = TypeVar("_Result")
_log = logging.getLogger(__name__)


class Asking(Protocol):
    """A line to the cluster."""

    @property
    def namespace(self) -> str:
        """In which runs are."""
        ...

    async def request(
        self, method: str, path: str, *, body: Any = None, content_type: str = "application/json"
    ) -> Any:
        """Ask, and return what JSON says.

        Raises:
            PollinatorError: it was refused, or there was no answer.
        """
        ...


class Bucket(Data):
    """Runs whose files are in buckets.

    Args:
        cluster: where the pods are.
        site: the settings.
        executor: the name of this one in the cluster.
        grace_s: so long ranks may take to end.
    """

    stages = True

    def __init__(self, cluster: Asking, site: Site, executor: str, grace_s: float) -> None:
        self._cluster = cluster
        self._site = site
        self._executor = executor
        self._grace_s = grace_s
        self._owner = Owner(site.credentials, site.endpoint)
        self._relays: dict[str, Relay] = {}
        self._relayed: set[str] = set()
        """Runs that have a task of their own."""
        self._wake = asyncio.Event()
        self._issued: dict[tuple[str, int], tuple[str, Issued]] = {}
        """What pods of an attempt have, and for what the run came with."""
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="bucket")
        self._loop: asyncio.AbstractEventLoop | None = None

    # Before the pods

    async def stage(self, job: Job, store: Store, tell: Tell) -> list[Notice]:
        """The files are where pods find them; see whether these may."""
        # Found out now, and not when pods wait for it.
        await self._in_thread(issue, job.source, self._owner)
        return []

    def parts(self, job: Job, attempt: int) -> Parts:
        """Containers and volumes of the pods of an attempt."""
        return parts_of(job, attempt, self._executor, self._site)

    def awaited(self, job: Job, attempt: int) -> str | None:
        """What the pods of the attempt before may still be storing: this one is to find it."""
        relay = self._relay(job)
        if attempt == 1 or relay.has_told(attempt - 1):
            return None
        return relay.trouble.message if relay.trouble is not None else ""

    def prepare(self, job: Job, attempt: int) -> None:
        """Make the files that are filled here by what pods tell."""
        folder = folder_of(job.workspace, attempt)
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        job.output.mkdir(mode=0o700, exist_ok=True)
        for name in (GO, STOP, *(str(node) for node in range(job.spec.nodes))):
            (folder / name).touch()

    async def objects(self, job: Job, attempt: int) -> list[Manifest]:
        """The Secret by which pods reach the store, with what they have to do."""
        relay = self._relay(job)
        issued = await self._in_thread(issue, job.source, self._owner)
        self._issued[job.run_id, attempt] = _mark(job), issued
        plan = Plan(
            run_id=job.run_id,
            project=job.spec.project,
            snapshot=job.source.snapshot,
            external_links=job.spec.allow_external_links,
            grace_s=self._grace_s,
            keeps=job.spec.requeue,
            kept=kept_of(relay.ends(attempt - 1)[0]),
        )
        return [secret_manifest(job, attempt, self._executor, plan, issued)]

    # While they are there

    def journal(self, job: Job, attempt: int, node: int, offset: int) -> bytes:
        """What a node's journal holds from there on, as far as its pod has told."""
        try:
            with (folder_of(job.workspace, attempt) / str(node)).open("rb") as file:
                file.seek(offset)
                return file.read(max(0, JOURNAL_BYTES - offset))
        except FileNotFoundError:
            return b""

    def tell(self, job: Job, attempt: int, name: str, text: str) -> None:
        """Note it; whoever relays brings it to the pods."""
        descriptor = os.open(folder_of(job.workspace, attempt) / name, os.O_WRONLY | os.O_CREAT, 0o600)
        try:
            os.pwrite(descriptor, text.encode() + b"\n", 0)
        finally:
            os.close(descriptor)
        if self._loop is not None:
            # From a thread of others; by now the run may be over.
            self._loop.call_soon_threadsafe(self._wake_relay, job.run_id)

    def see(self, job: Job, attempt: int, pods: Sequence[PodSeen]) -> None:
        """Note how the pods are."""
        self._relay(job).see(attempt, pods)

    def settled(self, job: Job, attempt: int) -> bool:
        """All that its ranks have printed is here."""
        return self._relay(job).settled(attempt)

    async def serve(self) -> None:
        """Relay for each run, and renew credentials in time."""
        self._loop = asyncio.get_running_loop()
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._renew_all(), name="credentials")
                while True:
                    for run_id in self._relays.keys() - self._relayed:
                        self._relayed.add(run_id)
                        group.create_task(self._relay_one(run_id), name=f"relay {run_id}")
                    await self._wake.wait()
                    self._wake.clear()
        finally:
            for relay in self._relays.values():
                relay.close()
            self._threads.shutdown(wait=False, cancel_futures=True)

    async def _relay_one(self, run_id: str) -> None:
        relay = self._relays[run_id]
        try:
            await relay.run()
        finally:
            self._relayed.discard(run_id)
            relay.close()

    async def _renew_all(self) -> NoReturn:
        while True:
            for (run_id, attempt), (mark, issued) in list(self._issued.items()):
                if run_id in self._relays:
                    await self._renew(self._relays[run_id].job, attempt, mark, issued)
            await asyncio.sleep(RENEW_LOOK_S)

    # When they are not

    async def fetch(self, job: Job, tell: Tell) -> Fetched:
        """Where the results are, once each node has stored its own."""
        relay = self._relay(job)
        await relay.all_told(relay.attempt)
        ends, lost = relay.ends(relay.attempt)
        record = read_record(job.workspace / EXIT) or {}
        missing = without(ends, lost)
        if missing and not record.get("reason"):
            raise WrongState("\n".join(missing), reason="results_lost")
        return await self._in_thread(self._join, job, ends, lost)

    def _join(self, job: Job, ends: Mapping[int, Mapping[str, Any]], lost: Mapping[int, str]) -> Fetched:
        store = open_store(job.source.store, job.source.spec.project)
        try:
            fetched = joined(store, ends, lost)
            if fetched.stored is None and any(end.get("none") for end in ends.values()):
                # Not even the folder was left.
                with contextlib.suppress(FileNotFoundError):
                    (job.work / "result").rmdir()
            try:
                for key in list(store.keys(page_prefix(job.run_id))):
                    store.delete(key)
            except Denied:
                pass  # whoever sent the run does it
            except PollinatorError as error:
                _log.warning("run %s: its pages stay in the store: %s", job.run_id, error.message)
            return fetched
        finally:
            store.close()

    def forget(self, job: Job) -> None:
        """Relay no more."""
        for key in [each for each in self._issued if each[0] == job.run_id]:
            del self._issued[key]
        relay = self._relays.pop(job.run_id, None)
        if relay is not None:
            relay.end()

    # Inside

    def _relay(self, job: Job) -> Relay:
        """What is known of a run, after a restart as well."""
        if job.run_id not in self._relays:
            relay = self._relays[job.run_id] = Relay(job, self._in_thread, self._questions)
            self._wake.set()
            if relay.attempt and (job.run_id, relay.attempt) not in self._issued:
                # Nobody knows how good those are that an earlier process has handed on.
                self._issued[job.run_id, relay.attempt] = "", Issued(job.source.store, 0.0)
        relay = self._relays[job.run_id]
        if job.source.HasField("store"):
            relay.job = job
        return relay

    def _wake_relay(self, run_id: str) -> None:
        if run_id in self._relays:
            self._relays[run_id].wake()

    def _questions(self) -> int:
        return sum(relay.open for relay in self._relays.values())

    async def _renew(self, job: Job, attempt: int, mark: str, issued: Issued) -> None:
        """Hand new credentials on, where there have to be some."""
        if time.time() < issued.renew_at and mark == _mark(job):
            return
        path = f"/api/v1/namespaces/{self._cluster.namespace}/secrets/"
        path += secret_name(job, attempt, self._executor)
        try:
            fresh = await self._in_thread(issue, job.source, self._owner)
            await self._cluster.request(
                "PATCH",
                path,
                body={"data": secret_data(fresh)},
                content_type="application/merge-patch+json",
            )
        except NotFound:
            self._issued.pop((job.run_id, attempt), None)
        except PollinatorError as error:
            _log.warning("run %s: its credentials are not renewed: %s", job.run_id, error.message)
        except Exception:  # noqa: BLE001 - one task for all runs: a defect it meets at one must not end the others
            _log.exception("run %s: its credentials are not renewed", job.run_id)
        else:
            if (job.run_id, attempt) in self._issued:
                self._issued[job.run_id, attempt] = _mark(job), fresh

    async def _in_thread(self, work: Callable[..., _Result], *arguments: Any) -> _Result:
        return await asyncio.get_running_loop().run_in_executor(self._threads, partial(work, *arguments))


def _mark(job: Job) -> str:
    """Tells what a run came with from what it comes with later."""
    return job.source.store.SerializeToString(deterministic=True).hex()
