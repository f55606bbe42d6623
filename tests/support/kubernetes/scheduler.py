"""Gives pods to nodes that have room for them, and says why there is none."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import suppress
from fractions import Fraction

from support.kubernetes.events import SCHEDULER, tell
from support.kubernetes.kinds import CLAIM, NODE, POD, Obj, list_of, part
from support.kubernetes.quantities import Amounts, amounts, asked_of
from support.kubernetes.selecting import node_matches
from support.kubernetes.store import Change, Store, set_condition

WHO = SCHEDULER
_TICK_S = 0.5


class Scheduler:
    """Gives pods to nodes."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._awake = asyncio.Event()
        store.listen(self._see)

    def _see(self, change: Change) -> None:
        if change.key.kind in (POD.resource, NODE.resource, CLAIM.resource):
            self._awake.set()

    async def run(self) -> None:
        """Look whenever something changes, and now and then."""
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(_TICK_S):
                    await self._awake.wait()
            self._awake.clear()
            if waiting := [each for each in self._store.all(POD) if _waits(each)]:
                nodes = self._store.all(NODE)
                free = {each["metadata"]["name"]: self._free(each) for each in nodes}
                for pod in sorted(waiting, key=lambda each: -(each["spec"].get("priority") or 0)):
                    self._place(pod, nodes, free)
            await asyncio.sleep(0.01)

    def _place(self, pod: Obj, nodes: list[Obj], free: dict[str, dict[str, Fraction]]) -> None:
        none = f"0/{len(nodes)} nodes are available:"
        if why := self._claims(pod):
            self._refuse(pod, f"{none} {why}")
            return
        asked = asked_of(pod)
        against = {each["metadata"]["name"]: list(_against(pod, asked, each, free)) for each in nodes}
        fits = [name for name, why in against.items() if not why]
        if not fits:
            counted = Counter(each for why in against.values() for each in why)
            told = ", ".join(f"{number} {each}" for each, number in sorted(counted.items()))
            hope = sum(_may_be_freed(against[each["metadata"]["name"]], asked, each) for each in nodes)
            parts = [f"{hope} No preemption victims found for incoming pod"] if hope else []
            parts += [f"{len(nodes) - hope} Preemption is not helpful for scheduling"] * (hope < len(nodes))
            self._refuse(
                pod, f"{none} {told}. no new claims to deallocate, preemption: {none} {', '.join(parts)}."
            )
            return
        # The one with the most room, and the first of those.
        name = max(sorted(fits), key=lambda each: free[each].get("cpu", Fraction()))

        def bind(fresh: Obj) -> None:
            fresh["spec"]["nodeName"] = name
            set_condition(fresh["status"], "PodScheduled", "True")

        bound = self._store.change(POD, pod, bind)
        where = f"{pod['metadata']['namespace']}/{pod['metadata']['name']}"
        if bound is not None:
            _take(free[name], asked)
            tell(self._store, POD, bound, WHO, "Scheduled", f"Successfully assigned {where} to {name}")

    def _refuse(self, pod: Obj, why: str) -> None:
        def mark(fresh: Obj) -> None:
            set_condition(fresh["status"], "PodScheduled", "False", "Unschedulable", why)

        marked = self._store.change(POD, pod, mark)
        if marked is not None and marked is not pod:
            tell(self._store, POD, marked, WHO, "FailedScheduling", why, warning=True)

    def _claims(self, pod: Obj) -> str:
        """What is wrong with the volumes that it wants."""
        for volume in list_of(pod["spec"], "volumes"):
            wanted = part(volume, "persistentVolumeClaim").get("claimName")
            if not wanted:
                continue
            claim = self._store.find(CLAIM, pod["metadata"]["namespace"], wanted)
            if claim is None:
                return f'persistentvolumeclaim "{wanted}" not found. not found'
            if part(claim, "status").get("phase") != "Bound":
                return "pod has unbound immediate PersistentVolumeClaims."
        return ""

    def _free(self, node: Obj) -> dict[str, Fraction]:
        name = node["metadata"]["name"]
        free = amounts(node["status"]["allocatable"])
        for pod in self._store.all(POD):
            ended = pod["status"].get("phase") in ("Succeeded", "Failed")
            if pod["spec"].get("nodeName") == name and not ended:
                _take(free, asked_of(pod))
        return free


def _take(free: dict[str, Fraction], asked: Amounts) -> None:
    for name, value in {**asked, "pods": Fraction(1)}.items():
        free[name] = free.get(name, Fraction()) - value


def _waits(pod: Obj) -> bool:
    spec = pod["spec"]
    placed = spec.get("nodeName") or "deletionTimestamp" in pod["metadata"]
    ended = part(pod, "status").get("phase") in ("Succeeded", "Failed")
    return not placed and not ended and not spec.get("schedulingGates") and spec["schedulerName"] == WHO


def _against(
    pod: Obj, asked: Amounts, node: Obj, free: Mapping[str, Mapping[str, Fraction]]
) -> Iterable[str]:
    """Why a pod cannot be on a node."""
    spec = pod["spec"]
    for taint in list_of(node["spec"], "taints"):
        if taint["effect"] == "PreferNoSchedule" or _tolerates(spec, taint):
            continue
        if taint["key"] == "node.kubernetes.io/unschedulable":
            yield "node(s) were unschedulable"
        else:
            yield f"node(s) had untolerated taint {{{taint['key']}: {taint.get('value', '')}}}"
        return
    wanted = part(spec, "nodeSelector").items()
    affinity = part(spec, "affinity", "nodeAffinity", "requiredDuringSchedulingIgnoredDuringExecution")
    labels = part(node["metadata"], "labels")
    if not wanted <= labels.items() or (affinity and not node_matches(affinity["nodeSelectorTerms"], node)):
        yield "node(s) didn't match Pod's node affinity/selector"
        return
    here = free[node["metadata"]["name"]]
    if here.get("pods", Fraction(1)) < 1:
        yield "Too many pods"
    for name, value in asked.items():
        if value > here.get(name, Fraction()):
            yield f"Insufficient {name}"


def _may_be_freed(reasons: Iterable[str], asked: Amounts, node: Obj) -> bool:
    """There would be room for it if others were not there."""
    has = amounts(node["status"]["allocatable"])
    enough = all(value <= has.get(name, Fraction()) for name, value in asked.items())
    return enough and all(each.startswith(("Insufficient", "Too many")) for each in reasons)


def _tolerates(spec: Obj, taint: Obj) -> bool:
    for each in list_of(spec, "tolerations"):
        if each.get("effect") not in (None, "", taint["effect"]):
            continue
        if each.get("operator") == "Exists" and each.get("key") in (None, "", taint["key"]):
            return True
        if each.get("key") == taint["key"] and each.get("value", "") == taint.get("value", ""):
            return True
    return False
