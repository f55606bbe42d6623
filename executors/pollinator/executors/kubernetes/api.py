"""What is asked of a cluster's API, in the words of an executor: objects of a few kinds in one namespace."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from urllib.parse import quote

from pollinator.executors.kubernetes.data import Manifest
from pollinator.wire.cluster import Cluster
from pollinator.wire.documents import as_entries, as_entry
from pollinator.wire.errors import NotFound

LIST_S = 60.0
PAGE = 500
MOST_TOLD = 5000
"""At most so many events, in the order of their names, or Workloads of a queue, in theirs, are read."""
WATCH_S = 300
"""So long the server is asked to go on with one watch."""
SILENCE_S = WATCH_S + 30.0


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of object."""

    name: str
    group: str
    """With its version, as in a path."""


JOBS = Kind("jobs", "apis/batch/v1")
PODS = Kind("pods", "api/v1")
SECRETS = Kind("secrets", "api/v1")
SERVICES = Kind("services", "api/v1")
EVENTS = Kind("events", "api/v1")
WORKLOADS = Kind("workloads", "apis/kueue.x-k8s.io/v1beta1")
QUEUES = Kind("localqueues", "apis/visibility.kueue.x-k8s.io/v1beta1")
_OF = {"Job": JOBS, "Pod": PODS, "Secret": SECRETS, "Service": SERVICES}


class Api:
    """One namespace of a cluster. Raises PollinatorErrors, as ``Cluster`` does.

    Args:
        cluster: the line to it.
        selector: by which labels our own objects are found.
    """

    def __init__(self, cluster: Cluster, selector: str) -> None:
        self.cluster = cluster
        self._selector = selector
        self.asked: Counter[str] = Counter()
        """How many requests were made, by verb and kind."""

    async def create(self, manifest: Manifest) -> Manifest:
        """Make an object; raises AlreadyExists where one of the name is there."""
        kind = _OF[manifest["kind"]]
        path = await self._path(kind)
        self.asked[f"create {kind.name}"] += 1
        # Strict: a field that the cluster does not know is a promise that it would not keep.
        query = {"fieldValidation": "Strict", "fieldManager": "pollinator"}
        return _object(await self.cluster.request("POST", path, query=query, body=manifest))

    async def get(self, kind: Kind, name: str) -> Manifest:
        """One object; raises NotFound."""
        path = await self._path(kind, name)
        self.asked[f"get {kind.name}"] += 1
        return _object(await self.cluster.request("GET", path))

    async def delete(self, kind: Kind, name: str, uid: str = "") -> bool:
        """Have an object end with all that belongs to it; False where it is not there, or is another one."""
        path = await self._path(kind, name)
        self.asked[f"delete {kind.name}"] += 1
        options: Manifest = {"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": "Background"}
        if uid:
            options["preconditions"] = {"uid": uid}
        try:
            await self.cluster.request("DELETE", path, body=options)
        except NotFound:
            return False
        return True

    async def all(self, kind: Kind) -> tuple[list[Manifest], str]:
        """All of ours, and the version of the list, from which a watch can go on."""
        return await self._list(kind, {"labelSelector": self._selector})

    async def watch(self, kind: Kind, version: str) -> AsyncGenerator[Manifest]:
        """What becomes of ours after that version."""
        path = await self._path(kind)
        self.asked[f"watch {kind.name}"] += 1
        query: dict[str, str | int | bool] = {
            "labelSelector": self._selector,
            "resourceVersion": version,
            "allowWatchBookmarks": True,
            "timeoutSeconds": WATCH_S,
        }
        async for event in self.cluster.watch(path, query=query, idle_s=SILENCE_S):
            yield event

    async def events(self, uid: str = "") -> list[Manifest]:
        """What the cluster tells about one object, or about all of the namespace."""
        query: dict[str, str | int | bool] = {"fieldSelector": f"involvedObject.uid={uid}"} if uid else {}
        found, _ = await self._list(EVENTS, query, most=MOST_TOLD)
        return found

    async def workloads(self, job_uid: str) -> list[Manifest]:
        """What Kueue makes of a Job."""
        found, _ = await self._list(WORKLOADS, {"labelSelector": f"kueue.x-k8s.io/job-uid={job_uid}"})
        return found

    async def pending(self, queue: str) -> list[Manifest]:
        """Which Workloads wait in a queue of Kueue, in their order; raises NotFound where none says so."""
        path = f"{await self._path(QUEUES, queue)}/pendingworkloads"
        self.asked["get pendingworkloads"] += 1
        answer = _object(await self.cluster.request("GET", path, query={"limit": MOST_TOLD}))
        return [dict(each) for each in as_entries(answer.get("items"))]

    async def nodes(self) -> list[Manifest]:
        """All machines of the cluster; raises Denied where that is not ours to know."""
        self.asked["list nodes"] += 1
        answer = _object(await self.cluster.request("GET", "/api/v1/nodes", timeout_s=LIST_S))
        return [dict(each) for each in as_entries(answer.get("items"))]

    async def version(self) -> str:
        """Which version the server has."""
        self.asked["get version"] += 1
        return str(_object(await self.cluster.request("GET", "/version")).get("gitVersion", ""))

    async def _list(
        self, kind: Kind, query: dict[str, str | int | bool], *, most: int = sys.maxsize
    ) -> tuple[list[Manifest], str]:
        path, found = await self._path(kind), list[Manifest]()
        query = query | {"limit": PAGE}
        while True:
            self.asked[f"list {kind.name}"] += 1
            answer = _object(await self.cluster.request("GET", path, query=query, timeout_s=LIST_S))
            found += [dict(each) for each in as_entries(answer.get("items"))]
            about = as_entry(answer.get("metadata"))
            if not about.get("continue") or len(found) >= most:
                return found, str(about.get("resourceVersion", ""))
            query = query | {"continue": str(about["continue"])}

    async def _path(self, kind: Kind, name: str = "") -> str:
        if not self.cluster.namespace:
            await self.cluster.open()
        below = f"/{quote(name)}" if name else ""
        return f"/{kind.group}/namespaces/{quote(self.cluster.namespace)}/{kind.name}{below}"


def _object(answer: object) -> Manifest:
    return dict(as_entry(answer))
