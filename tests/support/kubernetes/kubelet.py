"""The kubelet of a node: has the pods that were given to it run."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from support.kubernetes.deleting import finish
from support.kubernetes.images import is_slow
from support.kubernetes.kinds import POD, SERVICE, Obj, part
from support.kubernetes.node import Slow
from support.kubernetes.nodes import no_grace
from support.kubernetes.pod_worker import Ending, PodWorker
from support.kubernetes.store import Change, now, seconds
from support.kubernetes.world import World

_TICK_S = 0.1
_LATE = "Pod was active on the node longer than the specified deadline"


class Addresses:
    """Addresses of pods: each has its own on the loopback interface."""

    def __init__(self) -> None:
        self._next = 0

    def new(self) -> str:
        """One that nobody had lately."""
        self._next = self._next % 60000 + 1
        return f"127.77.{self._next // 250}.{self._next % 250 + 1}"


class Kubelet:
    """Of one node."""

    def __init__(self, world: World, name: str, mark: str, addresses: Addresses, slow: Slow) -> None:
        self.world, self.name = world, name
        self.mark = mark if world.settings.groups else ""
        self.server: tuple[str, int] = ("127.0.0.1", 0)
        self.silent = False
        self.images: set[str] = set()
        self._addresses, self._slow = addresses, slow
        self._workers: dict[str, PodWorker] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._awake = asyncio.Event()
        world.store.listen(self._see)

    def _see(self, change: Change) -> None:
        if change.key.kind == SERVICE.resource:
            self.write_hosts()
        if change.key.kind != POD.resource:
            return
        if change.last["spec"].get("nodeName") == self.name:
            self._awake.set()
        was, is_so = (part(each, "status").get("podIP") for each in (change.old, change.last))
        if change.last["spec"].get("subdomain") and was != is_so:
            self.write_hosts()

    async def run(self) -> None:
        """Look whenever a pod changes, and now and then; ends what runs when it is cancelled."""
        try:
            while True:
                with suppress(TimeoutError):
                    async with asyncio.timeout(_TICK_S):
                        await self._awake.wait()
                self._awake.clear()
                if not self.silent:
                    self._look()
                for task in [each for each in self._tasks.values() if each.done()]:
                    task.result()
        finally:
            for task in self._tasks.values():
                task.cancel()
            await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    def _look(self) -> None:
        mine = {
            pod["metadata"]["uid"]: pod
            for pod in self.world.store.all(POD)
            if pod["spec"].get("nodeName") == self.name
        }
        for uid, pod in mine.items():
            worker = self._workers.get(uid)
            if worker is None:
                self._take(uid, pod)
            elif not worker.ended:
                self._check(worker, pod)
            elif "deletionTimestamp" in pod["metadata"]:
                self.release(pod)
        for uid, worker in list(self._workers.items()):
            if uid not in mine:
                worker.end(Ending(0.0))
                if worker.ended:
                    del self._workers[uid], self._tasks[uid]

    def _take(self, uid: str, pod: Obj) -> None:
        if part(pod, "status").get("phase") in ("Succeeded", "Failed"):
            return
        worker = PodWorker(self, pod, self._addresses.new())
        self._workers[uid] = worker
        self._tasks[uid] = asyncio.get_running_loop().create_task(
            worker.run(), name=f"pod {pod['metadata']['name']}"
        )

    def _check(self, worker: PodWorker, pod: Obj) -> None:
        if "deletionTimestamp" in pod["metadata"]:
            worker.end(Ending(float(pod["metadata"].get("deletionGracePeriodSeconds", 30))))
        deadline = worker.deadline()
        if deadline is not None and seconds(now(micro=True)) >= deadline:
            grace = float(pod["spec"]["terminationGracePeriodSeconds"])
            worker.end(Ending(grace, "Failed", "DeadlineExceeded", _LATE))

    # For pods

    async def pull(self, image: str) -> None:
        """Take the time that it takes."""
        if is_slow(image):
            await self._slow.wait()
        await asyncio.sleep(self.world.settings.pull_s)

    def release(self, pod: Obj) -> None:
        """A pod has ended: one that is deleted goes now."""
        found = self.world.store.find(POD, pod["metadata"]["namespace"], pod["metadata"]["name"])
        if found is None or found["metadata"]["uid"] != pod["metadata"]["uid"]:
            return
        if "deletionTimestamp" in found["metadata"]:
            left = self.world.store.change(POD, found, no_grace)
            if left is not None:
                finish(self.world.store, POD, left)

    def write_hosts(self) -> None:
        """Names of pods have changed."""
        for each in self._workers.values():
            if not each.ended:
                each.write_hosts()

    # What goes wrong

    def evict(self, uid: str, reason: str, message: str) -> None:
        """End a pod for want of something at the node."""
        self._workers[uid].end(Ending(0.0, "Failed", reason, message, "TerminationByKubelet"))

    def cut_off(self) -> None:
        """Nobody hears of it any more, and it hears of nobody; what runs goes on."""
        self.silent = True

    def crash(self) -> None:
        """All that runs on it is gone, and nobody hears of it."""
        self.silent = True
        for each in self._workers.values():
            each.end(Ending(0.0))

    def come_back(self) -> None:
        """It is heard of again, and tells how its pods are."""
        self.silent = False
        for each in self._workers.values():
            if each.ended:
                each.conclude()
            else:
                each.show()
        self._awake.set()
