"""Events: what controllers and kubelets tell about an object."""

from __future__ import annotations

from support.kubernetes.kinds import EVENT, Kind, Obj
from support.kubernetes.store import Store, now

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
    for each in store.all(EVENT, namespace):
        same = each["reason"] == reason and each["message"] == message
        if same and each["involvedObject"].get("uid") == meta["uid"]:
            store.change(EVENT, each, _again)
            return
    about = {
        "kind": kind.name,
        "namespace": meta.get("namespace", ""),
        "name": meta["name"],
        "uid": meta["uid"],
        "apiVersion": kind.api_version,
        "resourceVersion": meta["resourceVersion"],
    }
    store.add(
        EVENT,
        {
            "kind": "Event",
            "apiVersion": "v1",
            "metadata": {"name": f"{meta['name']}.{store.version:016x}", "namespace": namespace},
            "involvedObject": {name: value for name, value in about.items() if value},
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


def _again(event: Obj) -> None:
    event["count"] += 1
    event["lastTimestamp"] = now()
