"""What the cluster knows: objects, their versions, and what became of each.

An object that is in it is never changed, a change puts another one in its place: what was handed out stays as
it was.
"""

from __future__ import annotations

import copy
import datetime as dt
import secrets
import uuid
from collections import defaultdict, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from support.kubernetes.kinds import NAMESPACE, Key, Kind, Obj, key_of, kind_of, list_of
from support.kubernetes.refusals import already_exists, conflict, not_found

_KEPT = 5000
"""So many changes are remembered."""
_LETTERS = "bcdfghjklmnpqrstvwxz2456789"
"""Of names that are made up, as the real one has them: no word comes out."""


def now(*, micro: bool = False) -> str:
    """The time as objects have it."""
    form = "%Y-%m-%dT%H:%M:%S.%fZ" if micro else "%Y-%m-%dT%H:%M:%SZ"
    return dt.datetime.now(dt.UTC).strftime(form)


def seconds(text: str) -> float:
    """A time of an object, as seconds since 1970."""
    return dt.datetime.fromisoformat(text).timestamp()


def suffix() -> str:
    """Ends a name that is made up."""
    return "".join(secrets.choice(_LETTERS) for _ in range(5))


@dataclass(frozen=True)
class Change:
    """One object became another."""

    version: int
    key: Key
    new: Obj | None
    """None where it is gone."""
    old: Obj | None
    """None where it is new."""
    last: Obj
    """As it is, or was at its end."""


class Store:
    """All objects. Belongs to one event loop."""

    def __init__(self) -> None:
        self.version = 100
        self.oldest = 100
        """What came before this version is forgotten."""
        self.history: deque[Change] = deque()
        self._objects = defaultdict[str, dict[Key, Obj]](dict)
        """By the kind that they are of."""
        self._listeners: list[Callable[[Change], None]] = []

    # Looking

    def get(self, kind: Kind, namespace: str, name: str) -> Obj:
        """An object.

        Raises:
            Refusal: there is none.
        """
        found = self.find(kind, namespace, name)
        if found is None:
            raise not_found(kind, name)
        return found

    def find(self, kind: Kind, namespace: str, name: str) -> Obj | None:
        """An object, if there is one."""
        key = Key(kind.resource, namespace if kind.namespaced else "", name)
        return self._objects[kind.resource].get(key)

    def all(self, kind: Kind, namespace: str = "") -> list[Obj]:
        """Those of a kind, by name; an empty namespace means every one."""
        found = self._objects[kind.resource]
        return [found[key] for key in sorted(each for each in found if namespace in ("", each.namespace))]

    def everything(self) -> list[tuple[Key, Obj]]:
        """All objects there are."""
        return [each for kind in self._objects.values() for each in kind.items()]

    def find_namespace(self, name: str) -> Obj | None:
        """A namespace, if there is one."""
        return self.find(NAMESPACE, "", name)

    def owned(self, kind: Kind, owner: Obj) -> list[Obj]:
        """Those of a kind that an object owns."""
        uid = owner["metadata"]["uid"]
        found = self.all(kind, owner["metadata"].get("namespace", ""))
        return [each for each in found if uid in owners(each)]

    # Changing

    def add(self, kind: Kind, obj: Obj, complete: Callable[[Obj], object] = lambda _: None) -> Obj:
        """Put in a new one; it is given what the server gives, and completed then.

        Raises:
            Refusal: there is one of that name.
        """
        fresh = copy.deepcopy(obj)
        meta = fresh["metadata"]
        if not meta.get("name"):
            meta["name"] = f"{meta['generateName']}{suffix()}"
        key = key_of(kind, fresh)
        if key in self._objects[key.kind]:
            raise already_exists(kind, key.name)
        meta["uid"] = str(uuid.uuid4())
        meta["creationTimestamp"] = now()
        if "spec" in fresh:
            meta["generation"] = 1
        complete(fresh)
        return self._put(key, fresh)

    def replace(self, kind: Kind, obj: Obj) -> Obj:
        """Put another one in the place of one; nothing happens where they are the same.

        Raises:
            Refusal: there is none, or it is not the one that was meant.
        """
        key = key_of(kind, obj)
        old = self._objects[key.kind].get(key)
        meta = obj["metadata"]
        if old is None:
            raise not_found(kind, key.name)
        if meta.get("uid") not in (None, old["metadata"]["uid"]):
            uids = f"UID in precondition: {meta['uid']}, UID in object meta: {old['metadata']['uid']}"
            raise conflict(kind, key.name, f"Precondition failed: {uids}")
        if meta.get("resourceVersion") not in (None, "", old["metadata"]["resourceVersion"]):
            raise conflict(kind, key.name)
        fresh = copy.deepcopy(obj)
        self._keep(fresh, old)
        if fresh == old:
            return old
        return self._put(key, fresh)

    def change(self, kind: Kind, obj: Obj, how: Callable[[Obj], object]) -> Obj | None:
        """Change the newest version of an object, which may have gone: then there is None."""
        key = key_of(kind, obj)
        old = self._objects[key.kind].get(key)
        if old is None or old["metadata"]["uid"] != obj["metadata"]["uid"]:
            return None
        fresh = copy.deepcopy(old)
        how(fresh)
        self._keep(fresh, old)
        return old if fresh == old else self._put(key, fresh)

    def remove(self, kind: Kind, obj: Obj) -> None:
        """Take an object out at once; one that is gone already may be named."""
        key = key_of(kind, obj)
        old = self._objects[key.kind].get(key)
        if old is None or old["metadata"]["uid"] != obj["metadata"]["uid"]:
            return
        del self._objects[key.kind][key]
        self.version += 1
        last = copy.deepcopy(old)
        last["metadata"]["resourceVersion"] = str(self.version)
        self._tell(Change(self.version, key, None, old, last))

    def forget(self) -> None:
        """What has been is not known any more, as after a compaction."""
        self.history.clear()
        self.version += 1
        self.oldest = self.version

    def _keep(self, fresh: Obj, old: Obj) -> None:
        """What nobody changes."""
        meta, was = fresh["metadata"], old["metadata"]
        for name in ("uid", "creationTimestamp", "resourceVersion", "deletionTimestamp", "generation"):
            if name in was:
                meta[name] = was[name]
        changed = any(
            fresh.get(name) != old.get(name) for name in fresh if name not in ("metadata", "status")
        )
        if "generation" in was and changed:
            meta["generation"] = was["generation"] + 1

    def _put(self, key: Key, fresh: Obj) -> Obj:
        old = self._objects[key.kind].get(key)
        self.version += 1
        fresh["metadata"]["resourceVersion"] = str(self.version)
        self._objects[key.kind][key] = fresh
        self._tell(Change(self.version, key, fresh, old, fresh))
        return fresh

    # Telling

    def listen(self, listener: Callable[[Change], None]) -> Callable[[], None]:
        """Tell it of every change from now on, until what is returned is called."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    def since(self, version: int) -> Iterable[Change]:
        """What is remembered that came later."""
        return [each for each in self.history if each.version > version]

    def _tell(self, change: Change) -> None:
        self.history.append(change)
        if len(self.history) > _KEPT:
            self.oldest = self.history.popleft().version
        for each in list(self._listeners):
            each(change)


def owners(obj: Obj) -> list[str]:
    """Uids of those that own an object."""
    return [each["uid"] for each in list_of(obj["metadata"], "ownerReferences")]


def controller_of(obj: Obj) -> str:
    """The uid of the one that controls it, or nothing."""
    rows = list_of(obj["metadata"], "ownerReferences")
    return next((each["uid"] for each in rows if each.get("controller")), "")


def kind_and_object(change: Change) -> tuple[Kind, Obj]:
    """What changed."""
    return kind_of(change.key.kind), change.last


def set_condition(status: Obj, kind: str, value: str, reason: str = "", message: str = "") -> None:
    """Set a condition of an object; its time changes only with its value."""
    rows: list[Obj] = status.setdefault("conditions", [])
    row = next((each for each in rows if each["type"] == kind), None)
    if row is None:
        row = Obj(type=kind, status="", lastProbeTime=None)
        rows.append(row)
    if row["status"] != value:
        row["lastTransitionTime"] = now()
    row["status"] = value
    for name, text in (("reason", reason), ("message", message)):
        if text:
            row[name] = text
        else:
            row.pop(name, None)


def condition(obj: Obj, kind: str) -> Obj:
    """A condition of an object; empty where it has none of that type."""
    rows = list_of(obj, "status", "conditions")
    return next((each for each in rows if each["type"] == kind), Obj())
