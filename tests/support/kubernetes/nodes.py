"""Nodes: that they are there, that nobody hears of them, and what becomes of their pods."""

from __future__ import annotations

import asyncio
import time

from support.kubernetes.deleting import delete, finish
from support.kubernetes.events import tell
from support.kubernetes.kinds import NODE, POD, VERSION, Obj, list_of
from support.kubernetes.store import Store, condition, now, set_condition
from support.kubernetes.world import Settings

WHO = "node-controller"
_UNREACHABLE = "node.kubernetes.io/unreachable"
_CORDONED = "node.kubernetes.io/unschedulable"
_TICK_S = 0.1


def node(name: str, has: dict[str, str], labels: dict[str, str]) -> Obj:
    """A node that is ready."""
    about: Obj = {"conditions": [], "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}]}
    for kind, reason, message in (
        ("MemoryPressure", "KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
        ("DiskPressure", "KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
        ("PIDPressure", "KubeletHasSufficientPID", "kubelet has sufficient PID available"),
    ):
        about["conditions"].append(_row(kind, "False", reason, message))
    about["conditions"].append(_row("Ready", "True", "KubeletReady", "kubelet is posting ready status"))
    about["capacity"] = {"ephemeral-storage": "100Gi", **has}
    about["allocatable"] = {"ephemeral-storage": "90Gi", **has}
    about["nodeInfo"] = {
        "architecture": "amd64",
        "bootID": "0",
        "containerRuntimeVersion": "containerd://2.1.0",
        "kernelVersion": "6.12.0",
        "kubeProxyVersion": "",
        "kubeletVersion": f"v{VERSION}.0",
        "machineID": name,
        "operatingSystem": "linux",
        "osImage": "double",
        "systemUUID": name,
    }
    own = {"kubernetes.io/hostname": name, "kubernetes.io/arch": "amd64", "kubernetes.io/os": "linux"}
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "labels": {**own, **labels}},
        "spec": {},
        "status": about,
    }


def _row(kind: str, status: str, reason: str, message: str) -> Obj:
    times = {"lastHeartbeatTime": now(), "lastTransitionTime": now()}
    return {"type": kind, "status": status, "reason": reason, "message": message, **times}


class NodeController:
    """Looks after nodes that are not heard of, and after pods that no kubelet will end."""

    def __init__(self, store: Store, settings: Settings) -> None:
        self._store, self._settings = store, settings
        self._silent: dict[str, float] = {}
        """Since when nobody hears of a node."""
        self._tainted: dict[str, float] = {}

    def silence(self, name: str) -> None:
        """Nobody hears of a node any more."""
        self._silent[name] = time.monotonic()

    def heard(self, name: str) -> None:
        """It is heard of again."""
        self._silent.pop(name, None)
        self._tainted.pop(name, None)
        found = self._store.find(NODE, "", name)
        if found is not None:
            self._store.change(NODE, found, _ready)

    async def run(self) -> None:
        """Look now and then."""
        while True:
            for each in self._store.all(NODE):
                self._cordon(each)
                self._look(each)
            self._collect()
            await asyncio.sleep(_TICK_S)

    def _cordon(self, each: Obj) -> None:
        """A node that takes no more says so as a taint."""
        wanted = bool(each["spec"].get("unschedulable"))
        if wanted != any(row["key"] == _CORDONED for row in list_of(each["spec"], "taints")):
            self._store.change(NODE, each, lambda fresh: _taint(fresh, _CORDONED, "NoSchedule", there=wanted))

    def _look(self, each: Obj) -> None:
        name = each["metadata"]["name"]
        since = self._silent.get(name)
        if since is None or time.monotonic() < since + self._settings.node_grace_s:
            return
        self._tainted.setdefault(name, time.monotonic())
        marked = self._store.change(NODE, each, _unknown)
        if marked is not None and condition(each, "Ready").get("status") != "Unknown":
            tell(self._store, NODE, marked, WHO, "NodeNotReady", f"Node {name} status is now: NodeNotReady")
        for pod in self._store.all(POD):
            if pod["spec"].get("nodeName") == name and pod["status"].get("phase") not in (
                "Succeeded",
                "Failed",
            ):
                self._store.change(POD, pod, _not_ready)
                self._evict(pod, self._tainted[name])

    def _evict(self, pod: Obj, since: float) -> None:
        rows = [
            each
            for each in list_of(pod["spec"], "tolerations")
            if each.get("key") in (_UNREACHABLE, None) and each.get("effect") in ("NoExecute", None)
        ]
        waits = min((each.get("tolerationSeconds", 1e9) for each in rows), default=0.0)
        if "deletionTimestamp" in pod["metadata"] or time.monotonic() < since + waits:
            return
        why = "Taint manager: deleting due to NoExecute taint"
        marked = self._store.change(POD, pod, lambda fresh: disrupted(fresh, "DeletionByTaintManager", why))
        if marked is not None:
            name = f"{pod['metadata']['namespace']}/{pod['metadata']['name']}"
            tell(
                self._store,
                POD,
                marked,
                "taint-eviction-controller",
                "TaintManagerEviction",
                f"Marking for deletion Pod {name}",
            )
            delete(self._store, POD, marked, {})

    def _collect(self) -> None:
        """Pods of nodes that are no more, and those that never had one, have no kubelet that ends them."""
        names = {each["metadata"]["name"] for each in self._store.all(NODE)}
        for pod in self._store.all(POD):
            at = pod["spec"].get("nodeName", "")
            if at and at not in names:
                self._orphan(pod)
            elif not at and "deletionTimestamp" in pod["metadata"]:
                self._store.change(POD, pod, _failed)

    def _orphan(self, pod: Obj) -> None:
        def end(fresh: Obj) -> None:
            if fresh["status"].get("phase") not in ("Succeeded", "Failed"):
                disrupted(fresh, "DeletionByPodGC", "PodGC: node no longer exists")
                fresh["status"]["phase"] = "Failed"

        if (marked := self._store.change(POD, pod, end)) is not None:
            delete(self._store, POD, marked, {"gracePeriodSeconds": 0})
            if (
                left := self._store.find(POD, pod["metadata"]["namespace"], pod["metadata"]["name"])
            ) is not None:
                self._store.change(POD, left, no_grace)
                finish(self._store, POD, left)


def disrupted(pod: Obj, reason: str, message: str) -> None:
    """Note that somebody ends a pod for no fault of its own."""
    set_condition(pod["status"], "DisruptionTarget", "True", reason, message)


def no_grace(pod: Obj) -> None:
    """Nothing of it has to end any more."""
    pod["metadata"]["deletionGracePeriodSeconds"] = 0


def _failed(pod: Obj) -> None:
    pod["status"]["phase"] = "Failed"


def _not_ready(pod: Obj) -> None:
    if condition(pod, "Ready"):
        set_condition(pod["status"], "Ready", "False")


def _unknown(fresh: Obj) -> None:
    for row in fresh["status"]["conditions"]:
        if row["status"] != "Unknown":
            row["lastTransitionTime"] = now()
        row["status"], row["reason"] = "Unknown", "NodeStatusUnknown"
        row["message"] = "Kubelet stopped posting node status."
    for effect in ("NoSchedule", "NoExecute"):
        _taint(fresh, _UNREACHABLE, effect, there=True)


def _ready(fresh: Obj) -> None:
    name = fresh["metadata"]["name"]
    fresh["status"]["conditions"] = node(name, {}, {})["status"]["conditions"]
    for effect in ("NoSchedule", "NoExecute"):
        _taint(fresh, _UNREACHABLE, effect, there=False)


def _taint(fresh: Obj, key: str, effect: str, *, there: bool) -> None:
    rows = [
        each for each in list_of(fresh["spec"], "taints") if (each["key"], each["effect"]) != (key, effect)
    ]
    old = next(
        (each for each in list_of(fresh["spec"], "taints") if (each["key"], each["effect"]) == (key, effect)),
        None,
    )
    if there:
        rows.append(old or {"key": key, "effect": effect, "timeAdded": now()})
    if rows:
        fresh["spec"]["taints"] = rows
    else:
        fresh["spec"].pop("taints", None)
