"""What is there in every cluster without being asked for: accounts, bound claims, counted quotas."""

from __future__ import annotations

import asyncio

from support.kubernetes.kinds import ACCOUNT, CLAIM, CONFIG_MAP, NAMESPACE, QUOTA, VOLUME, Obj, list_of, part
from support.kubernetes.quantities import amounts, quantity, shown
from support.kubernetes.store import Change
from support.kubernetes.world import World

_TICK_S = 0.2
ROOT_CA = "kube-root-ca.crt"


class Housekeeper:
    """Looks after namespaces, claims and quotas.

    Args:
        world: the cluster.
        authority: certificate by which the server is known.
    """

    def __init__(self, world: World, authority: str) -> None:
        self._world, self._store = world, world.store
        self._authority = authority
        self._awake = asyncio.Event()
        world.store.listen(self._see)

    def _see(self, change: Change) -> None:
        self._awake.set()
        if change.key.kind == NAMESPACE.resource and change.old is None and change.new is not None:
            self._furnish(change.key.name)

    def _furnish(self, namespace: str) -> None:
        """Every namespace has these from the start."""
        for kind, name, more in (
            (ACCOUNT, "default", Obj()),
            (CONFIG_MAP, ROOT_CA, {"data": {"ca.crt": self._authority}}),
        ):
            meta = {"name": name, "namespace": namespace}
            self._store.add(kind, {"apiVersion": "v1", "kind": kind.name, "metadata": meta, **more})

    async def run(self) -> None:
        """Look when something has changed."""
        while True:
            await self._awake.wait()
            self._awake.clear()
            for claim in self._store.all(CLAIM):
                if claim["status"].get("phase") != "Bound":
                    self._bind(claim)
            for quota in self._store.all(QUOTA):
                self._count(quota)
            await asyncio.sleep(_TICK_S)

    def _bind(self, claim: Obj) -> None:
        volume = next((each for each in self._store.all(VOLUME) if _fits(claim, each)), None)
        if volume is None:
            return
        ref = {name: claim["metadata"][name] for name in ("name", "namespace", "uid")}
        capacity = part(volume["spec"], "capacity")

        def take(fresh: Obj) -> None:
            fresh["spec"]["claimRef"] = {"kind": "PersistentVolumeClaim", "apiVersion": "v1", **ref}
            fresh["status"]["phase"] = "Bound"

        def bind(fresh: Obj) -> None:
            fresh["spec"]["volumeName"] = volume["metadata"]["name"]
            modes = list_of(volume["spec"], "accessModes")
            fresh["status"] = {"phase": "Bound", "accessModes": modes, "capacity": dict(capacity)}

        self._store.change(VOLUME, volume, take)
        self._store.change(CLAIM, claim, bind)

    def _count(self, quota: Obj) -> None:
        hard = part(quota["spec"], "hard")
        used = self._world.admission.used(quota)
        told = {name: shown(used.get(name, quantity("0"))) for name in amounts(hard)}

        def count(fresh: Obj) -> None:
            fresh["status"] = {"hard": dict(hard), "used": told}

        self._store.change(QUOTA, quota, count)


def _fits(claim: Obj, volume: Obj) -> bool:
    wants, has = claim["spec"], volume["spec"]
    if wants.get("volumeName") not in (None, "", volume["metadata"]["name"]):
        return False
    taken = part(has, "claimRef")
    if taken and (taken.get("name"), taken.get("namespace")) != (
        claim["metadata"]["name"],
        claim["metadata"]["namespace"],
    ):
        return False
    asked = quantity(part(wants, "resources", "requests").get("storage", "0"))
    enough = asked <= quantity(part(has, "capacity").get("storage", "0"))
    same = (wants.get("storageClassName") or "") == (has.get("storageClassName") or "")
    return enough and same and set(list_of(wants, "accessModes")) <= set(list_of(has, "accessModes"))
