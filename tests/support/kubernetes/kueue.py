"""A little of Kueue: a Workload for each Job with a queue, and the word by which it may begin."""

from __future__ import annotations

import asyncio
import hashlib
from typing import Any

from support.kubernetes.events import tell
from support.kubernetes.kinds import JOB, LOCAL_QUEUE, PENDING, WORKLOAD, Obj, part
from support.kubernetes.store import Change, Store, condition, now, set_condition
from support.kubernetes.world import World

QUEUE = "kueue.x-k8s.io/queue-name"
WHO = "batch/job-kueue-controller"
_TICK_S = 0.1
_FULL = (
    "couldn't assign flavors to pod set main: insufficient unused quota for cpu in flavor default-flavor, "
    "1 more needed"
)


def pending(store: Store, namespace: str, queue: str) -> Obj:
    """Who waits in a queue, in the order in which they will be let in.

    Raises:
        Refusal: there is no such queue.
    """
    shared = store.get(LOCAL_QUEUE, namespace, queue)["spec"].get("clusterQueue")
    items = list[Obj]()
    for place, each in enumerate(_waiting(store, shared)):
        if (each["metadata"]["namespace"], each["spec"]["queueName"]) == (namespace, queue):
            about = {name: each["metadata"][name] for name in ("name", "namespace", "ownerReferences")}
            here = {"positionInClusterQueue": place, "positionInLocalQueue": len(items)}
            items.append({"metadata": about, "priority": 0, "localQueueName": queue, **here})
    kind = "PendingWorkloadsSummary"
    return {"kind": kind, "apiVersion": PENDING.api_version, "metadata": {}, "items": items}


def _waiting(store: Store, shared: Any) -> list[Obj]:
    """All that wait for the quota of a ClusterQueue, the oldest first."""
    found = [each for each in store.all(WORKLOAD) if _waits(each) and _shared_by(store, each) == shared]
    return sorted(found, key=lambda each: (each["metadata"]["creationTimestamp"], each["metadata"]["name"]))


def _waits(workload: Obj) -> bool:
    is_in = condition(workload, "QuotaReserved").get("status") == "True"
    return not is_in and not condition(workload, "Finished")


def _shared_by(store: Store, workload: Obj) -> Any:
    queue = store.find(LOCAL_QUEUE, workload["metadata"]["namespace"], workload["spec"]["queueName"])
    return queue["spec"].get("clusterQueue") if queue is not None else None


class Kueue:
    """Lets Jobs in, or has them wait."""

    def __init__(self, world: World) -> None:
        self._world, self._store = world, world.store
        self._awake = asyncio.Event()
        world.store.listen(self._see)

    def _see(self, change: Change) -> None:
        if change.key.kind in (JOB.resource, WORKLOAD.resource, LOCAL_QUEUE.resource):
            self._awake.set()

    def wake(self) -> None:
        """Settings have changed."""
        self._awake.set()

    async def run(self) -> None:
        """Look when something has changed."""
        while True:
            await self._awake.wait()
            self._awake.clear()
            if self._world.settings.kueue:
                for job in self._store.all(JOB):
                    if queue := part(job["metadata"], "labels").get(QUEUE):
                        self._look(job, queue)
            await asyncio.sleep(_TICK_S)

    def _look(self, job: Obj, queue: str) -> None:
        workload = next(iter(self._store.owned(WORKLOAD, job)), None) or self._new(job, queue)
        ended = next((condition(job, each) for each in ("Complete", "Failed") if condition(job, each)), None)
        if ended is not None:
            self._note(workload, "Finished", "True", "Succeeded", ended.get("message", ""))
            return
        if not job["spec"].get("suspend"):
            if condition(workload, "Admitted").get("status") != "True":
                # Nobody begins before it is let in.
                self._store.change(JOB, job, lambda fresh: fresh["spec"].update(suspend=True))
            return
        if self._store.find(LOCAL_QUEUE, job["metadata"]["namespace"], queue) is None:
            self._note(
                workload, "QuotaReserved", "False", "Inadmissible", f"LocalQueue {queue} doesn't exist"
            )
        elif not self._world.settings.admits:
            # Of those that ask for the same nobody is tried, and so told why, but the first.
            first = _waiting(self._store, _shared_by(self._store, workload))[0]
            if first["metadata"]["uid"] == workload["metadata"]["uid"]:
                self._note(workload, "QuotaReserved", "False", "Pending", _FULL)
        else:
            self._admit(job, workload)

    def _new(self, job: Obj, queue: str) -> Obj:
        meta = job["metadata"]
        name = f"job-{meta['name']}-{hashlib.sha1(meta['uid'].encode()).hexdigest()[:5]}"
        owner = {"apiVersion": "batch/v1", "kind": "Job", "name": meta["name"], "uid": meta["uid"]}
        workload: Obj = {
            "apiVersion": WORKLOAD.api_version,
            "kind": "Workload",
            "metadata": {
                "name": name,
                "namespace": meta["namespace"],
                "labels": {"kueue.x-k8s.io/job-uid": meta["uid"]},
                "ownerReferences": [{**owner, "controller": True, "blockOwnerDeletion": True}],
            },
            "spec": {"queueName": queue, "podSets": [{"name": "main", "count": job["spec"]["parallelism"]}]},
            "status": {"conditions": []},
        }
        made = self._store.add(WORKLOAD, workload)
        tell(self._store, JOB, job, WHO, "CreatedWorkload", f"Created Workload: {meta['namespace']}/{name}")
        return made

    def _admit(self, job: Obj, workload: Obj) -> None:
        self._note(
            workload, "QuotaReserved", "True", "QuotaReserved", "Quota reserved in ClusterQueue cluster-queue"
        )
        self._note(workload, "Admitted", "True", "Admitted", "The workload is admitted")

        def start(fresh: Obj) -> None:
            fresh["spec"]["suspend"] = False

        self._store.change(JOB, job, start)
        tell(self._store, JOB, job, WHO, "Started", "Admitted by clusterQueue cluster-queue")

    def _note(self, workload: Obj, kind: str, status: str, reason: str, message: str) -> None:
        def note(fresh: Obj) -> None:
            set_condition(fresh["status"], kind, status, reason, message)
            for row in fresh["status"]["conditions"]:
                row.pop("lastProbeTime", None)
                row.setdefault("lastTransitionTime", now())

        self._store.change(WORKLOAD, workload, note)
