"""How objects go: with grace, held by finalizers, and with those that they own."""

from __future__ import annotations

import asyncio
import datetime as dt
from typing import Any

from support.kubernetes.kinds import JOB, NAMESPACE, POD, Kind, Obj, kind_of, list_of, part
from support.kubernetes.refusals import conflict
from support.kubernetes.store import Change, Store, owners

FOREGROUND, ORPHAN = "foregroundDeletion", "orphan"
_OF_POLICY = {"Foreground": FOREGROUND, "Orphan": ORPHAN}


def delete(store: Store, kind: Kind, obj: Obj, options: Obj) -> Obj:
    """Delete an object as was asked; what there is of it afterwards, or was at last.

    Raises:
        Refusal: it is not the one that was meant.
    """
    _check(kind, obj, part(options, "preconditions"))
    finalizers = list(list_of(obj["metadata"], "finalizers"))
    if policy := _policy(kind, options):
        finalizers = [each for each in finalizers if each not in _OF_POLICY.values()]
        finalizers += [_OF_POLICY[policy]] if policy in _OF_POLICY else []
    grace = _grace(kind, obj, options)

    def mark(fresh: Obj) -> None:
        meta = fresh["metadata"]
        if finalizers:
            meta["finalizers"] = finalizers
        if grace >= meta.get("deletionGracePeriodSeconds", grace + 1):
            return
        meta["deletionTimestamp"] = _in(grace)
        meta["deletionGracePeriodSeconds"] = grace

    at_once = not finalizers and not grace
    # Of pods it is told that they go also where they go at once.
    marked = obj if at_once and kind is not POD else store.change(kind, obj, mark) or obj
    if at_once:
        store.remove(kind, marked)
    return marked


def _in(later_s: int) -> str:
    then = dt.datetime.now(dt.UTC) + dt.timedelta(seconds=later_s)
    return then.strftime("%Y-%m-%dT%H:%M:%SZ")


def _check(kind: Kind, obj: Obj, wanted: Obj) -> None:
    for field, name in (("uid", "UID"), ("resourceVersion", "ResourceVersion")):
        is_so = obj["metadata"][field]
        if wanted.get(field) not in (None, is_so):
            told = f"{name} in precondition: {wanted[field]}, {name} in object meta: {is_so}"
            raise conflict(kind, obj["metadata"]["name"], f"Precondition failed: {told}")


def _policy(kind: Kind, options: Obj) -> str:
    """What becomes of those that it owns."""
    if options.get("propagationPolicy"):
        return str(options["propagationPolicy"])
    if "orphanDependents" in options:
        return "Orphan" if options["orphanDependents"] else "Background"
    # As it has always been for Jobs.
    return "Orphan" if kind is JOB else ""


def _grace(kind: Kind, obj: Obj, options: Obj) -> int:
    """So long a pod has to end; what was never on a node has nothing to end."""
    if kind is not POD:
        return 0
    if obj["status"].get("phase") in ("Succeeded", "Failed") or not obj["spec"].get("nodeName"):
        return 0
    asked = options.get("gracePeriodSeconds")
    spec: Any = obj["spec"].get("terminationGracePeriodSeconds", 30)
    return int(spec if asked is None else asked)


def finish(store: Store, kind: Kind, obj: Obj) -> None:
    """Take out what is deleted and held by nobody any more."""
    meta = obj["metadata"]
    waits = kind is POD and meta.get("deletionGracePeriodSeconds")
    if "deletionTimestamp" in meta and not meta.get("finalizers") and not waits:
        store.remove(kind, obj)


def drop_finalizer(store: Store, kind: Kind, obj: Obj, name: str) -> None:
    """One that is held by it is let go."""

    def drop(fresh: Obj) -> None:
        held = list_of(fresh["metadata"], "finalizers")
        if left := [each for each in held if each != name]:
            fresh["metadata"]["finalizers"] = left
        else:
            fresh["metadata"].pop("finalizers", None)

    store.change(kind, obj, drop)


class Collector:
    """Deletes what belongs to nobody any more."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._awake = asyncio.Event()
        store.listen(self._see)

    def _see(self, change: Change) -> None:
        meta = change.last["metadata"]
        if change.new is None or "deletionTimestamp" in meta or owners(change.last):
            self._awake.set()

    async def run(self) -> None:
        """Look whenever something was deleted."""
        while True:
            await self._awake.wait()
            self._awake.clear()
            self._pass()
            await asyncio.sleep(0.02)

    def _pass(self) -> None:
        everything = self._store.everything()
        alive = {obj["metadata"]["uid"]: obj for _, obj in everything}
        for key, obj in everything:
            kind = kind_of(key.kind)
            if named := owners(obj):
                self._collect(kind, obj, [alive[uid] for uid in named if uid in alive])
            if "deletionTimestamp" in obj["metadata"]:
                self._release(kind, obj)
                if kind is NAMESPACE:
                    self._empty(obj)

    def _collect(self, kind: Kind, obj: Obj, there: list[Obj]) -> None:
        if "deletionTimestamp" in obj["metadata"]:
            return
        waiting = [each for each in there if FOREGROUND in list_of(each["metadata"], "finalizers")]
        deleted = [each for each in waiting if "deletionTimestamp" in each["metadata"]]
        if not there or len(deleted) == len(there):
            policy = "Foreground" if there else "Background"
            delete(self._store, kind, obj, {"propagationPolicy": policy})

    def _release(self, kind: Kind, obj: Obj) -> None:
        finalizers = list_of(obj["metadata"], "finalizers")
        mine = self._dependents(obj)
        if ORPHAN in finalizers:
            for each_kind, each in mine:
                self._store.change(each_kind, each, lambda fresh: _disown(fresh, obj["metadata"]["uid"]))
            drop_finalizer(self._store, kind, obj, ORPHAN)
        elif FOREGROUND in finalizers and not any(_blocks(each, obj) for _, each in mine):
            drop_finalizer(self._store, kind, obj, FOREGROUND)
        if (
            found := self._store.find(kind, obj["metadata"].get("namespace", ""), obj["metadata"]["name"])
        ) and (found["metadata"]["uid"] == obj["metadata"]["uid"]):
            finish(self._store, kind, found)

    def _dependents(self, obj: Obj) -> list[tuple[Kind, Obj]]:
        uid = obj["metadata"]["uid"]
        return [(kind_of(key.kind), each) for key, each in self._store.everything() if uid in owners(each)]

    def _empty(self, namespace: Obj) -> None:
        name = namespace["metadata"]["name"]
        inside = [(kind_of(key.kind), obj) for key, obj in self._store.everything() if key.namespace == name]
        for kind, obj in inside:
            if "deletionTimestamp" not in obj["metadata"]:
                delete(self._store, kind, obj, {"propagationPolicy": "Background"})
        if not inside:
            drop_finalizer(self._store, NAMESPACE, namespace, "kubernetes")


def _disown(obj: Obj, uid: str) -> None:
    left = [each for each in obj["metadata"]["ownerReferences"] if each["uid"] != uid]
    if left:
        obj["metadata"]["ownerReferences"] = left
    else:
        del obj["metadata"]["ownerReferences"]


def _blocks(obj: Obj, owner: Obj) -> bool:
    rows = list_of(obj["metadata"], "ownerReferences")
    return any(each["uid"] == owner["metadata"]["uid"] and each.get("blockOwnerDeletion") for each in rows)
