"""What may be done with objects, by those who ask over the API as by the cluster's own controllers."""

from __future__ import annotations

import base64
import copy
import json
from dataclasses import dataclass
from typing import Any

from support.kubernetes import defaults, deleting, rules, schemas
from support.kubernetes.admission import Admission
from support.kubernetes.kinds import Kind, Obj, is_list, is_obj, part
from support.kubernetes.patching import APPLY, patched
from support.kubernetes.refusals import Refusal, bad_request, conflict, gone
from support.kubernetes.selecting import selector
from support.kubernetes.store import Store

_OWN = ("apiVersion", "kind", "metadata")


@dataclass
class Api:
    """The objects of a cluster, behind what the server checks."""

    store: Store
    admission: Admission

    def list(self, kind: Kind, namespace: str, query: Any) -> Obj:
        """Those that are selected, or so many of them.

        Raises:
            Refusal: a selector cannot be understood, or what a token stands for is forgotten.
        """
        lets = selector(query.get("labelSelector", ""), query.get("fieldSelector", ""))
        version, after = self.store.version, ""
        if token := query.get("continue"):
            version, after = json.loads(base64.urlsafe_b64decode(token))
            if version < self.store.oldest:
                raise gone("The provided continue parameter is too old to display a consistent list result.")
        found = [each for each in self.store.all(kind, namespace) if lets(each) and _place(each) > after]
        most = int(query.get("limit") or 0)
        meta: Obj = {"resourceVersion": str(version)}
        if most and len(found) > most:
            meta["remainingItemCount"] = len(found) - most
            found = found[:most]
            place = json.dumps([version, _place(found[-1])]).encode()
            meta["continue"] = base64.urlsafe_b64encode(place).decode()
        # Those of a list do not say what they are.
        items = [{name: value for name, value in each.items() if name not in _OWN[:2]} for each in found]
        return {"kind": f"{kind.name}List", "apiVersion": kind.api_version, "metadata": meta, "items": items}

    def create(self, kind: Kind, namespace: str, given: Obj, *, dry: bool = False) -> Obj:
        """A new object.

        Raises:
            Refusal: it is not let in.
        """
        obj = self._read(kind, namespace, given)
        obj.pop("status", None)
        meta = obj["metadata"]
        for name in (
            "resourceVersion",
            "uid",
            "creationTimestamp",
            "deletionTimestamp",
            "generation",
            "selfLink",
        ):
            meta.pop(name, None)
        if meta.get("generateName") and not meta.get("name"):
            # Checked as it will be.
            meta["name"] = ""
        self.admission.change(kind, obj)
        rules.check(kind, obj)
        self.admission.check(kind, obj)
        if dry:
            return obj
        return self.store.add(kind, obj, lambda fresh: defaults.defaulted(kind, fresh))

    def update(self, kind: Kind, namespace: str, name: str, given: Obj, sub: str = "") -> Obj:
        """Another one in the place of one.

        Raises:
            Refusal: it is not let in, or it has changed meanwhile.
        """
        fresh = self._read(kind, namespace, given)
        if fresh["metadata"].get("name") != name:
            raise bad_request("the name of the object does not match the name on the URL")
        return self._replace(kind, self.store.get(kind, namespace, name), fresh, sub)

    def patch(
        self, kind: Kind, namespace: str, name: str, patch: Any, content_type: str, sub: str = ""
    ) -> Obj:
        """A changed one; what is applied may be new.

        Raises:
            Refusal: it is not let in, or the patch does not fit.
        """
        old = self.store.find(kind, namespace, name)
        applied = content_type.partition(";")[0] in APPLY
        if old is None and applied:
            patch.setdefault("metadata", {})["name"] = name
            return self.create(kind, namespace, patch)
        old = self.store.get(kind, namespace, name)
        fresh = patched(kind, old, patch, content_type)
        wanted = part(patch, "metadata") if is_obj(patch) else {}
        if wanted.get("resourceVersion") not in (None, old["metadata"]["resourceVersion"]):
            raise conflict(kind, name)
        return self._replace(kind, old, self._read(kind, namespace, fresh), sub)

    def delete(self, kind: Kind, namespace: str, name: str, options: Obj) -> Obj:
        """Delete one; what there is of it afterwards, or was at last.

        Raises:
            Refusal: there is none, or it is not the one that was meant.
        """
        if options.get("propagationPolicy") not in (None, "Background", "Foreground", "Orphan"):
            raise bad_request(f"invalid propagationPolicy: {options['propagationPolicy']}")
        return deleting.delete(self.store, kind, self.store.get(kind, namespace, name), options)

    def _replace(self, kind: Kind, old: Obj, fresh: Obj, sub: str) -> Obj:
        if sub == "status":
            fresh = {**copy.deepcopy(old), "status": fresh.get("status", {})} | {
                "metadata": {**old["metadata"], "resourceVersion": fresh["metadata"].get("resourceVersion")}
            }
        else:
            fresh.pop("status", None)
            if "status" in old:
                fresh["status"] = copy.deepcopy(old["status"])
            _fill_in(kind, old, fresh)
            rules.check(kind, fresh)
            rules.check_change(kind, old, fresh)
        made = self.store.replace(kind, fresh)
        deleting.finish(self.store, kind, made)
        return made

    def _read(self, kind: Kind, namespace: str, given: Any) -> Obj:
        """What was sent, once it is known to be an object of this kind."""
        if not is_obj(given):
            raise bad_request("the object provided is unrecognized (must be of type Object)")
        obj = copy.deepcopy(given)
        for name, value in (("kind", kind.name), ("apiVersion", kind.api_version)):
            if obj.setdefault(name, value) != value:
                raise bad_request(f"the {name} of the object is {obj[name]}, and {value} was expected")
        obj = {name: obj[name] for name in (*_OWN, *obj) if name in obj}
        schemas.check(kind, obj)
        meta: Obj = obj.get("metadata") or {}
        obj["metadata"] = meta
        if kind.namespaced and meta.setdefault("namespace", namespace) != namespace:
            raise bad_request(
                "the namespace of the provided object does not match the namespace sent on the request"
            )
        meta.pop("managedFields", None)
        plain: Obj = _without_nothing(obj)
        return plain


def _fill_in(kind: Kind, old: Obj, fresh: Obj) -> None:
    status = fresh.get("status")
    defaults.defaulted(kind, fresh)
    if status is not None:
        fresh["status"] = status
    if kind.name == "Namespace":
        fresh["metadata"]["finalizers"] = old["metadata"].get("finalizers", [])


def _without_nothing(value: Any) -> Any:
    """Fields that are null are not said, except where null is what is said."""
    if is_obj(value):
        return {name: _without_nothing(each) for name, each in value.items() if each is not None}
    if is_list(value):
        return [_without_nothing(each) for each in value]
    return value


def _place(obj: Obj) -> str:
    return f"{obj['metadata'].get('namespace', '')}/{obj['metadata']['name']}"


def check_options(query: Any) -> None:
    """Refuse what is asked in a way that there is not.

    Raises:
        Refusal: it is none.
    """
    if query.get("dryRun") not in (None, "All"):
        raise Refusal(422, "Invalid", f'Unsupported value: "{query["dryRun"]}": supported values: "All"')
