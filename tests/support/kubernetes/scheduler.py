"""Gives pods to nodes that have room for them, and says why there is none."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable
from fractions import Fraction

from support.kubernetes.events import tell
from support.kubernetes.kinds import CLAIM, NODE, POD, Obj, list_of, part
from support.kubernetes.quantities import Amounts, added, amounts, asked_of
from support.kubernetes.selecting import node_matches
from support.kubernetes.store import Change, Store, set_condition

WHO = "default-scheduler"
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
            try:
                async with asyncio.timeout(_TICK_S):
                    await self._awake.wait()
            except TimeoutError:
                pass
            self._awake.clear()
            for pod in sorted(self._store.all(POD), key=lambda each: -(each["spec"].get("priority") or 0)):
                if self._waits(pod):
                    self._place(pod)
            await asyncio.sleep(0.01)

    def _waits(self, pod: Obj) -> bool:
        spec = pod["spec"]
        placed = spec.get("nodeName") or "deletionTimestamp" in pod["metadata"]
        ended = part(pod, "status").get("phase") in ("Succeeded", "Failed")
        return not placed and not ended and not spec.get("schedulingGates") and spec["schedulerName"] == WHO

    def _place(self, pod: Obj) -> None:
        nodes = self._store.all(NODE)
        if why := self._claims(pod):
            self._refuse(pod, f"0/{len(nodes)} nodes are available: {why}", len(nodes))
            return
        against = Counter[str]()
        fits: list[tuple[Fraction, str]] = []
        for node in nodes:
            if reasons := list(self._against(pod, node)):
                against.update(reasons)
            else:
                fits.append((self._free(node).get("cpu", Fraction()), node["metadata"]["name"]))
        if not fits:
            told = ", ".join(f"{number} {why}" for why, number in sorted(against.items()))
            self._refuse(pod, f"0/{len(nodes)} nodes are available: {told}.", len(nodes), against)
            return
        # The one with the most room, and the first of those.
        name = max(fits, key=lambda each: (each[0], [-ord(letter) for letter in each[1]]))[1]

        def bind(fresh: Obj) -> None:
            fresh["spec"]["nodeName"] = name
            set_condition(fresh["status"], "PodScheduled", "True")

        bound = self._store.change(POD, pod, bind)
        where = f"{pod['metadata']['namespace']}/{pod['metadata']['name']}"
        if bound is not None:
            tell(self._store, POD, bound, WHO, "Scheduled", f"Successfully assigned {where} to {name}")

    def _refuse(self, pod: Obj, why: str, nodes: int, against: Counter[str] | None = None) -> None:
        if against is not None:
            tight = sum(
                number for text, number in against.items() if text.startswith(("Insufficient", "Too many"))
            )
            other = nodes - min(nodes, tight)
            parts = [f"{min(nodes, tight)} No preemption victims found for incoming pod"] if tight else []
            parts += [f"{other} Preemption is not helpful for scheduling"] if other else []
        else:
            parts = [f"{nodes} Preemption is not helpful for scheduling"]
        why = f"{why} preemption: 0/{nodes} nodes are available: {', '.join(parts)}."

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
                return f'persistentvolumeclaim "{wanted}" not found.'
            if part(claim, "status").get("phase") != "Bound":
                return "pod has unbound immediate PersistentVolumeClaims."
        return ""

    def _against(self, pod: Obj, node: Obj) -> Iterable[str]:
        spec = pod["spec"]
        for taint in list_of(node["spec"], "taints"):
            if taint["effect"] == "PreferNoSchedule" or _tolerates(spec, taint):
                continue
            if taint["key"] == "node.kubernetes.io/unschedulable":
                yield "node(s) were unschedulable"
            else:
                mark = f"{taint['key']}: {taint.get('value', '')}"
                yield f"node(s) had untolerated taint {{{mark}}}"
            return
        labels = part(node["metadata"], "labels")
        wanted = part(spec, "nodeSelector").items()
        affinity = part(spec, "affinity", "nodeAffinity").get(
            "requiredDuringSchedulingIgnoredDuringExecution"
        )
        if not wanted <= labels.items() or (
            affinity and not node_matches(affinity["nodeSelectorTerms"], node)
        ):
            yield "node(s) didn't match Pod's node affinity/selector"
            return
        free = self._free(node)
        if free.get("pods", Fraction(1)) < 1:
            yield "Too many pods"
        for name, value in asked_of(pod).items():
            if value > free.get(name, Fraction()):
                yield f"Insufficient {name}"

    def _free(self, node: Obj) -> Amounts:
        name = node["metadata"]["name"]
        here = [each for each in self._store.all(POD) if each["spec"].get("nodeName") == name]
        alive = [each for each in here if each["status"].get("phase") not in ("Succeeded", "Failed")]
        taken = added([*(asked_of(each) for each in alive), {"pods": Fraction(len(alive))}])
        has = amounts(node["status"]["allocatable"])
        return {each: value - taken.get(each, Fraction()) for each, value in has.items()}


def _tolerates(spec: Obj, taint: Obj) -> bool:
    for each in list_of(spec, "tolerations"):
        if each.get("effect") not in (None, "", taint["effect"]):
            continue
        if each.get("operator") == "Exists" and each.get("key") in (None, "", taint["key"]):
            return True
        if each.get("key") == taint["key"] and each.get("value", "") == taint.get("value", ""):
            return True
    return False
