"""One pod at its node: from its volumes to the end of its last container."""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import Iterable
from dataclasses import dataclass

from support.kubernetes import pod_status, starting
from support.kubernetes.containers import CannotStart, Container, Plan
from support.kubernetes.events import tell
from support.kubernetes.kinds import POD, SERVICE, Obj, list_of, part
from support.kubernetes.node import Node
from support.kubernetes.pod_status import Shown
from support.kubernetes.pulling import LONGEST_BACK_OFF_S, Pull
from support.kubernetes.store import seconds, set_condition
from support.kubernetes.variables import Missing
from support.kubernetes.volumes import Volumes

_SIDECARS_S = 2.0


@dataclass
class Ending:
    """Why a pod is ended before its time."""

    grace_s: float
    phase: str = ""
    """Where it is not for its containers to say."""
    reason: str = ""
    message: str = ""
    target: str = ""
    """The reason of its condition ``DisruptionTarget``."""


class PodWorker:
    """Has a pod run at a node.

    Args:
        node: the node.
        pod: as it was given to it.
        ip: its address.
    """

    def __init__(self, node: Node, pod: Obj, ip: str) -> None:
        self._node, self._store = node, node.world.store
        self.pod, self.ip = pod, ip
        self.uid: str = pod["metadata"]["uid"]
        self.folder = node.world.folder / "pods" / self.uid
        spec = pod["spec"]
        self.containers = [
            *(Shown(each, init=True) for each in list_of(spec, "initContainers")),
            *(Shown(each, init=False) for each in spec["containers"]),
        ]
        for each in self.containers:
            each.waits("PodInitializing" if spec.get("initContainers") else "ContainerCreating")
        self._volumes = Volumes(self._store, node.world.access, self.folder)
        self._ip_known = ""
        self._ending: Ending | None = None
        self._told = asyncio.Event()
        self._sidecars: list[asyncio.Task[None]] = []
        self.ended = False

    # From outside

    def end(self, ending: Ending) -> None:
        """End it; what was said first is what counts, but for the time that it has."""
        if self._ending is not None:
            self._ending.grace_s = min(self._ending.grace_s, ending.grace_s)
        else:
            self._ending = ending
            if ending.reason:
                self._tell(ending.reason, ending.message, warning=bool(ending.target))
        self._told.set()

    def show(self, phase: str = "") -> None:
        """Have the API know how it is; a node that is cut off cannot."""
        if self._node.silent or (phase == "" and self.ended):
            return
        phase = phase or ("Running" if self._started() else "Pending")
        self._store.change(
            POD,
            self.pod,
            lambda fresh: pod_status.write(fresh["status"], self.containers, phase, self._ip_known),
        )

    def write_hosts(self) -> None:
        """Let its containers find the other pods by their names."""
        path = self.folder / "hosts"
        if path.exists():
            path.write_text(starting.hosts(self.pod, self.ip, list(self._peers())))

    # Its life

    async def run(self) -> None:
        """Until it has ended, whoever ends it."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self.show()
        loop = asyncio.get_running_loop()
        life = loop.create_task(self._live(), name=f"pod {self.pod['metadata']['name']}")
        told = loop.create_task(self._told.wait(), name="end of a pod")
        try:
            await asyncio.wait({life, told}, return_when=asyncio.FIRST_COMPLETED)
            if not life.done():
                life.cancel()
                await asyncio.gather(life, return_exceptions=True)
            else:
                life.result()
            await self._stop()
        finally:
            for task in (life, told, *self._sidecars):
                task.cancel()
            await asyncio.gather(life, told, *self._sidecars, return_exceptions=True)
            left = [each.running for each in self.containers if each.running is not None]
            for running in left:
                running.kill()
            # Or the last of them ends after the cluster, which is to leave nothing.
            await asyncio.gather(*(running.wait() for running in left))
            self._volumes.remove()
        self.conclude()

    def conclude(self) -> None:
        """Say how it ended, once the node can."""
        self.ended = True
        ending = self._ending
        for each in self.containers:
            if "waiting" in each.state and ending is not None:
                each.is_lost()
        mains = [each for each in self.containers if not each.init]
        phase = "Succeeded" if all(each.code == 0 for each in mains) else "Failed"
        if self._node.silent:
            return

        def write(fresh: Obj) -> None:
            status = fresh["status"]
            if status.get("phase") in ("Succeeded", "Failed"):
                return
            pod_status.write(
                status, self.containers, (ending.phase if ending else "") or phase, self._ip_known
            )
            if ending is not None and ending.phase:
                status["reason"], status["message"] = ending.reason, ending.message
            if ending is not None and ending.target:
                set_condition(status, "DisruptionTarget", "True", ending.target, ending.message)

        self._store.change(POD, self.pod, write)
        self._node.release(self.pod)

    async def _live(self) -> None:
        await self._have_volumes()
        self._ip_known = self.ip
        (self.folder / "hosts").touch()
        self._node.write_hosts()
        for each in self.containers:
            if each.sidecar:
                await self._start(each)
                task = asyncio.get_running_loop().create_task(self._again(each), name=f"side-car {each.name}")
                self._sidecars.append(task)
            elif each.init:
                await self._to_its_end(each)
                if each.code:
                    return
        mains = [each for each in self.containers if not each.init]
        for each in mains:
            if each.state.get("waiting", {}).get("reason") == "PodInitializing":
                each.waits("ContainerCreating")
        async with asyncio.TaskGroup() as group:
            for each in mains:
                group.create_task(self._to_its_end(each), name=f"container {each.name}")

    async def _have_volumes(self) -> None:
        while True:
            try:
                self._volumes.prepare(self.pod)
                return
            except Missing as missing:
                self._tell("FailedMount", str(missing), warning=True)
                self.show()
            await asyncio.sleep(self._back_off)

    # A container

    async def _to_its_end(self, each: Shown) -> None:
        """Run it, and again as its pod says, until it has ended for good."""
        policy = self.pod["spec"]["restartPolicy"]
        pause = self._back_off
        while True:
            if await self._start(each):
                await self._finish(each)
            again = policy == "Always" or (policy == "OnFailure" and each.code)
            if not again or (each.init and each.code == 0):
                return
            pause = await self._restart(each, pause)

    async def _again(self, each: Shown) -> None:
        """Have a side-car run for as long as the pod does."""
        pause = self._back_off
        while True:
            await self._finish(each)
            pause = await self._restart(each, pause)
            while not await self._start(each):
                pause = await self._restart(each, pause)

    async def _restart(self, each: Shown, pause: float) -> float:
        each.last, each.restarts = each.state, each.restarts + 1
        why = (
            f"back-off {pause:g}s restarting failed container={each.name} pod={self.pod['metadata']['name']}"
        )
        each.waits("CrashLoopBackOff", why)
        self._tell("BackOff", f"Back-off restarting failed container {each.name}", warning=True)
        self.show()
        await asyncio.sleep(pause)
        return min(LONGEST_BACK_OFF_S, pause * 2)

    async def _finish(self, each: Shown) -> None:
        assert each.running is not None
        ended = await each.running.wait()
        log = self._node.world.log_of(self.uid, each.name)
        message = starting.last_words(each.spec, self.folder / each.name, log, failed=ended.code != 0)
        each.ended(ended, message)
        if self._ending is None:
            # Else it is told when all have ended.
            self.show()

    async def _start(self, each: Shown) -> bool:
        """Start it as soon as there is all that it wants; it may fail at once, and for good."""
        await Pull(self._node, each, self._tell, self.show).done()
        plan = await self._plan(each)
        self._tell("Created", "Container created")
        run = self.folder / each.name / f"run-{each.restarts}-{time.monotonic_ns()}"
        log = self._node.world.log_of(self.uid, each.name)
        try:
            if "/shellless" in each.spec["image"] and plan.argv[0] in ("sh", "/bin/sh"):
                log.touch()
                raise CannotStart(f'exec: "{plan.argv[0]}": stat {plan.argv[0]}: no such file or directory')
            each.began(await Container.start(plan, run, log, self._node.mark))
        except CannotStart as error:
            shutil.rmtree(run, ignore_errors=True)
            self._tell("Failed", f"Error: {error}", warning=True)
            each.id = f"containerd://{'0' * 64}"
            each.terminated(128, "StartError", str(error))
            self.show()
            return False
        self._tell("Started", "Container started")
        self.show()
        return True

    async def _plan(self, each: Shown) -> Plan:
        """What it is to be, as soon as there is all that it wants."""
        folder = self.folder / each.name
        folder.mkdir(exist_ok=True)
        server = self._node.server
        while True:
            try:
                return starting.plan(self._store, self.pod_now(), each.spec, self._volumes, folder, server)
            except Missing as missing:
                each.waits("CreateContainerConfigError", str(missing))
                self._tell("Failed", f"Error: {missing}", warning=True)
                self.show()
            await asyncio.sleep(self._back_off)

    def pod_now(self) -> Obj:
        """The pod with its address, which containers may be told."""
        status = {**self.pod.get("status", {}), "podIP": self.ip, "hostIP": "127.0.0.1"}
        return {**self.pod, "status": status}

    # Its end

    async def _stop(self) -> None:
        """End what runs: the others first, then the side-cars."""
        ending = self._ending
        by_itself = ending is None
        mains = [each for each in self.containers if not each.sidecar and each.running is not None]
        began = time.monotonic()
        if mains:
            await self._stop_all(mains, began)
        for task in self._sidecars:
            task.cancel()
        await asyncio.gather(*self._sidecars, return_exceptions=True)
        if sidecars := [each for each in self.containers if each.running is not None]:
            if by_itself:
                self._ending = Ending(float(self.pod["spec"]["terminationGracePeriodSeconds"]))
            await self._stop_all(sidecars, began if mains else time.monotonic(), least_s=_SIDECARS_S)
        if by_itself:
            self._ending = None

    async def _stop_all(self, these: list[Shown], began: float, least_s: float = 0.0) -> None:
        for each in these:
            self._tell("Killing", f"Stopping container {each.name}")
            if each.running is not None:
                each.running.terminate()
        tasks = [asyncio.get_running_loop().create_task(self._finish(each), name="stop") for each in these]
        least = time.monotonic() + least_s
        left: set[asyncio.Task[None]] = set(tasks)
        while left:
            # It may be told to be quicker meanwhile.
            grace = self._ending.grace_s if self._ending else 0.0
            if time.monotonic() >= max(began + grace, least):
                for each in these:
                    if each.running is not None:
                        each.running.kill()
            _, left = await asyncio.wait(left, timeout=0.1)
        for task in tasks:
            task.result()

    # Small things

    @property
    def _back_off(self) -> float:
        return self._node.world.settings.back_off_s

    def deadline(self) -> float | None:
        """When it has run for so long as it may, as seconds since 1970."""
        found = (
            self._store.find(POD, self.pod["metadata"]["namespace"], self.pod["metadata"]["name"]) or self.pod
        )
        allowed, since = found["spec"].get("activeDeadlineSeconds"), found["status"].get("startTime")
        return None if allowed is None or since is None else seconds(since) + allowed

    def _started(self) -> bool:
        mains = [each for each in self.containers if not each.init]
        return any("waiting" not in each.state for each in mains)

    def _peers(self) -> Iterable[tuple[str, str]]:
        namespace = self.pod["metadata"]["namespace"]
        headless = {each["metadata"]["name"] for each in self._store.all(SERVICE, namespace)}
        for pod in self._store.all(POD, namespace):
            domain, ip = pod["spec"].get("subdomain"), part(pod, "status").get("podIP")
            if domain in headless and ip:
                name = f"{starting.hostname(pod)}.{domain}"
                yield (
                    ip,
                    f"{name}.{namespace}.svc.cluster.local {name}.{namespace}.svc {name}.{namespace} {name}",
                )

    def _tell(self, reason: str, message: str, *, warning: bool = False) -> None:
        if not self._node.silent:
            tell(
                self._store, POD, self.pod, "kubelet", reason, message, warning=warning, host=self._node.name
            )
