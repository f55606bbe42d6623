"""The double as a process: lines of JSON come in and go out, and say what to do and how it went."""

from __future__ import annotations

import asyncio
import json
import logging
import sys
import warnings
from typing import Any

from support.kubernetes.access import ADMIN
from support.kubernetes.admission import Webhook
from support.kubernetes.cluster import Cluster
from support.kubernetes.faults import Fault
from support.kubernetes.kinds import POD, Obj, kind_of
from support.kubernetes.nodes import disrupted
from support.kubernetes.schemas import wrong
from support.kubernetes.world import Settings
from support.obeying import obey


class Control:
    """Does what the tests ask for."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._world, self._server = cluster.world, cluster.server

    async def open(self) -> dict[str, Any]:
        await self._cluster.start()
        token = self._world.access.issue(ADMIN)
        return {"port": self._server.port, "token": token, "authority": self._cluster.authority.certificate()}

    # The server

    async def stop(self) -> None:
        await self._server.stop()

    async def start(self) -> None:
        # What was before is not told any more.
        self._world.store.forget()
        await self._server.start()

    async def cut(self) -> None:
        self._server.cut()

    async def forget(self) -> None:
        self._world.store.forget()

    async def settings(self, **changed: Any) -> dict[str, Any]:
        before = {name: getattr(self._world.settings, name) for name in changed}
        for name, value in changed.items():
            setattr(self._world.settings, name, value)
        self._world.admission.toleration_s = self._world.settings.toleration_s
        self._cluster.kueue.wake()
        return before

    async def fault(self, **described: Any) -> None:
        self._server.faults.append(Fault(**described))

    async def hits(self) -> list[int]:
        return [each.hit for each in self._server.faults]

    async def webhook(self, **described: Any) -> None:
        self._world.admission.webhooks.append(Webhook(**described))

    async def clear_faults(self) -> None:
        self._server.faults.clear()
        self._world.admission.webhooks.clear()
        self._world.access.denied.clear()

    async def asked(self, since: int) -> list[dict[str, Any]]:
        return self._server.shown()[since:]

    async def watching(self) -> int:
        return self._server.watching

    # Who may

    async def token(self, user: str, lasts_s: float) -> str:
        return self._world.access.issue(user, lasts_s)

    async def expire(self, user: str) -> None:
        self._world.access.expire(user)

    async def deny(self, pattern: str) -> None:
        self._world.access.denied.append(pattern)

    # Nodes and pods

    async def cut_off(self, name: str) -> None:
        self._cluster.kubelets[name].cut_off()
        self._cluster.nodes.silence(name)

    async def crash(self, name: str) -> None:
        self._cluster.kubelets[name].crash()
        self._cluster.nodes.silence(name)

    async def come_back(self, name: str) -> None:
        self._cluster.nodes.heard(name)
        self._cluster.kubelets[name].come_back()

    async def add_node(self, name: str, has: dict[str, str], labels: dict[str, str]) -> None:
        self._cluster.add_node(name, has, labels)

    async def remove_node(self, name: str) -> None:
        await self._cluster.remove_node(name)

    async def evict(self, namespace: str, name: str, reason: str, message: str) -> None:
        pod = self._world.store.get(POD, namespace, name)
        self._cluster.kubelets[pod["spec"]["nodeName"]].evict(pod["metadata"]["uid"], reason, message)

    async def preempt(self, namespace: str, name: str) -> None:
        pod = self._world.store.get(POD, namespace, name)
        why = "default-scheduler: preempting to accommodate a higher priority pod"
        self._world.store.change(POD, pod, lambda fresh: disrupted(fresh, "PreemptionByScheduler", why))
        self._world.api.delete(POD, namespace, name, {})

    async def images_come(self) -> None:
        self._cluster.slow.release()

    # Looking

    async def objects(self) -> list[Obj]:
        return [obj for _, obj in self._world.store.everything()]

    async def wrong(self) -> list[str]:
        found = self._world.store.everything()
        said = {key: wrong(kind_of(key.kind), obj) for key, obj in found}
        return [f"{key}: {why}" for key, why in said.items() if why]

    async def trouble(self) -> str:
        return self._cluster.trouble()

    async def close(self) -> None:
        await self._cluster.close()


async def _serve(settings: Settings) -> None:
    control = Control(Cluster(settings))
    try:
        await obey(control)
    finally:
        await control.close()


if __name__ == "__main__":
    # That somebody has gone away in the middle of an answer is no news.
    logging.getLogger("asyncio").setLevel(logging.ERROR)
    # Nor that somebody comes while the server closes, whom asyncio neither takes nor sends away.
    warnings.filterwarnings("ignore", "unclosed (<socket|transport)", ResourceWarning)
    asyncio.run(_serve(Settings(**json.loads(sys.argv[1]))))
