"""Events: what controllers and kubelets tell about an object."""

from __future__ import annotations

from support.kubernetes.kinds import EVENT, Kind, Obj
from support.kubernetes.store import Store, now

SCHEDULER = "default-scheduler"
_LONGEST = 1024


def tell(
    store: Store,
    kind: Kind,
    obj: Obj,
    who: str,
    reason: str,
    message: str,
    *,
    warning: bool = False,
    host: str = "",
) -> None:
    """Tell of an object; what was told before is counted."""
    meta = obj["metadata"]
    namespace = meta.get("namespace") or "default"
    if store.find_namespace(namespace) is None:
        return
    message = message[:_LONGEST]
    if who == SCHEDULER:
        _tell_newer(store, kind, obj, reason, message, warning=warning)
        return
    for each in store.all(EVENT, namespace):
        same = each["reason"] == reason and each["message"] == message
        if same and each["involvedObject"].get("uid") == meta["uid"]:
            store.change(EVENT, each, _again)
            return
    store.add(
        EVENT,
        {
            **_about(store, kind, obj),
            "reason": reason,
            "message": message,
            "source": {"component": who} | ({"host": host} if host else {}),
            "firstTimestamp": now(),
            "lastTimestamp": now(),
            "count": 1,
            "type": "Warning" if warning else "Normal",
            "eventTime": None,
            "reportingComponent": who,
            "reportingInstance": host,
        },
    )


def _tell_newer(store: Store, kind: Kind, obj: Obj, reason: str, message: str, *, warning: bool) -> None:
    """As those tell that use the newer interface: with no times but one."""
    store.add(
        EVENT,
        {
            **_about(store, kind, obj),
            "reason": reason,
            "message": message,
            "source": {},
            "firstTimestamp": None,
            "lastTimestamp": None,
            "type": "Warning" if warning else "Normal",
            "eventTime": now(micro=True),
            "action": "Scheduling" if warning else "Binding",
            "reportingComponent": SCHEDULER,
            "reportingInstance": f"{SCHEDULER}-double",
        },
    )


def _about(store: Store, kind: Kind, obj: Obj) -> Obj:
    meta = obj["metadata"]
    about = {
        "kind": kind.name,
        "namespace": meta.get("namespace", ""),
        "name": meta["name"],
        "uid": meta["uid"],
        "apiVersion": kind.api_version,
        "resourceVersion": meta["resourceVersion"],
    }
    return {
        "kind": "Event",
        "apiVersion": "v1",
        "metadata": {
            "name": f"{meta['name']}.{store.version:016x}",
            "namespace": meta.get("namespace") or "default",
        },
        "involvedObject": {name: value for name, value in about.items() if value},
    }


def _again(event: Obj) -> None:
    event["count"] += 1
    event["lastTimestamp"] = now()
