"""The cluster as one: its server, its controllers and its nodes, in one event loop."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from pathlib import Path

from support.kubernetes.containers import remove_groups
from support.kubernetes.deleting import Collector
from support.kubernetes.housekeeping import Housekeeper
from support.kubernetes.jobs import JobController
from support.kubernetes.kinds import NAMESPACE, NODE, PRIORITY, Obj
from support.kubernetes.kubelet import Addresses, Kubelet
from support.kubernetes.kueue import Kueue
from support.kubernetes.node import Slow
from support.kubernetes.nodes import NodeController, node
from support.kubernetes.scheduler import Scheduler
from support.kubernetes.secured import Authority
from support.kubernetes.server import Server
from support.kubernetes.world import Settings, World

_NAMESPACES = ("default", "kube-system", "kube-public", "kube-node-lease")


class Cluster:
    """All of it."""

    def __init__(self, settings: Settings) -> None:
        self.world = World(settings)
        self.mark = mark_of(self.world.folder)
        self.authority = Authority(self.world.folder)
        self.server = Server(self.world, self.authority.context())
        store = self.world.store
        self.nodes = NodeController(store, settings)
        self.kueue = Kueue(self.world)
        self.slow = Slow()
        self._keeper = Housekeeper(self.world, self.authority.certificate())
        self._controllers = (
            *(JobController(self.world), Scheduler(store), Collector(store), self.nodes, self.kueue),
            self._keeper,
        )
        self._addresses = Addresses()
        self.kubelets: dict[str, Kubelet] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._at: dict[str, asyncio.Task[None]] = {}

    async def start(self) -> None:
        """Have it all there, and answer."""
        loop = asyncio.get_running_loop()
        for controller in self._controllers:
            self._tasks.append(loop.create_task(controller.run(), name=type(controller).__name__))
        for name in _NAMESPACES:
            self.world.api.create(NAMESPACE, "", _named("v1", "Namespace", name))
        for name, value in (("system-cluster-critical", 2000000000), ("system-node-critical", 2000001000)):
            self.world.api.create(
                PRIORITY, "", {**_named("scheduling.k8s.io/v1", "PriorityClass", name), "value": value}
            )
        await self.server.start()
        for name, has in self.world.settings.nodes.items():
            self.add_node(name, has, self.world.settings.labels.get(name, {}))

    def add_node(self, name: str, has: dict[str, str], labels: dict[str, str]) -> None:
        """A node more."""
        self.world.store.add(NODE, node(name, has, labels))
        kubelet = Kubelet(self.world, name, self.mark, self._addresses, self.slow)
        kubelet.server = ("127.0.0.1", self.server.port)
        self.kubelets[name] = kubelet
        self._at[name] = asyncio.get_running_loop().create_task(kubelet.run(), name=f"node {name}")

    async def remove_node(self, name: str) -> None:
        """A node less: it is gone with all that runs there."""
        self.kubelets[name].silent = True
        self.world.store.remove(NODE, self.world.store.get(NODE, "", name))
        task = self._at.pop(name)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        del self.kubelets[name]

    def trouble(self) -> str:
        """What made a part of it end, which none does by itself."""
        for task in (*self._tasks, *self._at.values()):
            if task.done() and not task.cancelled() and (error := task.exception()):
                return f"{task.get_name()}: {error!r}"
        return ""

    async def close(self) -> None:
        """End it, and all that runs in it."""
        await self.server.stop()
        tasks = [*self._tasks, *self._at.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        with suppress(OSError):
            remove_groups(self.mark)


def _named(version: str, kind: str, name: str) -> Obj:
    return {"apiVersion": version, "kind": kind, "metadata": {"name": name}}


def mark_of(folder: Path) -> str:
    """Begins the names of control groups of the cluster that has this folder."""
    return f"pol-k8s-{folder.name[-8:]}"
