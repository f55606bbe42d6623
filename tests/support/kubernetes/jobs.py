"""The controller of Jobs: their pods, and what becomes of them."""

from __future__ import annotations

import asyncio
import time

from support.kubernetes import job_pods, job_status
from support.kubernetes.deleting import delete, drop_finalizer
from support.kubernetes.events import tell
from support.kubernetes.job_pods import TRACKING
from support.kubernetes.kinds import JOB, POD, Key, Obj, key_of, list_of
from support.kubernetes.refusals import Refusal
from support.kubernetes.store import Change, condition, controller_of, now, seconds
from support.kubernetes.world import World

WHO = "job-controller"
_TICK_S = 0.1
_LOOSE_S = 0.5


class JobController:
    """Brings every Job to where it is to be."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._store = world.store
        self._dirty = asyncio.Event()
        self._due: dict[Key, float] = {}
        """When Jobs whose pods were not let in are tried again."""
        self._failures: dict[Key, int] = {}
        world.store.listen(self._see)

    def _see(self, change: Change) -> None:
        if change.key.kind in (JOB.resource, POD.resource):
            self._dirty.set()

    async def run(self) -> None:
        """Look at all of them whenever something changes, and now and then."""
        while True:
            try:
                async with asyncio.timeout(_TICK_S):
                    await self._dirty.wait()
            except TimeoutError:
                pass
            self._dirty.clear()
            for job in self._store.all(JOB):
                self._sync(job)
            self._let_go()
            await asyncio.sleep(0.01)

    def _let_go(self) -> None:
        """Pods whose Job is gone are nobody's."""
        uids = {each["metadata"]["uid"] for each in self._store.all(JOB)}
        for pod in self._store.all(POD):
            if TRACKING in list_of(pod["metadata"], "finalizers") and controller_of(pod) not in uids:
                drop_finalizer(self._store, POD, pod, TRACKING)

    def _sync(self, job: Obj) -> None:
        if job_status.finished(job):
            self._expire(job)
            return
        pods = [each for each in self._store.owned(POD, job) if controller_of(each) == job["metadata"]["uid"]]
        if "deletionTimestamp" in job["metadata"]:
            for pod in pods:
                drop_finalizer(self._store, POD, pod, TRACKING)
            self._store.change(JOB, job, job_status.Count(job, pods).write)
            return
        before = job
        counted = job_status.Count(job, pods)
        fresh = self._store.change(JOB, job, counted.write) or job
        for pod in counted.counted:
            drop_finalizer(self._store, POD, pod, TRACKING)
        self._tell(before, fresh)
        if job_status.finished(fresh):
            return
        if counted.ends or job["spec"].get("suspend"):
            for pod in counted.active:
                self._remove(job, pod)
        else:
            self._create(fresh, counted)

    def _remove(self, job: Obj, pod: Obj) -> None:
        delete(self._store, POD, pod, {})
        # It counts already.
        drop_finalizer(self._store, POD, pod, TRACKING)
        tell(self._store, JOB, job, WHO, "SuccessfulDelete", f"Deleted pod: {pod['metadata']['name']}")

    def _create(self, job: Obj, counted: job_status.Count) -> None:
        key = key_of(JOB, job)
        if time.monotonic() < self._due.get(key, 0.0):
            return
        for index in counted.missing():
            pod = job_pods.new(job, index)
            try:
                made = self._world.api.create(POD, job["metadata"]["namespace"], pod)
            except Refusal as refusal:
                # A name is made up for each, and is told nobody before.
                tell(self._store, JOB, job, WHO, "FailedCreate", f"Error creating: {refusal}", warning=True)
                self._failures[key] = self._failures.get(key, 0) + 1
                self._due[key] = time.monotonic() + _LOOSE_S * min(16, 2 ** self._failures[key])
                return
            self._failures.pop(key, None)
            tell(self._store, JOB, job, WHO, "SuccessfulCreate", f"Created pod: {made['metadata']['name']}")

    def _tell(self, before: Obj, job: Obj) -> None:
        for kind in ("Complete", "Failed", "Suspended"):
            is_so, was = condition(job, kind), condition(before, kind)
            if is_so.get("status") == was.get("status"):
                continue
            if kind == "Complete":
                tell(self._store, JOB, job, WHO, "Completed", "Job completed")
            elif kind == "Failed":
                tell(self._store, JOB, job, WHO, is_so["reason"], is_so["message"], warning=True)
            else:
                reason = "Suspended" if is_so["status"] == "True" else "Resumed"
                tell(self._store, JOB, job, WHO, reason, f"Job {reason.lower()}")

    def _expire(self, job: Obj) -> None:
        """Delete one that has ended so long ago."""
        lasts = job["spec"].get("ttlSecondsAfterFinished")
        if lasts is None or "deletionTimestamp" in job["metadata"]:
            return
        ended = next(condition(job, each) for each in ("Complete", "Failed") if condition(job, each))
        if seconds(now(micro=True)) >= seconds(ended["lastTransitionTime"]) + lasts:
            delete(self._store, JOB, job, {"propagationPolicy": "Foreground"})
